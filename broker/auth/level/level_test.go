package level

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestLevel: when a refusal goes out does not tell how long the work before it took,
// not even where the runtime's timers are late by it. Medians of samples that take
// turns, so that what else the machine does is the same for both.
func TestLevel(t *testing.T) {
	const samples, work = 300, 400 * time.Microsecond
	l := New(Clock{}, 0)
	var took [2][]time.Duration
	for range samples {
		for kind := range took {
			began := time.Now()
			for time.Since(began) < time.Duration(kind)*work { //nolint:revive // work
			}
			if !l.Wait(t.Context(), began) {
				t.Fatal("did not wait")
			}
			took[kind] = append(took[kind], time.Since(began))
		}
	}
	for kind := range took {
		slices.Sort(took[kind])
	}
	short, long := took[0][samples/2], took[1][samples/2]
	t.Logf("without work %v, with %v of it %v", short, work, long)
	if d := (long - short).Abs(); d > work/4 {
		t.Errorf("work of %v shows as %v", work, d)
	}
	if short < Time {
		t.Errorf("refused after %v, want %v at least", short, Time)
	}
}

// TestLevelEnds: who has hung up is not waited for.
func TestLevelEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if New(Clock{}, 0).Wait(ctx, time.Now().Add(time.Hour)) {
		t.Error("waited for nobody")
	}
}

// TestClock: by the clock that it is given, it waits to the nanosecond.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Clock{Nap: time.Sleep}, 0)
		for _, work := range []time.Duration{0, time.Microsecond, Time - time.Nanosecond, 3 * Time} {
			began := time.Now()
			time.Sleep(work)
			l.Wait(t.Context(), began)
			if took := time.Since(began); took != max(Time, work) {
				t.Errorf("after work of %v: %v", work, took)
			}
		}
	})
}

// TestNotAllWait: who comes when enough wait does not wait, and the next may again.
func TestNotAllWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Clock{Nap: time.Sleep}, 2)
		waited := make(chan bool, 2)
		for range 2 {
			go func() { waited <- l.Wait(t.Context(), time.Now()) }()
		}
		synctest.Wait()
		if l.Wait(t.Context(), time.Now()) {
			t.Error("a third waited")
		}
		one, other := <-waited, <-waited
		if !one || !other {
			t.Error("the first two did not")
		}
		if !l.Wait(t.Context(), time.Now()) {
			t.Error("when they had gone, the next did not wait")
		}
	})
}

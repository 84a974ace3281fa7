package budget

import (
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	now := time.Unix(1e9, 0)
	b := New[string](0.5, 2, 3)
	spend := func(k string, n int) {
		for range n {
			b.Spend(k, now)
		}
	}
	wait := func(k string, want time.Duration) {
		t.Helper()
		if got := b.Wait(k, now).Round(time.Millisecond); got != want {
			t.Errorf("%s waits %s, want %s", k, got, want)
		}
	}
	wait("a", 0)
	spend("a", 1)
	wait("a", 0)
	spend("a", 1)
	wait("a", 2*time.Second)
	wait("b", 0)
	now = now.Add(500 * time.Millisecond)
	wait("a", 1500*time.Millisecond)
	spend("b", 1)
	spend("c", 1)
	spend("d", 2) // no room: with all others
	wait("e", 2*time.Second)
	wait("a", 1500*time.Millisecond)
	now = now.Add(time.Minute)
	spend("e", 1) // a to c have everything again and are forgotten
	if len(b.of) != 1 {
		t.Errorf("%d remembered, want e", len(b.of))
	}
	wait("d", 0)
}

// TestTake: what is taken is counted once, what is refused is not counted, and who has no
// burst has nothing.
func TestTake(t *testing.T) {
	b, now := New[string](0.5, 2, 10), time.Unix(1e9, 0)
	for range 2 {
		if wait := b.Take("a", now); wait != 0 {
			t.Fatalf("waits %v", wait)
		}
	}
	for range 3 {
		if wait := b.Take("a", now); wait != 2*time.Second {
			t.Errorf("waits %v, want 2 s", wait)
		}
	}
	if b.Take("b", now) != 0 {
		t.Error("another was held up")
	}
	if now = now.Add(2 * time.Second); b.Wait("a", now) != 0 || b.Take("a", now) != 0 || b.Take("a", now) == 0 {
		t.Error("two seconds later there is room for one")
	}
	if none := New[string](1, 0, 10); none.Wait("a", now) == 0 || none.Take("a", now) == 0 {
		t.Error("of none there is one")
	}
}

// TestBounded: sources without number cost no memory without bound, share one
// budget beyond it, and room is looked for no more than once a second.
func TestBounded(t *testing.T) {
	b, now := New[int](1, 2, MaxSources), time.Unix(1e9, 0)
	taken := 0
	for i := range 3 * MaxSources {
		if b.Take(i, now) == 0 {
			taken++
		}
	}
	if len(b.of) != MaxSources || taken != MaxSources+2 {
		t.Errorf("%d remembered, %d taken", len(b.of), taken)
	}
	now = now.Add(500 * time.Millisecond)
	b.Take(-1, now)
	if len(b.of) != MaxSources {
		t.Error("looked for room too soon")
	}
	now = now.Add(time.Minute)
	if b.Take(-1, now) != 0 || len(b.of) != 1 {
		t.Errorf("a minute later: %d remembered", len(b.of))
	}
}

// TestGive: what is given back may be taken again, whatever was taken meanwhile, and nobody
// gets more than a burst by it.
func TestGive(t *testing.T) {
	b, now := New[string](0.5, 2, 10), time.Unix(1e9, 0)
	b.Take("a", now)
	b.Take("a", now)
	b.Give("a", now)
	if b.Take("a", now) != 0 || b.Take("a", now) == 0 {
		t.Error("one given back is not one to take")
	}
	now = now.Add(time.Minute)
	for range 5 {
		b.Give("a", now)
	}
	taken := 0
	for b.Take("a", now) == 0 {
		taken++
	}
	if taken != 2 {
		t.Errorf("%d at once, want 2", taken)
	}
	b.Give("nobody", now)
	if len(b.of) != 1 {
		t.Error("who has taken nothing is remembered")
	}
}

// TestOwed: what many did at once that each looked first is made up for later, but for no
// more than a burst.
func TestOwed(t *testing.T) {
	b, now := New[string](0.5, 2, 10), time.Unix(1e9, 0)
	for _, x := range []struct {
		n    int
		want time.Duration
	}{{3, 4 * time.Second}, {100, 6 * time.Second}} {
		for range x.n {
			b.Spend("a", now)
		}
		if got := b.Wait("a", now); got != x.want {
			t.Errorf("after %d: waits %v, want %v", x.n, got, x.want)
		}
		now = now.Add(time.Minute)
	}
}

// TestClockBack: a clock that was ahead for years leaves nobody waiting for years, and gives
// nobody anything; and times in any order, as messages in work at once have them, give nothing either.
func TestClockBack(t *testing.T) {
	b, now := New[string](0.5, 2, 10), time.Unix(1e9, 0)
	ahead := now.AddDate(10, 0, 0)
	b.Take("a", ahead)
	b.Take("a", ahead)
	if got := b.Wait("a", now); got != 2*time.Second {
		t.Errorf("set back: waits %v, want 2 s", got)
	}
	now = now.Add(2 * time.Second)
	if b.Take("a", now) != 0 {
		t.Error("two seconds after it was set back there is room for none")
	}
	b.Take("b", now)
	b.Take("b", now)
	for range 100 {
		if b.Take("b", now.Add(-time.Second)) == 0 || b.Take("b", now) == 0 {
			t.Fatal("the same second was given again")
		}
	}
}

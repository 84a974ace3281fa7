package exchange

import (
	"context"
	"slices"
	"testing"
	"time"
)

// TestLevel: when a refusal goes out does not tell how long the work before it took,
// not even where the runtime's timers are late by it. Medians of samples that take
// turns, so that what else the machine does is the same for both.
func TestLevel(t *testing.T) {
	const samples, work = 300, 400 * time.Microsecond
	var took [2][]time.Duration
	for range samples {
		for kind := range took {
			began := time.Now()
			for time.Since(began) < time.Duration(kind)*work { //nolint:revive // work
			}
			level(t.Context(), began)
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
	if short < proofTime {
		t.Errorf("refused after %v, want %v at least", short, proofTime)
	}
}

// TestLevelEnds: who has hung up is not waited for.
func TestLevelEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	level(ctx, time.Now().Add(time.Hour))
}

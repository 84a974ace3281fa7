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

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

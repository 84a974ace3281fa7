package broker

import (
	"errors"
	"testing"
	"time"
)

// TestGuessingForADay: whoever has nothing but patience tries some two dozen times a day.
func TestGuessingForADay(t *testing.T) {
	var c TryCount
	now, looked := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), 0
	for end := now.Add(24 * time.Hour); now.Before(end); now = now.Add(time.Second) {
		tried, _ := c.Try(TryMark{byte(looked), byte(looked >> 8)}, now)
		if tried.Wait == 0 {
			looked++
		}
	}
	if looked < 20 || looked > 32 {
		t.Errorf("%d guesses in a day", looked)
	}
	if tried, _ := c.Try(TryMark{9, 9}, now.Add(keepTries+time.Hour)); tried.N != 1 {
		t.Errorf("a day later it is try %d, want 1", tried.N)
	}
}

// TestWaitsSurviveClocks: a clock that jumps makes nobody wait longer than the rule.
func TestWaitsSurviveClocks(t *testing.T) {
	var c TryCount
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for i := range byte(FreeTries) {
		c.Try(TryMark{i}, now)
	}
	for _, jump := range []time.Duration{-365 * 24 * time.Hour, -time.Hour, 0, time.Second} {
		if tried, _ := c.Try(TryMark{9}, now.Add(jump)); tried.Wait <= 0 || tried.Wait > firstWait {
			t.Errorf("after a jump of %v the wait is %v", jump, tried.Wait)
		}
	}
}

// TestWaitsGrow: from nothing to an hour, and never back.
func TestWaitsGrow(t *testing.T) {
	last := time.Duration(0)
	for n := range 200 {
		w := WaitAfter(n)
		if w < last || w > longestTry || (w == 0) != (n < FreeTries) {
			t.Fatalf("after %d wrong answers %v, after one less %v", n, w, last)
		}
		last = w
	}
	if last != longestTry {
		t.Errorf("the longest is %v", last)
	}
}

// TestTryKeys: no two accounts share a key.
func TestTryKeys(t *testing.T) {
	seen := map[string]TryOf{}
	for _, of := range []TryOf{
		{What: "totp"}, {What: "hook:a"}, {What: "hook:a", Enrol: "b"}, {What: "hook:a", Exchange: [16]byte{1}}, {What: "hook:a", Exchange: [16]byte{2}},
	} {
		if other, ok := seen[string(of.Key())]; ok {
			t.Errorf("%+v and %+v have one key", of, other)
		}
		seen[string(of.Key())] = of
	}
}

// TestUsedCodes: steps only grow, and the same answer again is no second use.
func TestUsedCodes(t *testing.T) {
	var c TryCount
	for _, step := range []struct {
		mark byte
		step uint64
		want error
	}{{1, 10, nil}, {1, 10, nil}, {2, 10, ErrUsed}, {2, 9, ErrUsed}, {2, 11, nil}, {1, 10, ErrUsed}} {
		if _, err := c.Use(TryMark{step.mark}, step.step); !errors.Is(err, step.want) {
			t.Errorf("step %d by answer %d: %v, want %v", step.step, step.mark, err, step.want)
		}
	}
}

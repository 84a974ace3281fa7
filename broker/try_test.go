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
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, jump := range []time.Duration{-365 * 24 * time.Hour, -time.Hour, -ClocksApart, 0, time.Second} {
		var c TryCount
		for i := range byte(FreeTries) {
			c.Try(TryMark{i}, now)
		}
		if tried, _ := c.Try(TryMark{9}, now.Add(jump)); tried.Wait <= 0 || tried.Wait > firstWait {
			t.Errorf("after a jump of %v the wait is %v", jump, tried.Wait)
		}
	}
}

// TestRepeatsAreFreeForSeconds: whoever lost the verdict gets it again. Later the same
// answer is a try like any other: it waits, and it counts.
func TestRepeatsAreFreeForSeconds(t *testing.T) {
	var c TryCount
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	c.Try(TryMark{1}, now)
	for i, step := range []struct {
		after time.Duration
		n     int
		wait  bool
	}{
		{0, 1, false}, {RepeatTime - 1, 1, false}, {RepeatTime, 2, false}, {RepeatTime + time.Second, 2, false},
		{2 * RepeatTime, 3, false}, {3*RepeatTime - 1, 3, false}, {3 * RepeatTime, 3, true}, {2*RepeatTime + firstWait - 1, 3, true},
		{2*RepeatTime + firstWait, 4, false}, {2*RepeatTime + firstWait + 1, 4, false}, {3*RepeatTime + firstWait, 4, true},
	} {
		tried, changed := c.Try(TryMark{1}, now.Add(step.after))
		if tried.N != step.n || tried.Wait > 0 != step.wait || len(c.Marks) != 1 {
			t.Errorf("look %d, %v after the first: %+v of %+v, changed %v", i, step.after, tried, c, changed)
		}
	}
	c = TryCount{} // another try meanwhile makes it no younger
	c.Try(TryMark{1}, now)
	c.Try(TryMark{2}, now.Add(RepeatTime-1))
	if tried, _ := c.Try(TryMark{1}, now.Add(RepeatTime)); tried.N != 3 {
		t.Errorf("the first of two answers again: %+v", tried)
	}
	for _, jump := range []time.Duration{-time.Hour, time.Hour} { // a clock that jumps makes none free either
		if tried, changed := c.Try(TryMark{1}, now.Add(jump)); tried.Wait == 0 && !changed {
			t.Errorf("after a jump of %v it was looked at again and not counted", jump)
		}
	}
}

// TestWaitOfAClockAhead: a wait that was counted by a clock which was years ahead is as
// long as the rule says from the first look on, when the clock is right again.
func TestWaitOfAClockAhead(t *testing.T) {
	var c TryCount
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for i := range byte(FreeTries) {
		c.Try(TryMark{i}, now.AddDate(10, 0, 0))
	}
	if tried, changed := c.Try(TryMark{9}, now); tried.Wait != firstWait || !changed {
		t.Fatalf("the first look: %+v, changed %v", tried, changed)
	}
	if tried, changed := c.Try(TryMark{9}, now.Add(firstWait-1)); tried.Wait != 1 || changed {
		t.Errorf("later: %+v, changed %v", tried, changed)
	}
	if tried, _ := c.Try(TryMark{9}, now.Add(firstWait)); tried.Wait != 0 || tried.N != FreeTries+1 {
		t.Errorf("after the wait: %+v", tried)
	}
}

// TestClocksApartEarnNoTry: whoever asks two replicas in turn, whose clocks are apart,
// waits as long as at one.
func TestClocksApartEarnNoTry(t *testing.T) {
	for _, apart := range []time.Duration{time.Minute, 5 * time.Minute} {
		var c TryCount
		tries := 0
		for now, end := start(), start().Add(time.Hour); now.Before(end); now = now.Add(time.Second) {
			for i, at := range []time.Time{now, now.Add(apart)} {
				if tried, _ := c.Try(TryMark{byte(tries), byte(tries >> 8), byte(i)}, at); tried.Wait == 0 {
					tries++
				}
			}
		}
		if tries > 12 {
			t.Errorf("%d tries in an hour, %v apart", tries, apart)
		}
	}
}

func start() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

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
		{What: "totp"}, {What: "hook:a"}, {What: "hook:a", Enroll: "b"}, {What: "hook:a", Exchange: [16]byte{1}}, {What: "hook:a", Exchange: [16]byte{2}},
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
	}{{1, 10, nil}, {1, 10, nil}, {2, 10, ErrUsed}, {2, 9, ErrUsed}, {2, 11, nil}, {1, 10, ErrUsed},
		{3, 10_000_000, nil}, {4, 10_000_000 - stepsApart, ErrUsed}, {4, 12, nil}, {5, 12, ErrUsed}, {5, 13, nil}, // the clock was years ahead once
	} {
		if _, err := c.Use(TryMark{step.mark}, step.step); !errors.Is(err, step.want) {
			t.Errorf("step %d by answer %d: %v, want %v", step.step, step.mark, err, step.want)
		}
	}
}

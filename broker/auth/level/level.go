// Package level makes refusals of proofs take the same time, whatever was wrong. It does
// not know what is refused, and refuses nothing itself.
package level

import (
	"context"
	"time"
)

// Time is how long it takes to refuse a proof: far longer than to check it.
const Time = 2 * time.Millisecond

// timerSlack is how late a timer may be: where the runtime has nothing else to do it
// waits in whole milliseconds, counted from when it began to.
const timerSlack = 1200 * time.Microsecond

// MostAtOnce is how many refusals may wait at once by default: a small part of the workers
// that answer, and more than a machine can check within Time.
const MostAtOnce = 64

// A Clock is what a Level measures and waits by. Zero fields are the real ones.
type Clock struct {
	Now func() time.Time
	// Nap waits for d, less than two milliseconds, as exactly as possible. How late it is
	// must not depend on the work before.
	Nap func(d time.Duration)
}

// A Level lets refusals wait. It is safe for concurrent use.
type Level struct {
	now     func() time.Time
	nap     func(time.Duration)
	waiting chan struct{}
}

// New makes a Level that lets atOnce refusals wait at once; 0: MostAtOnce.
func New(c Clock, atOnce int) *Level {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Nap == nil {
		c.Nap = nap
	}
	if atOnce <= 0 {
		atOnce = MostAtOnce
	}
	return &Level{now: c.Now, nap: c.Nap, waiting: make(chan struct{}, atOnce)}
}

// Now is the current time by the clock that Wait compares with.
func (l *Level) Now() time.Time { return l.now() }

// Wait waits until Time has passed since began. How long the work took, by some
// microseconds, depends on whose proof was refused: a known device has a record to read
// and a key of some kind. The time of the answer must not show that.
//
// It returns false if too many wait already, or ctx has ended. Then nothing may be
// answered, because the time of that answer would tell; and each that waits holds up a
// worker, so a stranger with enough wrong proofs could otherwise stop them all.
//
// A timer alone would be late by an amount that depends on the work before. So the last
// part is slept in the kernel, which is late by the same amount every time.
func (l *Level) Wait(ctx context.Context, began time.Time) bool {
	select {
	case l.waiting <- struct{}{}:
		defer func() { <-l.waiting }()
	default:
		return false
	}
	until := began.Add(Time)
	t := time.NewTimer(until.Add(-timerSlack).Sub(l.now()))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	l.nap(until.Sub(l.now()))
	return true
}

// Package level makes the refusals of proofs take one time, whoever's proof it was. It
// knows nothing of what is refused.
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

// MostAtOnce is how many refusals wait at once where nothing else is said: a small part
// of those who answer, and more than a machine can work off in Time.
const MostAtOnce = 64

// A Clock is what a Level measures and waits by. Zero fields are the real ones.
type Clock struct {
	Now func() time.Time
	// Nap waits for d, which is less than two milliseconds, as exactly as can be and
	// late by as much whatever was done before.
	Nap func(d time.Duration)
}

// A Level lets refusals wait. It is safe for concurrent use.
type Level struct {
	now     func() time.Time
	nap     func(time.Duration)
	waiting chan struct{}
}

// New makes a Level that lets so many wait at once; 0: MostAtOnce.
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

// Now is the time that Wait takes.
func (l *Level) Now() time.Time { return l.now() }

// Wait waits until Time has passed since began. Whose proof was refused shows in the
// work that was done, in microseconds: a known device has a record to read, of some
// size, and a key of some kind. It must not show in the answer's time.
//
// False: too many wait already, or ctx has ended. Then nothing may be answered, for the
// answer's time would tell; and whoever waits keeps somebody from answering others, so
// that a stranger with enough wrong proofs could stop them all.
//
// A timer alone would be late by what the work took, and so tell it: the rest is
// slept in the kernel, which is late by as much whenever it is asked.
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

package broker

import "time"

// ClocksApart is how far clocks that deal with one another may be apart: those of
// replicas and of devices. A time from further ahead was written by a clock that was
// wrong. Chosen so that it is above what the sealed sessions of an exchange allow.
const ClocksApart = 8 * time.Minute

// ClockDoubt is how long a clock must have stood where it jumped to before anything is
// forgotten by it, measured by what elapses. Chosen to be longer than a wrong clock stays
// unnoticed.
const ClockDoubt = 24 * time.Hour

// A PatientClock tells housekeeping what time has certainly come. What is forgotten does
// not come back when a wrong clock is set right, so it goes by what elapses, and follows a
// clock that jumps only after ClockDoubt. Meanwhile rows that have expired stay, which costs
// space alone: whether something is still good is judged by the clock, as ever. It is for
// one goroutine.
type PatientClock struct {
	At time.Time // the time that it believes

	elapsed time.Duration // at the last reading
	off     time.Duration // where the clock is that it doubts, from At
	since   time.Duration // when it was first seen there, as elapsed
	doubts  bool
	slack   time.Duration // until it believes a reading
}

// ResumeClock makes one that believed at, a time not long before the process ended: elapsed
// counts from now on, and the first time is believed that is ahead by no more than slack.
func ResumeClock(at time.Time, elapsed, slack time.Duration) PatientClock {
	return PatientClock{At: at, elapsed: elapsed, slack: slack}
}

// Read gives the time that has come: never later than the clock's, nor than what has
// elapsed allows. elapsed is of a clock that is never set, such as the monotonic one.
func (p *PatientClock) Read(clock time.Time, elapsed time.Duration) time.Time {
	p.At = p.At.Add(elapsed - p.elapsed)
	p.elapsed = elapsed
	off := clock.Sub(p.At)
	switch {
	case off.Abs() <= ClocksApart, off > 0 && off <= p.slack:
		p.At, p.doubts, p.slack = clock, false, 0
	case !p.doubts || (off-p.off).Abs() > ClocksApart:
		p.off, p.since, p.doubts = off, elapsed, true
	case elapsed-p.since >= ClockDoubt:
		p.At, p.doubts = clock, false
	}
	if clock.Before(p.At) {
		return clock
	}
	return p.At
}

// Doubt gives how far ahead of what it believes the clock was at the last reading,
// negative for behind; 0 when it believes the clock.
func (p *PatientClock) Doubt() time.Duration {
	if !p.doubts {
		return 0
	}
	return p.off
}

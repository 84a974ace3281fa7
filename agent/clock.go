package agent

import "time"

// signedTime is the broker's time as last heard, and when that was on the local clock.
type signedTime struct {
	at    time.Time // the ID token's iat
	heard time.Time // local, with monotonic reading
}

// Time gives the broker's time: what it signed last, plus what has passed since
// on the monotonic clock. known is false before the first grant of this run; then
// the time is only a floor: what was signed last in an earlier run.
func (a *Agent) Time() (now time.Time, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.timeLocked()
}

func (a *Agent) timeLocked() (time.Time, bool) {
	floor := time.Unix(a.record.Floor, 0)
	if a.cfg.Built.After(floor) {
		floor = a.cfg.Built
	}
	if a.signed.at.IsZero() {
		return floor, false
	}
	now := a.signed.at.Add(a.cfg.Clock().Sub(a.signed.heard))
	if now.Before(floor) {
		return floor, true
	}
	return now, true
}

// Floor is an instant that has passed, if the broker's clock was right when it was heard
// last, and never before Config.Built: what TLS certificates are checked against. The
// device's own clock has no part in it.
func (a *Agent) Floor() time.Time {
	t, _ := a.Time()
	return t
}

// Offset is what must be added to the local clock to get the broker's time.
func (a *Agent) Offset() (offset time.Duration, known bool) {
	t, known := a.Time()
	if !known {
		return 0, false
	}
	return t.Sub(a.cfg.Clock().Round(0)).Round(time.Second), true
}

package stream

import "time"

// limits are the moments that a stream is bound by, as Loop.now; zero: none. It has a deadline
// no later than the first of them, and looks again when that fires: what moves with
// each packet moves nothing but a number.
type limits struct {
	armed  time.Duration // when it fires
	due    time.Duration // read deadline while being served
	idle   time.Duration // not a moment: how long nothing may come
	stalls time.Duration // when the client is to have taken something
	grace  time.Duration // when it is cut
	until  time.Duration // when a pause that the Handler wants is over
	since  time.Duration // not a limit: when the pause began
}

// SetReadDeadline sets until when the client has to send what is expected of it; the zero
// time takes it off. Before Serve it is net.Conn's. After, Overdue tells that it has passed,
// and the time for which nothing was read, because the Handler said so or the client had too
// much to read, does not count.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.serving {
		return s.nc.SetReadDeadline(t)
	}
	s.due = 0
	if !t.IsZero() {
		s.due = max(s.loop.now()+time.Until(t), 1)
	}
	s.arm()
	return nil
}

// SetIdleTimeout sets for how long nothing may come while the stream is served; zero: for
// ever. Overdue tells that it has passed. Not counted is what SetReadDeadline does not count.
func (s *Stream) SetIdleTimeout(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = d
	s.arm()
}

// arm sets the deadline if something is due before it fires. With mu.
func (s *Stream) arm() {
	if s.closed {
		return
	}
	var next time.Duration
	sooner := func(at time.Duration) {
		if at > 0 && (next == 0 || at < next) {
			next = at
		}
	}
	if s.serving && !s.paused && !s.hanging {
		sooner(s.due)
		if s.idle > 0 {
			sooner(time.Duration(s.read.Load()) + s.idle)
		}
	}
	sooner(s.stalls)
	sooner(s.grace)
	sooner(s.until)
	if next == 0 || s.armed > 0 && s.armed <= next {
		return
	}
	s.armed = next
	s.loop.deadlines.Set(s, s.loop.epoch.Add(next))
}

// disarm is for the end. With mu.
func (s *Stream) disarm() { s.loop.deadlines.Set(s, time.Time{}) }

// fire does what is due.
func (s *Stream) fire() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	now := s.loop.now()
	past := func(at time.Duration) bool { return at > 0 && at <= now }
	if past(s.grace) || past(s.stalls) {
		err := error(nil)
		if !s.hanging {
			err = ErrStalled
		}
		s.mu.Unlock()
		s.close(err)
		return
	}
	overdue := s.serving && !s.paused && !s.hanging &&
		(past(s.due) || s.idle > 0 && past(time.Duration(s.read.Load())+s.idle))
	if overdue {
		s.due, s.idle = 0, 0
		s.refs++
	}
	s.armed = 0
	if past(s.until) {
		s.until = 0
		s.goOn()
	}
	s.arm()
	s.mu.Unlock()
	if overdue {
		s.h.Overdue()
		s.release()
	}
}

// putOff moves what the client is bound by: nothing was read since then. With mu.
func (s *Stream) putOff(since time.Duration) {
	now := s.loop.now()
	if s.due > 0 {
		s.due += now - since
	}
	s.read.Store(int64(now))
	s.arm()
}

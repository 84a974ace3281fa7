package stream

import (
	"errors"
	"time"
)

// lingerBytes is how much of a client that was hung up is read and thrown away.
// The figure is chosen.
const lingerBytes = 64 << 10

// waitBuffer is what a connection that can only block waits with.
const waitBuffer = 2 << 10

// What one step of reading comes to.
type outcome byte

const (
	more    outcome = iota // there may be more
	nothing                // nothing to be read now
	paused                 // nothing is to be read until goOn
	over                   // nothing is to be read any more
)

// A reader is what reads a stream's socket, one at a time: its goroutine or a poller.
type reader struct {
	s     *Stream
	ready func(fd uintptr) bool // look, once: it is an allocation
	waits bool                  // for something to come
	own   []byte                // for connections that can only block
	buf   *[readBuffer]byte     // while it holds something
	n     int
	err   error
}

func newReader(waits bool) *reader {
	r := &reader{waits: waits}
	r.ready = func(uintptr) bool { return r.look() }
	return r
}

// run reads until the stream is over. It is a goroutine of its own, fresh after the
// handshake, whose stack has grown. It does not read by the socket of a stream that was
// never served, as someone else may.
func (s *Stream) run() {
	defer s.release()
	r := newReader(true)
	if s.raw == nil {
		r.own = make([]byte, waitBuffer)
	}
	for o := more; o != over; o = r.step(s) {
		if o == paused {
			s.awaitGoOn()
		}
	}
}

// step reads once and feeds it.
func (r *reader) step(s *Stream) outcome {
	switch {
	case s.owed:
		return s.feed(nil)
	case s.early != nil && len(s.early.plain) > 0:
		p := s.early.plain
		s.early.plain = nil
		return s.feed(p)
	case len(s.below()) == 0:
		s.early = nil // all of it was fed
	}
	if s.dry && s.tls == nil {
		return nothing
	}
	r.s, r.n, r.err = s, 0, nil
	p := r.own
	if s.raw == nil {
		from := s.source()
		if s.isOver() {
			from = s.nc
		}
		r.n, r.err = from.Read(p)
	} else {
		if s.poller != nil {
			r.look()
		} else if err := s.raw.Read(r.ready); err != nil {
			r.err = err
		}
		defer r.putBack()
		if r.buf != nil {
			p = r.buf[:]
		}
	}
	if r.n > 0 {
		if o := s.feed(p[:r.n]); o != more || r.err == nil {
			return o
		}
	}
	switch {
	case errors.Is(r.err, errAgain):
		return nothing
	case r.err != nil:
		s.gone(r.err)
		return over
	}
	return more
}

// look reads into a buffer of the pool, if there is something to read; who waits has none.
// Without a poller reading takes place in RawConn.Read, which forgets what came before it was called.
func (r *reader) look() bool {
	r.buf = r.s.loop.reads.Get().(*[readBuffer]byte)
	if r.s.isOver() {
		r.n, r.err = r.s.readRaw(r.buf[:])
	} else {
		r.n, r.err = r.s.source().Read(r.buf[:])
	}
	if r.n == 0 && errors.Is(r.err, errAgain) {
		r.putBack()
		return !r.waits
	}
	return true
}

// readSome reads what the socket has, while being served. With a poller one that gave less than was
// asked for is not asked again in the same turn: what comes is another event (epoll(7)). Only the
// client's end is not, where it was told of with the bytes before it.
func (s *Stream) readSome(p []byte) (int, error) {
	if s.dry {
		return 0, errAgain
	}
	n, err := s.readRaw(p)
	s.dry = s.poller != nil && err == nil && n < len(p) && !s.finis.Load()
	return n, err
}

// readRaw reads what the socket has. With a poller it has mu, and not after close: so the descriptor is
// still the socket's.
func (s *Stream) readRaw(p []byte) (int, error) {
	if s.poller == nil {
		return readNow(uintptr(s.number), p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, ErrClosed
	}
	return readNow(uintptr(s.number), p)
}

func (r *reader) putBack() {
	if r.buf != nil {
		r.s.loop.reads.Put(r.buf)
		r.buf = nil
	}
}

// feed hands p to the Handler, or throws it away once the stream was hung up.
func (s *Stream) feed(p []byte) outcome {
	s.mu.Lock()
	s.owed = false
	switch {
	case s.closed:
		s.mu.Unlock()
		return over
	case s.hanging:
		s.mu.Unlock()
		if s.lost += int32(len(p)); s.lost > lingerBytes {
			s.gone(nil)
			return over
		}
		return more
	}
	s.resumed = false
	s.mu.Unlock()
	s.read.Store(int64(s.loop.now()))
	s.Cork()
	pause, err := s.h.Feed(p)
	s.Uncork()
	if err != nil {
		s.fail(err) // not if it was hung up: then the client is still waited for
	}
	return s.pause(pause)
}

// pause stops reading if the Handler wants it or if the client has too much to read.
func (s *Stream) pause(d time.Duration) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owed = d != 0
	s.held = d < 0 && !s.resumed
	if d > 0 {
		s.until = s.loop.now() + d
	}
	if !s.stopped() {
		return more
	}
	s.paused, s.since = true, s.loop.now()
	s.arm()
	return paused
}

// stopped reports whether there is a reason not to read. With mu.
func (s *Stream) stopped() bool {
	return !s.hanging && !s.closed && (s.held || s.until > 0 || s.Backlog() > s.loop.cfg.MaxBacklog/2)
}

// goOn has reading go on if there is no reason any more not to. With mu.
func (s *Stream) goOn() {
	if !s.paused || s.stopped() {
		return
	}
	s.paused = false
	s.putOff(s.since)
	if s.poller != nil {
		if !s.closed {
			go s.turns()
		}
		return
	}
	select {
	case s.wake <- struct{}{}: // never, if it is nil: nobody waits yet
	default:
	}
}

// awaitGoOn waits while the stream is paused.
func (s *Stream) awaitGoOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	for s.paused {
		s.mu.Unlock()
		<-s.wake
		s.mu.Lock()
	}
}

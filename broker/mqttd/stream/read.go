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

// run reads until the stream is over. It is a goroutine of its own, fresh after
// the handshake, whose stack has grown.
// served: it may read by the socket, as nobody else does.
func (s *Stream) run(rest []byte, served bool) {
	defer s.release()
	r := &reading{s: s}
	if s.raw != nil {
		if served {
			s.polled = true
		}
		r.poll = r.ready // once: it is an allocation
	} else {
		r.own = make([]byte, waitBuffer)
	}
	if len(rest) == 0 || r.feed(rest) {
		for r.next() {
		}
	}
}

// reading is what the goroutine that reads a stream knows.
type reading struct {
	s    *Stream
	poll func(fd uintptr) bool
	own  []byte
	buf  *[readBuffer]byte // while it holds something
	n    int
	err  error
	lost int // bytes thrown away while hanging
}

// ready reads into a buffer of the pool, if there is something to read. A stream that
// waits has none. Reading takes place here, as readiness that comes before RawConn.Read
// is forgotten by it.
func (r *reading) ready(fd uintptr) bool {
	s := r.s
	r.buf = s.loop.reads.Get().(*[readBuffer]byte)
	if s.isOver() {
		r.n, r.err = readNow(fd, r.buf[:])
	} else {
		s.fd = fd
		r.n, r.err = s.reader().Read(r.buf[:])
	}
	if r.n == 0 && errors.Is(r.err, errAgain) {
		r.putBack()
		return false
	}
	return true
}

func (r *reading) putBack() {
	if r.buf != nil {
		r.s.loop.reads.Put(r.buf)
		r.buf = nil
	}
}

// next reads once and feeds it, and reports whether there is more to do.
func (r *reading) next() bool {
	var p []byte
	if r.poll != nil {
		r.n, r.err = 0, nil
		if err := r.s.raw.Read(r.poll); err != nil {
			r.err = err
		}
		defer r.putBack()
		if r.n > 0 {
			p = r.buf[:r.n]
		}
	} else {
		from := r.s.reader()
		if r.s.isOver() {
			from = r.s.nc
		}
		r.n, r.err = from.Read(r.own)
		p = r.own[:r.n]
	}
	if len(p) > 0 && !r.feed(p) {
		return false
	}
	if r.err != nil && !errors.Is(r.err, errAgain) {
		r.s.gone(r.err)
		return false
	}
	return true
}

// feed hands p to the Handler, waits for as long as it says, and reports whether there is
// more to read.
func (r *reading) feed(p []byte) bool {
	s := r.s
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return false
		}
		if s.hanging {
			s.mu.Unlock()
			if r.lost += len(p); r.lost > lingerBytes {
				s.gone(nil)
				return false
			}
			return true
		}
		s.resumed = false
		s.mu.Unlock()
		s.read.Store(int64(s.loop.now()))
		s.Cork()
		pause, err := s.h.Feed(p)
		s.Uncork()
		if err != nil {
			s.fail(err)
			// It may have been hung up: then the client is still waited for.
		}
		if !s.wait(pause) {
			return true
		}
		p = nil
	}
}

// wait pauses reading: for the Handler, and for as long as the backlog is high.
// It reports whether the Handler asked for it and is to be fed again.
func (s *Stream) wait(pause time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = pause < 0 && !s.resumed
	asked := pause != 0
	if pause <= 0 && !s.held && !s.clogged() {
		return asked && !s.hanging && !s.closed
	}
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	s.paused = true
	began := s.loop.now()
	var over <-chan time.Time
	if pause > 0 {
		t := time.NewTimer(pause)
		defer t.Stop()
		over = t.C
	}
	for (over != nil || s.held || s.clogged()) && !s.hanging && !s.closed {
		s.mu.Unlock()
		select {
		case <-over:
			over = nil
		case <-s.wake:
		}
		s.mu.Lock()
	}
	s.paused, s.held = false, false
	s.putOff(began)
	return asked && !s.hanging && !s.closed
}

// clogged reports whether the client must read before anything is read of it. With mu.
func (s *Stream) clogged() bool { return s.Backlog() > s.loop.cfg.MaxBacklog/2 }

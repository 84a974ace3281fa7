package stream

import (
	"fmt"
	"time"
)

// chunk is the least that is allocated for a backlog.
const chunk = 4 << 10

// Write sends parts as one, in order with other Writes. It never blocks. It fails with
// ErrBacklog if the client's backlog is full, with nothing written, with ErrClosed after the
// end, and with another error if the connection is broken: then what came of the client is
// still fed, and the end follows. The bytes are not kept.
func (s *Stream) Write(parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.sealed {
		return ErrClosed
	}
	if s.full(n) {
		if err := s.sendBatch(); err != nil {
			return err
		}
		if s.full(n) {
			return ErrBacklog
		}
	}
	if s.corks == 0 && len(parts) == 1 {
		return s.send(parts[0])
	}
	for _, p := range parts {
		if err := s.gather(p); err != nil {
			return err
		}
	}
	if s.corks == 0 {
		return s.sendBatch()
	}
	return nil
}

// full reports whether n bytes more are too many.
func (s *Stream) full(n int) bool {
	w := s.Backlog() + int(s.gathered)
	return w > 0 && w+n > s.loop.cfg.MaxBacklog
}

// Backlog is how many bytes wait for the client because the socket did not take them, as
// ciphertext where they are encrypted.
func (s *Stream) Backlog() int { return int(s.queued.Load()) }

// Ready reports whether the backlog is at most Config.Mark. If not, Drained follows.
func (s *Stream) Ready() bool { return s.Backlog() <= s.loop.cfg.Mark }

// Cork has what is written gathered, in up to 16 KiB, until Uncork: it then leaves together.
// Corks are counted.
func (s *Stream) Cork() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.corks++
}

// Uncork ends a Cork. A broken connection is reported by the next Write.
func (s *Stream) Uncork() {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.corks--; s.corks == 0 {
		_ = s.sendBatch() // kept in broken
	}
}

// gather adds to the batch. With writing.
func (s *Stream) gather(p []byte) error {
	if len(p) > batch-int(s.gathered) {
		if err := s.sendBatch(); err != nil {
			return err
		}
		if len(p) >= batch {
			return s.send(p)
		}
	}
	if len(p) == 0 {
		return nil
	}
	if s.batch == nil {
		s.batch = s.loop.writes.Get().(*[batch]byte)
	}
	s.gathered += int32(copy(s.batch[s.gathered:], p))
	return nil
}

// sendBatch sends what was gathered. With writing.
func (s *Stream) sendBatch() error {
	if s.batch == nil {
		return nil
	}
	p := s.batch[:s.gathered]
	err := s.send(p)
	s.loop.writes.Put(s.batch)
	s.batch, s.gathered = nil, 0
	return err
}

// send encrypts p if need be and puts it on its way. With writing.
func (s *Stream) send(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	var err error
	if s.tls != nil {
		_, err = s.tls.Write(p)
	} else {
		_, err = s.put(p)
	}
	if err != nil {
		return fmt.Errorf("stream: writing: %w", err)
	}
	return nil
}

// put writes to the socket what that takes, and the rest to the backlog. It fails only if
// the connection is broken.
func (s *Stream) put(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return 0, ErrClosed
	case s.broken != nil:
		return 0, s.broken
	}
	n := 0
	if s.raw != nil && s.queued.Load() == 0 {
		var err error
		if n, err = s.writeRaw(p); err != nil {
			s.breakOff(err)
			return n, err
		}
	}
	if n < len(p) {
		s.queue(p[n:])
	}
	return len(p), nil
}

// A transfer is one write to a socket; they are pooled for their function.
type transfer struct {
	p   []byte
	n   int
	err error
	now func(fd uintptr) bool
}

func newTransfer() *transfer {
	t := new(transfer)
	t.now = func(fd uintptr) bool {
		t.n, t.err = writeNow(fd, t.p)
		return true
	}
	return t
}

// writeRaw writes as much as the socket takes. With mu, and not after close: so the descriptor is still
// the socket's.
func (s *Stream) writeRaw(p []byte) (int, error) {
	if s.poller != nil {
		return writeNow(uintptr(s.number), p)
	}
	t := s.loop.moves.Get().(*transfer)
	t.p, t.n, t.err = p, 0, nil
	err := s.raw.Write(t.now)
	if t.err != nil {
		err = t.err
	}
	n := t.n
	t.p = nil
	s.loop.moves.Put(t)
	return n, err
}

// queue adds to the backlog. With mu.
func (s *Stream) queue(p []byte) {
	s.queued.Add(int32(len(p)))
	s.over = s.over || !s.Ready()
	if last := len(s.backlog) - 1; last >= 0 {
		b := s.backlog[last]
		n := min(cap(b)-len(b), len(p))
		s.backlog[last] = append(b, p[:n]...)
		p = p[n:]
	}
	if len(p) > 0 {
		s.backlog = append(s.backlog, append(make([]byte, 0, max(len(p), chunk)), p...))
	}
	s.startFlush()
}

// startFlush has the backlog sent, if nobody sends it. With mu.
func (s *Stream) startFlush() {
	if s.flushing {
		return
	}
	s.flushing = true
	s.progress(true)
	if s.poller == nil {
		s.refs++
		go func() {
			defer s.release()
			s.flush()
		}()
	}
}

// breakOff gives up sending. What the client sent is still read, its last word perhaps, and
// reading then finds the end. With mu.
func (s *Stream) breakOff(err error) {
	s.broken = err
	s.dropBacklog()
	s.goOn()
}

// dropBacklog forgets what waits. With mu.
func (s *Stream) dropBacklog() {
	s.queued.Store(0)
	s.backlog, s.over = nil, false
}

// flush sends the backlog: a goroutine of its own until it is empty; a poller, in its turn, what the
// socket takes, and has another turn when that takes more.
func (s *Stream) flush() {
	s.mu.Lock()
	for s.queued.Load() > 0 && !s.closed {
		n, err := s.writeSome(s.backlog[0])
		if err != nil {
			if !s.closed {
				s.breakOff(err)
			}
			break
		}
		if n == 0 {
			s.mu.Unlock()
			return
		}
		s.taken(n)
		if s.over && s.Ready() && !s.closed {
			s.over = false
			s.mu.Unlock()
			s.h.Drained()
			s.mu.Lock()
		}
	}
	s.flushing = false
	s.progress(false)
	half := s.hanging && !s.closed && !s.halved && s.queued.Load() == 0
	s.mu.Unlock()
	if half {
		s.half()
	}
}

// taken takes n bytes off the backlog's beginning. With mu.
func (s *Stream) taken(n int) {
	if s.queued.Load() == 0 {
		return // dropped meanwhile
	}
	s.queued.Add(-int32(n))
	if s.backlog[0] = s.backlog[0][n:]; len(s.backlog[0]) == 0 {
		s.backlog[0] = nil
		s.backlog = s.backlog[1:]
	}
	if s.queued.Load() == 0 {
		s.backlog = nil
	}
	s.progress(true)
	s.goOn()
}

// writeSome writes some of p: without a poller it blocks until something has been taken, and lets go of mu
// meanwhile. With mu.
func (s *Stream) writeSome(p []byte) (n int, err error) {
	if s.poller != nil {
		return writeNow(uintptr(s.number), p)
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	if s.raw == nil {
		return s.nc.Write(p[:min(len(p), batch)])
	}
	failed := s.raw.Write(func(fd uintptr) bool {
		n, err = writeNow(fd, p)
		return n > 0 || err != nil
	})
	if err == nil {
		err = failed
	}
	return n, err
}

// progress notes that the client took something; without a backlog nothing is expected of it.
// With mu.
func (s *Stream) progress(backlog bool) {
	var at time.Duration
	if backlog && s.queued.Load() > 0 {
		at = s.loop.now() + s.loop.cfg.WriteTimeout
	}
	s.stalls = at
	s.arm()
}

package stream

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// HangUp ends the stream in good order: feeding stops (a Feed that has begun goes on), the
// backlog and then final leave, our half is closed, and the client has until grace is over,
// counted from now, to take it all and to close its own; what it still sends is thrown away.
// Closing at once would reset a TCP connection with unread bytes, and the client would never
// read final. final is sent even if the backlog is full. It never blocks; a second call
// does nothing.
func (s *Stream) HangUp(final []byte, grace time.Duration) {
	s.writing.Lock()
	if s.sealed {
		s.writing.Unlock()
		return
	}
	if s.secure() == nil || s.shook { // else TLS would wait for the handshake
		_ = s.sendBatch() // a broken connection ends by itself
		_ = s.send(final)
		s.sayGoodbye()
	}
	s.sealed = true
	s.writing.Unlock()

	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.hanging = true
	s.grace = s.loop.now() + grace
	s.arm()
	s.goOn()
	if !s.serving {
		_ = s.nc.SetReadDeadline(time.Time{})
		s.serving = true
		s.refs++
		go s.run()
	}
	half := false
	if !s.flushing {
		if half = s.raw != nil; !half {
			s.startFlush() // closing one's half may block
		}
	}
	s.mu.Unlock()
	if half {
		s.half()
	}
}

// sayGoodbye ends our half of TLS (RFC 8446, section 6.1). With writing.
func (s *Stream) sayGoodbye() {
	if s.tls != nil && s.shook {
		_ = s.tls.CloseWrite()
	}
}

// Cut ends the stream at once; what waits is lost. It never blocks.
func (s *Stream) Cut() { s.close(nil) }

// half closes our half, once all is sent. The stream is over if the client's is closed, too,
// or if there are no halves.
func (s *Stream) half() {
	err := errors.ErrUnsupported
	c, ok := s.nc.(interface{ CloseWrite() error })
	s.mu.Lock()
	switch {
	case s.poller != nil && !s.closed:
		err = s.poller.half(s)
	case s.poller == nil && ok:
		s.mu.Unlock() // it may block
		err = c.CloseWrite()
		s.mu.Lock()
	}
	s.halved = true
	over := s.ended || err != nil
	s.mu.Unlock()
	if over {
		s.close(nil)
	}
}

// gone is called when nothing more comes: the client went, or was read for long enough.
func (s *Stream) gone(err error) {
	s.mu.Lock()
	hanging, over := s.hanging, s.halved
	s.ended = true
	s.mu.Unlock()
	switch {
	case !hanging:
		if errors.Is(err, io.EOF) {
			s.writing.Lock()
			s.sayGoodbye()
			s.writing.Unlock()
		}
		s.fail(err)
	case over:
		s.close(nil)
	}
}

// fail ends the stream for err, unless it is ending.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	hanging := s.hanging
	s.mu.Unlock()
	if !hanging {
		s.close(err)
	}
}

// close gives the connection back. Not with mu: net waits for whoever is in RawConn.Read.
func (s *Stream) close(err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed, s.err = true, err
	s.dropBacklog()
	s.disarm()
	s.goOn()
	s.mu.Unlock()
	if s.raw == nil {
		go s.shut() // may block
		return
	}
	if s.poller != nil {
		s.poller.close(s)
	} else {
		_ = s.nc.Close()
	}
	if s.drop() {
		go s.finish()
	}
}

// shut closes a connection that can only block.
func (s *Stream) shut() {
	defer s.release()
	switch nc := s.nc.(type) {
	case interface{ CloseNow() error }:
		_ = nc.CloseNow()
	case *tls.Conn:
		_ = nc.NetConn().Close()
	case net.Conn:
		_ = nc.Close()
	}
}

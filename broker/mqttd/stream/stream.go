// Package stream moves the bytes of one client's connection: plain TCP, TLS, WebSocket, or
// any other net.Conn.
//
// A Stream begins in the hands of the goroutine that accepted it: Handshake, Read and
// SetReadDeadline block as a net.Conn does. From Serve on it feeds what comes to its Handler,
// and an idle one has no buffer of its own. Write never blocks in either phase: what the
// socket does not take waits in a backlog, bounded in bytes and in time without progress.
//
// It knows nothing of MQTT, judges no client and logs nothing. It never calls a Handler from
// within a call of its own methods, nor with a lock held.
package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/signetd/signet/broker/mqttd/deadline"
)

// Errors of streams, to be tested for with errors.Is.
var (
	// ErrClosed: the stream was hung up or cut; nothing is read or written any more.
	ErrClosed = errors.New("stream: closed")
	// ErrBacklog: as much as may wait for the client is waiting. Nothing of what was to be
	// written was; the stream goes on.
	ErrBacklog = errors.New("stream: the client does not read, and its backlog is full")
	// ErrStalled: the client took nothing of its backlog for the time that it has. It ends the
	// stream.
	ErrStalled = errors.New("stream: the client took nothing in time")
)

// A Handler is whom a Stream serves.
//
// Feed is never called by two goroutines at once; the others may come while it runs.
type Handler interface {
	// Feed takes what has come; p is valid during the call only. What is written to the
	// stream meanwhile leaves when it returns, together. Nothing is read for as long as it
	// says (Hold: until Resume), so that TCP holds the client up; after that it is called
	// with an empty p, to go on with what it kept, and may ask for a pause again. An error cuts the stream, unless it
	// was hung up. It must not block.
	Feed(p []byte) (pause time.Duration, err error)
	// Drained tells that the backlog, which was above Config.Mark, no longer is. It must not block.
	Drained()
	// Overdue tells that the read deadline or the idle timeout has passed; neither is set any
	// more. The stream goes on: whoever wants it to end hangs it up. It must not block.
	Overdue()
	// Closed tells, exactly once and last of all, that the stream is over and its descriptor
	// given back. The error is nil if it was hung up or cut, io.EOF if the client went, else
	// what went wrong.
	Closed(err error)
}

// Hold is the pause that lasts until Resume.
const Hold time.Duration = -1

// Config says what streams may use.
type Config struct {
	// MaxBacklog is how many bytes may wait for a client that does not read: a Write that
	// would exceed it fails, if anything waits at all; less than 2 GiB. What TLS adds is not counted before
	// it is there. From half of it on nothing is read from the client.
	MaxBacklog int
	// Mark is the backlog that Drained and Ready speak of, in bytes.
	Mark int
	// WriteTimeout is how long a client may take nothing at all of its backlog.
	WriteTimeout time.Duration
	// Goroutines gives each stream a goroutine that reads, as it has one on systems without
	// a poller and for connections that can only block.
	Goroutines bool
	// TrimAfter is how many connections, at least, are a storm: when hardly one has come for
	// two seconds after so many, the process's garbage is collected and its free memory given
	// back to the system, once (debug.FreeOSMemory). Zero: never.
	TrimAfter int
}

// readBuffer is how much is read at once, and batch how much is gathered before it is sent.
const (
	readBuffer = 16 << 10
	batch      = 16 << 10
)

// A Loop has what its streams share. There is one for each server.
type Loop struct {
	cfg    Config
	epoch  time.Time // what moments are counted from
	reads  sync.Pool // of *[readBuffer]byte
	writes sync.Pool // of *[batch]byte
	moves  sync.Pool // of *transfer
	open   sync.WaitGroup
	trim   trim
	polling

	deadlines *deadline.Queue[*Stream]
	stop      context.CancelFunc // of what runs deadlines
	stopped   chan struct{}      // closed when that has ended
}

// NewLoop makes a Loop. Close must follow.
func NewLoop(cfg Config) *Loop {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Loop{
		cfg: cfg, epoch: time.Now(),
		reads:  sync.Pool{New: func() any { return new([readBuffer]byte) }},
		writes: sync.Pool{New: func() any { return new([batch]byte) }},
		moves:  sync.Pool{New: func() any { return newTransfer() }},
		trim:   trim{free: debug.FreeOSMemory},

		deadlines: deadline.New((*Stream).fire, func(s *Stream) *deadline.Place { return &s.place }),
		stop:      cancel,
		stopped:   make(chan struct{}),
	}
	go func() {
		defer close(l.stopped)
		l.deadlines.Run(ctx)
	}()
	return l
}

// Close waits for the end of all streams, their Handlers' Closed included, which whoever has
// them brings about; none may be made any more.
func (l *Loop) Close() {
	l.open.Wait()
	l.trim.stop()
	l.stop()
	<-l.stopped
	l.stopPolling()
}

// now is the moment, since the Loop's beginning.
func (l *Loop) now() time.Duration { return time.Since(l.epoch) }

// A Stream is one connection. Its methods may be called by several goroutines, those of the
// beginning (Handshake, Read, Serve) by one.
type Stream struct {
	loop *Loop
	h    Handler
	nc   net.Conn        // what bytes leave and come by
	raw  syscall.RawConn // of nc; nil: it can only block
	tls  *tls.Conn       // over the socket; nil without TLS of ours

	writing  sync.Mutex // taken before mu and TLS's locks; guards the next five
	batch    *[batch]byte
	gathered int32
	corks    int16
	sealed   bool // nothing more may be written
	shook    bool // the handshake is done

	direct bool         // of whoever reads: the socket answers errAgain instead of blocking
	owed   bool         // of whoever reads: an empty Feed, after a pause
	dry    bool         // of whoever reads, with a poller: there was less than asked for; more is told of
	finis  atomic.Bool  // with a poller: the client has closed its half, or worse, and nothing is told any more
	lost   int32        // of whoever reads: bytes thrown away while hanging
	queued atomic.Int32 // bytes in the backlog; changed with mu
	early  *early       // of whoever reads: nil when it is used up
	answer func()       // of whoever shakes hands: called before the next write, or at the handshake's end
	read   atomic.Int64 // when something came last, as Loop.now

	mu       sync.Mutex // innermost, guards the rest
	backlog  [][]byte
	broken   error
	err      error
	wake     chan struct{} // of the goroutine that reads; nil until it has paused
	poller   *poller       // nil: a goroutine reads
	number   int32         // of the socket, once it is served
	refs     int32         // what must be over before Closed: being open, reading, flushing ...
	over     bool          // Drained is owed
	flushing bool          // someone sends the backlog
	serving  bool          // someone reads
	held     bool          // by the Handler, until Resume
	resumed  bool          // since the last Feed began
	paused   bool          // nothing is read, for whichever reason
	busy     bool          // with a poller: someone reads right now
	again    bool          // with a poller: and is to look again
	hanging  bool
	halved   bool // nothing is sent any more
	ended    bool // nothing is read any more, while hanging
	closed   bool
	place    deadline.Place
	limits
}

// early is what was read before its turn.
type early struct {
	below []byte // before New, of the socket
	plain []byte // before Serve
}

// below gives what is left of what was read before New.
func (s *Stream) below() []byte {
	if s.early == nil {
		return nil
	}
	return s.early.below
}

// carrier is a connection around another that has read some of it.
type carrier interface {
	NetConn() net.Conn
	// Unread gives what was read of the connection and not handed out, once.
	Unread() []byte
}

// New makes a Stream of a connection, which it then owns. With conf the client is expected
// to begin TLS on it. Closed follows if the stream is cut or hung up.
//
// TLS with tls.Config.DynamicRecordSizingDisabled sends a batch in one record from the
// beginning. Connections that are or carry (see package balancer) a *net.TCPConn cost least; each
// *tls.Conn made elsewhere and each WebSocket costs a goroutine that writes whenever
// something is to be written.
func (l *Loop) New(nc net.Conn, conf *tls.Config, h Handler) *Stream {
	l.open.Add(1)
	l.began()
	s := &Stream{loop: l, h: h, nc: nc, refs: 1}
	if c, ok := nc.(carrier); ok {
		s.nc = c.NetConn()
		if rest := c.Unread(); len(rest) > 0 {
			s.early = &early{below: rest}
		}
	}
	s.raw = rawOf(s.nc)
	if conf != nil {
		s.tls = tls.Server((*socket)(s), conf)
	}
	return s
}

// Handshake does the TLS handshake, if there is one to do, until the read deadline.
func (s *Stream) Handshake() error {
	t := s.secure()
	if t == nil {
		return nil
	}
	err := t.Handshake()
	(*socket)(s).answered()
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.shook = true
	return nil
}

// secure gives the TLS connection, whoever made it; nil if there is none.
func (s *Stream) secure() *tls.Conn {
	if s.tls != nil {
		return s.tls
	}
	t, _ := s.nc.(*tls.Conn)
	return t
}

// ConnectionState gives what Handshake has negotiated; nil without TLS.
func (s *Stream) ConnectionState() *tls.ConnectionState {
	t := s.secure()
	if t == nil {
		return nil
	}
	state := t.ConnectionState()
	return &state
}

// Read reads what the client sent, blocking until the read deadline. Not after Serve.
func (s *Stream) Read(p []byte) (int, error) {
	if s.isOver() {
		return 0, ErrClosed
	}
	n, err := s.source().Read(p)
	if err != nil && s.isOver() {
		err = ErrClosed
	}
	return n, err
}

// source is where plain text comes from.
func (s *Stream) source() io.Reader {
	if s.tls != nil {
		return s.tls
	}
	return (*socket)(s)
}

// isOver reports whether nothing is to be read any more.
func (s *Stream) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hanging || s.closed
}

// Serve has the Handler fed from now on, with rest first: what Read gave and nobody used; it
// is the Stream's from here. It returns at once. The read deadline is taken off.
func (s *Stream) Serve(rest []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving || s.closed {
		return
	}
	_ = s.nc.SetReadDeadline(time.Time{})
	s.serving = true
	s.unblock()
	if len(rest) > 0 {
		s.early = &early{s.below(), rest}
	}
	s.read.Store(int64(s.loop.now()))
	if s.raw != nil && !s.loop.cfg.Goroutines {
		s.poller = s.loop.poll(s)
	}
	s.arm()
	if s.poller != nil {
		return // epoll tells of a new socket at once, as it can be written to
	}
	s.refs++
	go s.run()
}

// unblock has the socket answer errAgain from now on instead of blocking, if it can.
func (s *Stream) unblock() {
	if s.direct = s.raw != nil; s.direct {
		_ = s.raw.Control(func(fd uintptr) { s.number = int32(fd) }) //nolint:gosec // descriptors are small
	}
}

// Resume ends a Hold; without one, that of the Feed that runs now.
func (s *Stream) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.resumed = false, true
	s.goOn()
}

// release says that one of what refs counts is over, and calls the Handler's Closed if it
// was the last. Not from within a method that a Handler calls.
func (s *Stream) release() {
	if s.drop() {
		s.finish()
	}
}

func (s *Stream) drop() (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refs--
	return s.refs == 0
}

func (s *Stream) finish() {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	s.h.Closed(err)
	s.loop.finished()
	s.loop.open.Done()
}

// socket is a Stream as TLS sees it: ciphertext. Its Write never blocks; its Read
// does until the stream is served.
type socket Stream

var _ net.Conn = (*socket)(nil)

// errAgain: nothing can be read now. crypto/tls keeps what it has of a record after a
// temporary error and goes on at the next Read.
var errAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "stream: nothing to be read now" }
func (again) Timeout() bool   { return false }
func (again) Temporary() bool { return true }

// Read implements net.Conn.
func (k *socket) Read(p []byte) (int, error) {
	if below := (*Stream)(k).below(); len(below) > 0 {
		n := copy(p, below)
		k.early.below = below[n:]
		return n, nil
	}
	if k.direct {
		return (*Stream)(k).readSome(p)
	}
	return k.nc.Read(p)
}

// Write implements net.Conn.
func (k *socket) Write(p []byte) (int, error) {
	k.answered()
	return (*Stream)(k).put(p)
}

// OnAnswer is for tls.Config.GetConfigForClient: f is called when the answer to the hello is
// made, or the handshake has failed.
func (k *socket) OnAnswer(f func()) { k.answer = f }

func (k *socket) answered() {
	if f := k.answer; f != nil {
		k.answer = nil
		f()
	}
}

// Close implements net.Conn. Streams are ended by Cut and HangUp.
func (k *socket) Close() error { return nil }

// LocalAddr implements net.Conn.
func (k *socket) LocalAddr() net.Addr { return k.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (k *socket) RemoteAddr() net.Addr { return k.nc.RemoteAddr() }

// SetDeadline implements net.Conn.
func (k *socket) SetDeadline(t time.Time) error { return k.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn.
func (k *socket) SetReadDeadline(t time.Time) error { return k.nc.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn: Write takes no time. crypto/tls sets one that has
// passed once it has said that it writes no more, and the backlog must still go out.
func (k *socket) SetWriteDeadline(time.Time) error { return nil }

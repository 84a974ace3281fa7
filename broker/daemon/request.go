package daemon

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/problem"
)

// Limits on requests of HTTPS that are not worth a setting; the figures are chosen.
const (
	maxHeader = 8 << 10 // bytes of a request before its body
	// maxUnread is how many bytes of headers all connections together may have sent without
	// a whole request having come of them. One that came at once is never counted long.
	maxUnread  = 2 << 20
	headerTime = 5 * time.Second // for TLS and for a request's header, each
	// shortHeader is what a connection may have sent without being counted: honest requests
	// are shorter, or come at once.
	shortHeader = 1 << 10
	maxBodies   = 64 // requests with a body at once, each of which has a bound of its own
)

// http2 bounds what one connection of HTTP/2 may hold: requests at once, more than a browser
// makes over connections of HTTP/1.1, and bytes of bodies that nobody has read yet. The
// headers' bound is http.Server.MaxHeaderBytes.
func http2() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: 32, MaxReadFrameSize: 16 << 10, MaxDecoderHeaderTableSize: 4 << 10, MaxEncoderHeaderTableSize: 4 << 10,
		MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 64 << 10,
	}
}

// Why a connection was closed; see maxUnread, and heads.
var (
	errHeaders  = errors.New("too many bytes of requests that are not whole")
	errRequests = errors.New("too many requests at once")
)

// heads counts the bytes of requests' headers that are not whole, over all connections. The
// one that has kept many bytes waiting for longest makes room. So does the one whose request is
// being answered for longest when there are more of these than there may be connections: over
// HTTP/2 one has many, and no more of them hold memory than over HTTP/1.1.
type heads struct {
	most     int // bytes
	requests int // being answered at once
	refused  intake.Refused

	mu        sync.Mutex // guards the rest, and what is in headConns
	total     int
	waiting   list.List // of *headConn, those with more than shortHeader, the longest waiting first
	answering list.List // of *headConn, once for each request of theirs, the longest first
}

// A headConn is a connection below TLS.
type headConn struct {
	net.Conn
	all *heads

	// Guarded by all.mu.
	unread  int           // bytes since its last whole request
	place   *list.Element // in all.waiting
	serving int           // requests being answered; what comes is their bodies, if not headers of others
	left    bool          // it is closed, or no HTTP any more

	answer atomic.Pointer[func()] // called before the next write, or at the end
}

// listen counts the bytes of ln's connections, each a *headConn.
func (h *heads) listen(ln net.Listener) net.Listener { return &headListener{ln, h} }

type headListener struct {
	net.Listener
	all *heads
}

// Accept gives the next connection.
func (l *headListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &headConn{Conn: nc, all: l.all}, nil
}

// NetConn is the connection without the counting.
func (c *headConn) NetConn() net.Conn { return c.Conn }

// Read counts what it reads.
func (c *headConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.all.cut(c.all.add(c, n), intake.CauseHeader, errHeaders)
	return n, err
}

// cut closes a connection that must make room, if it is one.
func (h *heads) cut(out *headConn, cause intake.Cause, why error) {
	if out != nil {
		h.refused(cause, out.RemoteAddr().String(), why)
		_ = out.Conn.Close() // whoever reads it finds out and closes it
	}
}

// Write writes.
func (c *headConn) Write(p []byte) (int, error) {
	c.answered()
	return c.Conn.Write(p)
}

// OnAnswer is for tls.Config.GetConfigForClient: f is called when the answer to the hello is
// made, or the connection has ended.
func (c *headConn) OnAnswer(f func()) { c.answer.Store(&f) }

func (c *headConn) answered() {
	if c.answer.Load() == nil {
		return
	}
	if f := c.answer.Swap(nil); f != nil {
		(*f)()
	}
}

// Close forgets what was counted.
func (c *headConn) Close() error {
	c.answered()
	c.leave()
	return c.Conn.Close()
}

// settle counts anew: the handshake begins, or has just ended.
func (c *headConn) settle() {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.all.forget(c)
}

// leave ends the counting.
func (c *headConn) leave() {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.all.leave(c)
}

func (h *heads) leave(c *headConn) {
	h.forget(c)
	c.left = true
	if c.serving == 0 {
		return
	}
	for e := h.answering.Front(); e != nil; {
		next := e.Next()
		if e.Value == c {
			h.answering.Remove(e)
		}
		e = next
	}
}

// begin counts a request in that is whole; end follows when it is answered.
func (c *headConn) begin() (end func()) {
	h := c.all
	place, out := h.begin(c)
	h.cut(out, intake.CauseFull, errRequests)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.forget(c)
		c.serving--
		h.answering.Remove(place)
	}
}

// begin gives the connection that must make room, if any: it may be c.
func (h *heads) begin(c *headConn) (place *list.Element, out *headConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(c)
	c.serving++
	place = h.answering.PushBack(c)
	if h.answering.Len() > h.requests {
		out = h.answering.Front().Value.(*headConn)
		h.leave(out)
	}
	return place, out
}

// add gives the connection that must make room, if any.
func (h *heads) add(c *headConn, n int) (out *headConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.serving > 0 || c.left {
		return nil
	}
	c.unread += n
	h.total += n
	if c.place == nil && c.unread > shortHeader {
		c.place = h.waiting.PushBack(c)
	}
	if h.total <= h.most {
		return nil
	}
	longest := h.waiting.Front()
	if longest == nil {
		return nil // so many short ones: the bound on connections holds them
	}
	out = longest.Value.(*headConn)
	h.forget(out)
	return out
}

func (h *heads) forget(c *headConn) {
	h.total -= c.unread
	c.unread = 0
	if c.place != nil {
		h.waiting.Remove(c.place)
		c.place = nil
	}
}

type headKey struct{}

// withHead lets a request find its connection.
func withHead(ctx context.Context, nc net.Conn) context.Context {
	if c := headOf(nc); c != nil {
		return context.WithValue(ctx, headKey{}, c)
	}
	return ctx
}

// headOf gives the headConn that nc is or is wrapped around; nil if there is none.
func headOf(nc net.Conn) *headConn {
	for {
		if c, ok := nc.(*headConn); ok {
			return c
		}
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		nc = w.NetConn()
	}
}

// counted stands before all requests of HTTPS, whose headers have come, and counts them for
// their connection while they are answered.
func counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(headKey{}).(*headConn); ok {
			defer c.begin()()
		}
		next.ServeHTTP(w, r)
		if r.ProtoMajor > 1 {
			_ = http.NewResponseController(w).Flush() // else the answer waits for its client when this has returned
		}
	})
}

// whole stands behind counted. It refuses bodies in
// another form than their own, and too many at once; and it does not wait for a body that
// nobody wants, which net/http does, so that a stranger holds nothing with it.
func whole(next http.Handler, told unserved) http.Handler {
	bodies := make(chan struct{}, maxBodies)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		body := &body{ReadCloser: r.Body}
		r.Body = body
		defer func() {
			if !body.ended {
				_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
			}
		}()
		if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
			told(requestEncoded, r)
			refuse(w, http.StatusUnsupportedMediaType, "send the body as it is, without Content-Encoding")
			return
		}
		select {
		case bodies <- struct{}{}:
			defer func() { <-bodies }()
			next.ServeHTTP(w, r)
		default:
			told(requestBodies, r)
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusServiceUnavailable, "too many requests with a body at once")
		}
	})
}

func refuse(w http.ResponseWriter, status int, detail string) {
	problem.Name(w)
	problem.New(status, detail).Write(w)
}

// A body remembers whether it was read to its end.
type body struct {
	io.ReadCloser
	ended bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err
}

package stream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// AcceptWebSocket answers a request for a WebSocket (MQTT 5, section 6). If there is an error,
// the request is answered with it.
func AcceptWebSocket(w http.ResponseWriter, r *http.Request, o *websocket.AcceptOptions) (*WebSocket, error) {
	h := &hijacked{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background()) // it lives longer than the request
	return &WebSocket{Conn: websocket.NetConn(ctx, ws, websocket.MessageBinary), ws: ws, under: h, cancel: cancel}, nil
}

// What a client may send over a WebSocket that brings nothing: pings, pongs and empty frames. Each keeps a processor
// busy as a packet does, and no packet is counted. The figures are chosen: keep-alives are seconds apart, and what a
// reader waits for is at most readBuffer.
const (
	maxFraming  = 2 * readBuffer // bytes
	framingTime = 10 * time.Second
)

// ErrFraming: a client sent more of that than one needs.
var ErrFraming = errors.New("more than 32 KiB of a WebSocket's frames with nothing in them, within ten seconds")

// hijacked remembers the connection that is taken from the HTTP server, and counts what comes on it.
type hijacked struct {
	http.ResponseWriter
	under net.Conn

	mu    sync.Mutex // guards the rest: who closes a WebSocket may read, too
	idle  int        // bytes that came since any that were of use
	since time.Time
	many  bool
}

// Hijack implements http.Hijacker.
func (h *hijacked) Hijack() (nc net.Conn, rw *bufio.ReadWriter, err error) {
	h.under, rw, err = http.NewResponseController(h.ResponseWriter).Hijack()
	return counted{h.under, h}, rw, err
}

// came counts bytes.
func (h *hijacked) came(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); h.idle == 0 || now.Sub(h.since) > framingTime {
		h.idle, h.since = 0, now
	}
	h.idle += n
}

// useful forgets what came if any of it was, and reports whether there was too much that was not.
func (h *hijacked) useful(any bool) (many bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if any {
		h.idle = 0
	}
	h.many = h.many || h.idle > maxFraming
	return h.many
}

// counted is the connection as the WebSocket reads it: more of it when there is nothing left of what came.
type counted struct {
	net.Conn
	of *hijacked
}

// Read implements net.Conn.
func (c counted) Read(p []byte) (int, error) {
	if c.of.useful(false) { // or it would not be read on
		return 0, ErrFraming
	}
	n, err := c.Conn.Read(p)
	c.of.came(n)
	return n, err
}

// cut closes the connection below.
func (h *hijacked) cut() {
	if t, ok := h.under.(*tls.Conn); ok {
		_ = t.NetConn().Close()
	} else {
		_ = h.under.Close()
	}
}

// A WebSocket is one as a connection of binary messages, for New.
type WebSocket struct {
	net.Conn
	ws     *websocket.Conn
	under  *hijacked
	cancel context.CancelFunc
}

// Read implements net.Conn.
func (w *WebSocket) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.under.useful(n > 0) && err != nil {
		err = ErrFraming
	}
	return n, err
}

// Subprotocol is what was agreed on; empty: none.
func (w *WebSocket) Subprotocol() string { return w.ws.Subprotocol() }

// Refuse closes it in good order, with a reason.
func (w *WebSocket) Refuse(code websocket.StatusCode, reason string) { _ = w.ws.Close(code, reason) }

// CloseWrite sends a close frame and waits for the client's, for some seconds.
func (w *WebSocket) CloseWrite() error { return w.ws.Close(websocket.StatusNormalClosure, "") }

// CloseNow closes the connection below: the library's own CloseNow does no more than wait
// while its Close waits for the client.
func (w *WebSocket) CloseNow() error {
	w.under.cut()
	w.cancel()
	return w.ws.CloseNow()
}

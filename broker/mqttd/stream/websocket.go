package stream

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"

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
	return &WebSocket{websocket.NetConn(ctx, ws, websocket.MessageBinary), ws, h.under, cancel}, nil
}

// hijacked remembers the connection that is taken from the HTTP server.
type hijacked struct {
	http.ResponseWriter
	under net.Conn
}

// Hijack implements http.Hijacker.
func (h *hijacked) Hijack() (nc net.Conn, rw *bufio.ReadWriter, err error) {
	h.under, rw, err = http.NewResponseController(h.ResponseWriter).Hijack()
	return h.under, rw, err
}

// A WebSocket is one as a connection of binary messages, for New.
type WebSocket struct {
	net.Conn
	ws     *websocket.Conn
	under  net.Conn // TCP or TLS
	cancel context.CancelFunc
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
	if t, ok := w.under.(*tls.Conn); ok {
		_ = t.NetConn().Close()
	} else {
		_ = w.under.Close()
	}
	w.cancel()
	return w.ws.CloseNow()
}

package stream

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// AcceptWebSocket answers a request for a WebSocket (MQTT 5, section 6). The net.Conn is for
// New: the WebSocket as a connection of binary messages. If there is an error, the request is
// answered with it.
func AcceptWebSocket(w http.ResponseWriter, r *http.Request, o *websocket.AcceptOptions) (net.Conn, *websocket.Conn, error) {
	h := &hijacked{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, o)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background()) // it lives longer than the request
	return &webSocket{websocket.NetConn(ctx, ws, websocket.MessageBinary), ws, h.under, cancel}, ws, nil
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

type webSocket struct {
	net.Conn
	ws     *websocket.Conn
	under  net.Conn // TCP or TLS
	cancel context.CancelFunc
}

// CloseWrite sends a close frame and waits for the client's, for some seconds.
func (w *webSocket) CloseWrite() error { return w.ws.Close(websocket.StatusNormalClosure, "") }

// CloseNow closes the connection below: the library's own CloseNow does no more than wait
// while its Close waits for the client.
func (w *webSocket) CloseNow() error {
	if t, ok := w.under.(*tls.Conn); ok {
		_ = t.NetConn().Close()
	} else {
		_ = w.under.Close()
	}
	w.cancel()
	return w.ws.CloseNow()
}

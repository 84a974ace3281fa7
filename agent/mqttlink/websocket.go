package mqttlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// ErrWebSocket is wrapped when what answers speaks no MQTT over WebSocket.
var ErrWebSocket = errors.New("MQTT over WebSocket")

// maxUpgrade bounds what comes until the WebSocket is there, in bytes.
const maxUpgrade = 16 << 10

// overWebSocket makes a WebSocket of a TLS connection. Its library comes with paho in any
// case, and costs nothing more.
func overWebSocket(ctx context.Context, secure net.Conn, u *url.URL) (net.Conn, error) {
	first := &bounded{Conn: secure, left: maxUpgrade}
	d := websocket.Dialer{
		NetDialTLSContext: func(context.Context, string, string) (net.Conn, error) { return first, nil },
		Subprotocols:      []string{"mqtt"}, ReadBufferSize: 1024, WriteBufferSize: 1024,
	}
	ws, answer, err := d.DialContext(ctx, u.String(), nil)
	switch {
	case answer != nil && errors.Is(err, websocket.ErrBadHandshake) && answer.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%w: there is none at %s", ErrWebSocket, u.Redacted())
	case answer != nil && errors.Is(err, websocket.ErrBadHandshake):
		return nil, fmt.Errorf("%w: %s answers %s", ErrWebSocket, u.Redacted(), statusLine(answer.StatusCode))
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrWebSocket, err)
	case ws.Subprotocol() != "mqtt":
		_ = ws.Close()
		return nil, fmt.Errorf("%w: a WebSocket answers, but it speaks something else", ErrWebSocket)
	}
	first.left = -1
	return &stream{Conn: ws}, nil
}

// bounded is a connection of which only so much is read; negative: all.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return b.Conn.Read(p)
	}
	if b.left == 0 {
		return 0, errors.New("the answer is too long")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// stream is a WebSocket whose binary messages are one stream (MQTT 3.1.1, section 6).
type stream struct {
	*websocket.Conn
	message io.Reader // of the reading goroutine

	writing sync.Mutex // paho writes from several goroutines
}

// Read reads on, over the borders of messages.
func (s *stream) Read(p []byte) (int, error) {
	for {
		if s.message == nil {
			kind, r, err := s.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, fmt.Errorf("%w: a message that is not binary", ErrWebSocket)
			}
			s.message = r
		}
		n, err := s.message.Read(p)
		if errors.Is(err, io.EOF) {
			s.message, err = nil, nil
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// Write sends a message.
func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetDeadline sets both deadlines.
func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

package mqttd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/coder/websocket"
	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/signetd/signet/broker/balancer"
	"github.com/signetd/signet/broker/intake"
)

// Serve accepts connections from ln until ctx ends, the Server closes or ln
// does, and closes ln. Connections stay until Close. With a TLS listener the
// handshake takes place in the connection's own goroutine and time.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	if !s.track(ln) {
		return ErrClosed
	}
	defer s.untrack(ln)
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for pause := time.Duration(0); ; {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			if c, err := s.admitConn(nc); err == nil {
				go s.serve(c)
			} else {
				s.turnAway(nc, err)
			}
			continue
		case ctx.Err() != nil, s.isClosed():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("mqttd: accepting: %w", err)
		}
		// Out of descriptors, most often: wait, they come back.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.told.Note(ctx, slog.LevelWarn, "accept", "mqtt accept failed", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// serveConn serves one connection until it ends, and closes it.
func (s *Server) serveConn(nc net.Conn) {
	if c, err := s.admitConn(nc); err == nil {
		s.serve(c)
	} else {
		s.turnAway(nc, err)
	}
}

// Handler serves MQTT over WebSocket (subprotocol "mqtt", binary messages; MQTT
// 5, section 6). Mount it at /mqtt of the HTTPS server. It asks for no Origin: a page
// brings nothing of its visitor's along that is worth anything here, no cookie and no
// certificate, only what it knows itself.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			Subprotocols: []string{"mqtt"}, CompressionMode: websocket.CompressionDisabled, InsecureSkipVerify: true,
		})
		if err != nil {
			s.cfg.Refused(intake.CauseWebSocket, r.RemoteAddr, err)
			return // Accept has answered
		}
		if ws.Subprotocol() != "mqtt" {
			s.cfg.Refused(intake.CauseWebSocket, r.RemoteAddr, errSubprotocol)
			_ = ws.Close(websocket.StatusPolicyViolation, errSubprotocol.Error())
			return
		}
		// The request's context ends with this function, no sooner.
		nc := websocket.NetConn(context.WithoutCancel(r.Context()), ws, websocket.MessageBinary)
		s.serveConn(webConn{nc, ws, r.TLS, remoteOf(r, nc), balancer.VouchedRequest(r.Context())})
	})
}

var errSubprotocol = errors.New(`the subprotocol must be "mqtt"`)

// remoteOf gives the client's address as the request has it: a balancer may have told it.
func remoteOf(r *http.Request, nc net.Conn) net.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nc.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(at)
}

// A webConn is a WebSocket that can be cut.
type webConn struct {
	net.Conn
	ws      *websocket.Conn
	tls     *tls.ConnectionState // nil without TLS
	remote  net.Addr
	vouched bool // see package balancer
}

func (c webConn) RemoteAddr() net.Addr { return c.remote }

// cut closes nc without a word and without waiting for the other side.
func cut(nc net.Conn) {
	switch nc := nc.(type) {
	case *tls.Conn:
		_ = nc.NetConn().Close()
	case webConn:
		_ = nc.ws.CloseNow()
	default:
		_ = nc.Close()
	}
}

// admitConn counts a connection in, unless a limit or the server's end says no. Every
// connection that it gives must be served.
func (s *Server) admitConn(nc net.Conn) (*conn, error) {
	c := newConn(s, nc)
	remote := nc.RemoteAddr().String()
	entry, err := s.intake.Enter(remote, c.makeRoom)
	if err != nil {
		s.cfg.Refused.Enter(remote, err)
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		entry.Leave()
		return nil, ErrClosed
	}
	c.entry = entry
	s.open[c] = struct{}{}
	s.wg.Add(1)
	return c, nil
}

// makeRoom ends the connection for a newer one, which does not wait for it.
func (c *conn) makeRoom(why error) {
	c.srv.cfg.Refused.Enter(c.RemoteAddr().String(), why)
	reason := ReasonBusy
	if !errors.Is(why, intake.ErrRoom) {
		reason = ReasonQuota
	}
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	if !c.srv.closed {
		c.srv.wg.Go(func() { c.drop(reason) })
	}
}

// serve has mochi read a connection to its end and leaves nothing of it behind,
// even if mochi panics.
func (s *Server) serve(c *conn) {
	defer s.wg.Done()
	defer s.forget(c)
	defer recovered(s.told, "serving a connection")
	// One deadline for handshake and CONNECT; mochi sets the keep-alive's after.
	_ = c.Conn.SetDeadline(time.Now().Add(s.cfg.ConnectTimeout))
	if t, ok := c.Conn.(*tls.Conn); ok {
		if err := t.Handshake(); err != nil {
			s.cfg.Refused.Handshake(c.RemoteAddr().String(), err)
			return
		}
	}
	if err := s.mqtt.EstablishConnection("signet", c); err != nil {
		s.told.Note(context.Background(), slog.LevelDebug, "ended", "mqtt connection ended", "client", c.id.String(), "remote", c.RemoteAddr().String(), "error", err)
	}
}

// forget does for every connection what mochi does only for those that end well.
func (s *Server) forget(c *conn) {
	c.bury()
	s.deadlines.set(c, time.Time{})
	if c.client != nil {
		s.evict(c.client)
		s.clients.leave(c)
	}
	c.linger()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.entry.Leave()
	delete(s.open, c)
}

// evict takes out of mochi what a failed or panicked connection left there.
func (s *Server) evict(cl *mqtt.Client) {
	defer recovered(s.told, "evicting a client")
	if known, ok := s.mqtt.Clients.Get(cl.ID); ok && known == cl {
		s.mqtt.Clients.Delete(cl.ID)
		s.mqtt.UnsubscribeClient(cl)
		cl.ClearInflights()
	}
}

// drop ends a connection in whatever state it is.
func (c *conn) drop(r Reason) {
	if c.session.Load() == nil {
		cut(c.Conn)
		return
	}
	c.end(r)
}

// Close ends the server: listeners first, then every connection, its last will
// included, then the requests in work. When ctx ends first, what is left is cut
// and ctx's error returned. A closed Server stays closed.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	for ln := range s.listeners {
		_ = ln.Close()
	}
	for c := range s.open {
		c.drop(ReasonShutdown)
	}
	s.mu.Unlock()

	err := s.drain(ctx)
	s.cancel()
	s.wg.Wait()
	return errors.Join(err, s.mqtt.Close())
}

// drain waits for the connections to be forgotten and the requests to be answered.
func (s *Server) drain(ctx context.Context) error {
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if s.idle() {
			tick.Stop()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			s.mu.Lock()
			defer s.mu.Unlock()
			for c := range s.open {
				cut(c.Conn)
			}
			return fmt.Errorf("mqttd: closing: %w", ctx.Err())
		}
	}
}

func (s *Server) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests.mu.Lock()
	defer s.requests.mu.Unlock()
	return len(s.open) == 0 && s.requests.workers == 0
}

func (s *Server) track(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.listeners[ln] = struct{}{}
	}
	return !s.closed
}

func (s *Server) untrack(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

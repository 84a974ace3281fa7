package mqttd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/signetd/signet/broker/balancer"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/stream"
)

// Serve accepts connections from ln until ctx ends, the Server closes or ln
// does, and closes ln. Connections stay until Close. With conf they are TLS connections, whose
// handshakes take place in goroutines and time of their own.
func (s *Server) Serve(ctx context.Context, ln net.Listener, conf *tls.Config) error {
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
			if c, err := s.admitConn(nc, conf, nil); err == nil {
				go s.serve(c)
			} else {
				s.turnAway(nc, conf, err)
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

// Handler serves MQTT over WebSocket (subprotocol "mqtt", binary messages; MQTT
// 5, section 6). Mount it at /mqtt of the HTTPS server. Without Config.Origins pages of any origin
// may come: a page brings nothing of its visitor's along that is worth anything here, no cookie and
// no certificate, only what it knows itself. A client that is no browser says what it likes.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from := r.Header.Get("Origin"); from != "" && len(s.cfg.Origins) > 0 && !slices.Contains(s.cfg.Origins, from) {
			s.cfg.Refused(intake.CauseOrigin, r.RemoteAddr, fmt.Errorf("%.100q is not listed as an origin of pages that may connect", from))
			http.Error(w, "pages of this origin may not connect here", http.StatusForbidden)
			return
		}
		ws, err := stream.AcceptWebSocket(w, r, &websocket.AcceptOptions{
			Subprotocols: []string{"mqtt"}, CompressionMode: websocket.CompressionDisabled, InsecureSkipVerify: true,
		})
		if err != nil {
			s.cfg.Refused(intake.CauseWebSocket, r.RemoteAddr, err)
			return // Accept has answered
		}
		if ws.Subprotocol() != "mqtt" {
			s.cfg.Refused(intake.CauseWebSocket, r.RemoteAddr, errSubprotocol)
			ws.Refuse(websocket.StatusPolicyViolation, errSubprotocol.Error())
			return
		}
		s.serveConn(webConn{ws, r.TLS, remoteOf(r, ws), balancer.VouchedRequest(r.Context())})
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

// A webConn is a WebSocket, and what its request told.
type webConn struct {
	*stream.WebSocket
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
		_ = nc.CloseNow()
	default:
		_ = nc.Close()
	}
}

// serveConn serves one connection until it ends, and closes it.
func (s *Server) serveConn(nc net.Conn) {
	over := make(chan struct{})
	c, err := s.admitConn(nc, nil, over)
	if err != nil {
		s.turnAway(nc, nil, err)
		return
	}
	s.serve(c)
	<-over
}

// admitConn counts a connection in, unless a limit or the server's end says no. Every
// connection that it gives must be served. over, if it is not nil, is closed when nothing is left
// of it.
func (s *Server) admitConn(nc net.Conn, conf *tls.Config, over chan struct{}) (*conn, error) {
	c := &conn{srv: s, nc: nc, over: over}
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
	c.stream = s.loop.New(nc, conf, c)
	s.open[c] = struct{}{}
	return c, nil
}

// makeRoom ends the connection for a newer one, which does not wait for it.
func (c *conn) makeRoom(why error) {
	c.srv.cfg.Refused.Enter(c.remote(), why)
	reason := ReasonBusy
	if !errors.Is(why, intake.ErrRoom) {
		reason = ReasonQuota
	}
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	if !c.srv.closed {
		c.srv.background(func() { c.drop(reason) })
	}
}

// serve takes a connection to where its stream serves it, or ends it. Nothing is left of it after
// Closed, even if something panics.
func (s *Server) serve(c *conn) {
	defer func() {
		if r := recover(); r != nil {
			panicked(s.told, "admitting a connection", r)
			c.bury()
			c.stream.Cut()
		}
	}()
	if !s.begin(c) {
		c.bury()
		c.depart()
		return
	}
	c.stream.SetIdleTimeout(c.keepAlive)
	first := c.in
	c.in = nil
	c.stream.Serve(first)
}

// forget takes a connection that is closed out of what is counted.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.entry.Leave()
	delete(s.open, c)
	if c.over != nil {
		close(c.over)
	}
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
	open := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	defer s.traces.end(nil)
	for _, c := range open {
		c.drop(ReasonShutdown)
	}

	err := s.drain(ctx)
	s.cancel()
	s.acks.stop()
	s.wg.Wait()
	s.loop.Close()
	return err
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
				c.stream.Cut()
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

// background runs f beside its caller, before Close returns.
func (s *Server) background(f func()) {
	s.wg.Go(func() {
		defer recovered(s.told, "in the background")
		f()
	})
}

package mqttd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/signetd/signet/broker/balancer"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/protocol/channel"
	"github.com/signetd/signet/protocol/topic"
)

var (
	errEnding    = errors.New("mqttd: the connection was ended")
	errNoConnect = errors.New("no CONNECT came in time")
)

// A conn is one client's connection as mochi sees it. It checks packets before mochi reads
// them, and it decides on deadlines and on the connection's end.
type conn struct {
	net.Conn // raw or TLS
	srv      *Server
	entry    *intake.Entry // set before it is served, never changed after

	in       framer        // of the reading goroutine
	retained bool          // of the reading goroutine: its PUBLISH in hand asks to be retained
	packets  int           // of the reading goroutine: those that came while it was no device's
	heldUp   time.Duration // of the reading goroutine: for how long the next packet is to wait
	lingers  bool          // of the reading goroutine, which is the one that closes: only half is closed

	// Set by the reading goroutine before the registry knows the connection,
	// never changed after.
	client     *mqtt.Client
	id         topic.ClientID
	asksExpiry bool // its CONNECT asked for a session that outlives it

	naming sync.Once // for name
	name   []byte    // of the TLS connection, see channel

	session atomic.Pointer[Standing] // nil until admitted; changed by Upgrade
	pushes  atomic.Int32             // messages of ours on their way to it
	pushed  chan struct{}            // signalled when pushes falls to zero

	writing   sync.Mutex // guards connected: no DISCONNECT comes before a CONNACK or a CONNACK after the end
	connected bool       // its CONNACK is out

	mu     sync.Mutex // guards ending, and that no deadline is put off once it is set
	ending bool
	hungUp chan struct{} // closed when the last packet to it is out

	// Guarded by the registry's mutex.
	jobs     int    // requests queued or in work
	since    uint64 // epoch when jobs last rose from zero
	gone     bool
	released chan struct{} // closed when gone and without jobs
}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{
		Conn:     nc,
		srv:      s,
		in:       framer{r: bufio.NewReaderSize(nc, 512)},
		pushed:   make(chan struct{}, 1),
		hungUp:   make(chan struct{}),
		released: make(chan struct{}),
	}
}

// channel names the client's TLS connection, nil without one. Not before the
// handshake: the name is derived once.
func (c *conn) channel() []byte {
	c.naming.Do(func() {
		switch nc := c.Conn.(type) {
		case *tls.Conn:
			state := nc.ConnectionState()
			c.name = channel.Name(&state)
		case webConn:
			c.name = channel.Name(nc.tls)
		}
	})
	return c.name
}

// vouched reports whether a balancer that the operator vouches for ended the client's TLS.
func (c *conn) vouched() bool {
	if web, ok := c.Conn.(webConn); ok {
		return web.vouched
	}
	return balancer.Vouched(c.Conn)
}

// limit is the most bytes that a packet of the client may have now.
func (c *conn) limit() int {
	if s := c.session.Load(); s != nil && !s.Device.IsZero() {
		return c.srv.cfg.MaxPacket
	}
	return maxAnonymousPacket
}

// Read gives mochi checked packets. After end it waits for the last packet to
// be out and fails, so that mochi delivers the last will.
func (c *conn) Read(p []byte) (int, error) {
	if c.isEnding() {
		<-c.hungUp
		return 0, errEnding
	}
	n, err := c.in.read(p, c)
	c.failed(err)
	if c.isEnding() {
		<-c.hungUp
		return 0, errEnding
	}
	return n, err
}

// failed ends a connection that sent what it may not, or nothing in time, and tells of it.
func (c *conn) failed(err error) {
	v, violated := errors.AsType[*violation](err)
	late := errors.Is(err, os.ErrDeadlineExceeded) && !c.isEnding()
	remote := c.RemoteAddr().String()
	switch connected := c.session.Load() != nil; {
	case violated && connected:
		c.srv.told.Note(context.Background(), slog.LevelInfo, "packet", "mqtt packet refused", "client", c.id.String(), "remote", remote, "error", err)
		c.end(v.reason)
	case violated:
		c.srv.cfg.Refused(intake.CauseConnect, remote, err)
		c.end(v.reason)
	case late && connected:
		c.end(ReasonKeepAlive)
	case late:
		c.srv.cfg.Refused(intake.CauseSilent, remote, errNoConnect)
	}
}

// Write bounds how long a client that doesn't read can hold up whoever writes to
// it. A 3.1.1 server sends no DISCONNECT; mochi would.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0]>>4 == typeDisconnect && c.in.version < 5 {
		return len(p), nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	ending := c.ending
	if !ending {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(c.srv.cfg.WriteTimeout))
	}
	c.mu.Unlock()
	if ending && !c.connected {
		return 0, errEnding
	}
	n, err := c.Conn.Write(p)
	c.connected = c.connected || len(p) > 0 && p[0]>>4 == typeConnack
	return n, err
}

// SetDeadline is called by mochi before each packet that it reads once a client
// is admitted. Its keep-alive time overflows from 43,691 seconds on, so only the
// moment is taken from it.
func (c *conn) SetDeadline(time.Time) error {
	var t time.Time
	if k := c.in.keepAlive; k > 0 {
		t = time.Now().Add(time.Duration(k) * 3 * time.Second / 2) // MQTT 5, section 3.1.2.10
	}
	return c.setReadDeadline(t)
}

// begun is called when the first part of a packet has arrived and the rest has not.
func (c *conn) begun() {
	if c.session.Load() != nil { // before that, the time to connect runs
		_ = c.setReadDeadline(time.Now().Add(c.srv.cfg.PacketTimeout))
	}
}

func (c *conn) setReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// Close is mochi's. A client that was told why it ends is left the time to read
// it: closing with unread bytes resets a TCP connection, and the reason would be
// lost. So only our half is closed here; the rest is linger's.
func (c *conn) Close() error {
	if c.isEnding() {
		<-c.hungUp
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			c.lingers = true
			return nil
		}
	}
	return c.Conn.Close()
}

// linger closes the connection once the client has, or soon.
func (c *conn) linger() {
	if c.lingers {
		raw := c.Conn
		if t, ok := raw.(*tls.Conn); ok {
			raw = t.NetConn()
		}
		_ = raw.SetReadDeadline(time.Now().Add(hangUpGrace))
		_, _ = io.Copy(io.Discard, io.LimitReader(raw, 64<<10))
	}
	_ = c.Conn.Close()
}

func (c *conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// end stops the connection: once it has returned, nothing is accepted or delivered. Packets
// on their way out, the reason and the hang-up follow in the background.
func (c *conn) end(r Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	c.ending = true
	c.srv.cfg.OnEnd(r)
	c.srv.wg.Go(func() { c.hangUp(r) })
}

// bury makes a later end do nothing.
func (c *conn) bury() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
}

func (c *conn) expire() { c.end(ReasonExpired) }

func (c *conn) hangUp(r Reason) {
	defer close(c.hungUp)
	// A writer that is stuck gives up now; it holds the connection's write lock.
	_ = c.Conn.SetWriteDeadline(time.Now().Add(hangUpGrace))
	timeout := time.NewTimer(hangUpGrace)
	defer timeout.Stop()
	for waiting := true; waiting && c.pushes.Load() > 0; {
		select {
		case <-c.pushed:
		case <-timeout.C:
			waiting = false
		}
	}
	c.sayWhy(r)
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader, which closes
}

// sayWhy sends the reason without mochi, whose own way waits for its locks.
func (c *conn) sayWhy(r Reason) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.connected && c.client.Properties.ProtocolVersion == 5 {
		_, _ = c.Conn.Write(farewell(r, c.client.Properties.Props.MaximumPacketSize))
	}
}

// push publishes a message to this client alone, if it listens.
func (c *conn) push(n topic.Name, payload []byte) error {
	if _, ok := c.client.State.Subscriptions.Get(n.String()); !ok || c.isEnding() {
		return fmt.Errorf("pushing to %q: %w", n, ErrNotConnected)
	}
	c.pushes.Add(1)
	if err := c.srv.mqtt.Publish(n.String(), payload, false, 0); err != nil {
		c.pushDone()
		return fmt.Errorf("pushing to %q: %w", n, err)
	}
	return nil
}

func (c *conn) pushDone() {
	if c.pushes.Add(-1) <= 0 {
		select {
		case c.pushed <- struct{}{}:
		default:
		}
	}
}

// own reports whether name is one of the client's own topics that it listens to.
func (c *conn) own(name string) bool {
	return name == c.id.Reply().String() || name == c.id.Event().String()
}

// mayPublish is the only permission to publish. Retained messages are nobody's:
// mochi writes a topic's retained message while it reads it for a subscriber, a
// data race that can end the process, and keeps them without bound.
func (c *conn) mayPublish(name string, retain bool) bool {
	sess := c.session.Load()
	if sess == nil {
		return false
	}
	n, err := topic.ParseName(name)
	switch {
	case err != nil, retain:
		return false
	case n == c.id.Request():
		return true
	case sess.Device.IsZero(), topic.IsReserved(n.Filter()):
		return false
	}
	return sess.Permissions.AllowsPublish(n)
}

// mayRead is the only permission to subscribe to a filter or to be delivered a
// message, whose name is a filter without wildcards.
func (c *conn) mayRead(filter string) bool {
	sess := c.session.Load()
	if sess == nil {
		return false
	}
	if c.own(filter) {
		return true
	}
	s, err := topic.ParseSubscription(filter)
	if err != nil || sess.Device.IsZero() || topic.IsReserved(s.Filter) {
		return false
	}
	return sess.Permissions.AllowsSubscribe(s.Filter)
}

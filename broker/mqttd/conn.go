package mqttd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker/balancer"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/deadline"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/broker/mqttd/stream"
	"github.com/signetd/signet/protocol/channel"
	"github.com/signetd/signet/protocol/topic"
)

var (
	errEnding    = errors.New("mqttd: the connection was ended")
	errNoConnect = errors.New("no CONNECT came in time")
)

// A conn is one client's network connection. Until its CONNECT is answered a goroutine of
// its own works on it (see connect); from then on its stream feeds it bytes, and it never
// blocks on them.
type conn struct {
	srv    *Server
	nc     net.Conn
	stream *stream.Stream
	entry  *intake.Entry // set before it is served, never changed after

	// Of its CONNECT, set before the registry knows the connection, never changed after.
	channel    []byte     // the name of its TLS connection (package channel); nil without one
	request    topic.Name // of its requests; zero: it has none
	clientID   string
	keepAlive  time.Duration // one and a half times what it promised; 0: it promised nothing
	takes      packet.Receiver
	outlived   bool              // it asked for a session that outlives it
	aliasesOut uint16            // topic aliases that it takes
	aliasesIn  uint16            // that its CONNACK allowed it; set before it is fed
	noRetain   bool              // its CONNACK said that nothing is retained; likewise
	again      *reauthentication // nil: its client named no method of enhanced authentication

	presence

	owned atomic.Pointer[state] // whose connection it is; nil until it is admitted, never changed after

	turn    sync.Mutex // held while it is fed: who has it knows that nothing of the client's is being handled
	in      []byte     // guarded by turn: the beginning of a packet whose rest has not come; before it is served, what came behind the CONNECT
	aliases []topic.Name
	begun   bool          // guarded by turn: the rest of what in begins with must come in time
	shown   bool          // guarded by turn: the packet at hand was told to traces
	paced   bool          // guarded by turn: the packet at hand was counted, and has had its pause
	packets int32         // guarded by turn: those that came while it was no device's
	heldUp  time.Duration // guarded by turn: for how long the next packet is to wait

	heldSince *time.Time // guarded by turn: since when the message at hand is held back; nil: none is

	owes  atomic.Uint32     // the identifier of a request whose PUBACK waits for its reply; 0: none. Set to 0 with state.mu
	jobs  int32             // guarded by the registry's mutex: requests queued or in work
	known map[string]uint16 // guarded by state.mu: topic aliases that it was told

	departed sync.Once
	place    deadline.Place // of the end of what it may do

	// Guarded by the registry's mutex.
	epoch    uint64        // when jobs last rose from zero
	released chan struct{} // closed when gone and without jobs; nil: nobody waits for that
	gone     bool

	connected bool        // guarded by mu: its CONNACK is out
	ending    atomic.Bool // changed with mu
	mu        sync.Mutex

	over chan struct{} // of a WebSocket: closed when nothing is left of it
}

// channelOf names a client's TLS connection; nil without one.
func channelOf(secure *tls.ConnectionState) []byte {
	if secure == nil {
		return nil
	}
	return channel.Name(secure)
}

// tls is the client's TLS connection, nil without one. Not before the handshake.
func (c *conn) tls() *tls.ConnectionState {
	if web, ok := c.nc.(webConn); ok {
		return web.tls
	}
	return c.stream.ConnectionState()
}

// vouched reports whether a balancer that the operator vouches for ended the client's TLS.
func (c *conn) vouched() bool {
	if web, ok := c.nc.(webConn); ok {
		return web.vouched
	}
	return balancer.Vouched(c.nc)
}

func (c *conn) remote() string { return c.nc.RemoteAddr().String() }

// address is remote's without port; the zero Addr if it has none.
func (c *conn) address() netip.Addr { return intake.Address(c.nc.RemoteAddr()).Addr() }

// source is what the connection is counted by: see intake.Source.
func (c *conn) source() netip.Prefix { return intake.SourceOf(c.address()) }

// who names the client in a log line, with more behind it. A client that has proved itself may
// choose any client id, so its device is named, too.
func (c *conn) who(more ...any) []any {
	attrs := []any{"client", c.clientID, "remote", c.remote()}
	if st := c.standing(); st != nil && !st.Device.IsZero() {
		attrs = append(attrs, "device", st.Device.String())
	}
	return append(attrs, more...)
}

// standing is what the connection may do now; nil until it is admitted.
func (c *conn) standing() *Standing {
	if st := c.owned.Load(); st != nil {
		return st.standing.Load()
	}
	return nil
}

// replyTopic is where the client gets its answers; "" if it has no topics of the protocol. It differs
// from that of its requests by two letters, so it is not kept.
func (c *conn) replyTopic() string { return topic.ReplyTo(c.request).String() }

// eventTopic is where the client is told things; "" if it has no topics of the protocol. Most never
// are, so it is not kept.
func (c *conn) eventTopic() string {
	id, err := topic.ParseClientID(c.clientID)
	if err != nil {
		return ""
	}
	return id.Event().String()
}

// isStranger reports whether the connection is no device's.
func (c *conn) isStranger() bool {
	s := c.standing()
	return s == nil || s.Device.IsZero()
}

// limit is the most bytes that a packet of the client may have now, after its fixed header.
func (c *conn) limit() int {
	if c.isStranger() {
		return maxAnonymousPacket
	}
	return c.srv.cfg.MaxPacket
}

// Feed implements stream.Handler: it handles the packets that are whole, and keeps what is
// left. A pause is for the packet that comes next.
func (c *conn) Feed(p []byte) (pause time.Duration, err error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	defer func() {
		if r := recover(); r != nil {
			panicked(c.srv.told, "handling a packet", r)
			pause, err = 0, errPanic
		}
	}()
	if len(c.in) > 0 {
		c.in = append(c.in, p...)
		p = c.in
	}
	for len(p) > 0 && !c.isEnding() {
		h, n, err := packet.ReadHeader(p)
		if err == nil && n > 0 {
			err = c.expected(h)
		}
		if err != nil {
			return 0, c.violated(err)
		}
		if !c.paced {
			pause, err := c.throttle()
			if err != nil {
				return 0, c.violated(err)
			}
			if c.paced = true; pause > 0 {
				c.keep(p)
				return pause, nil
			}
		}
		if n == 0 || len(p)-n < h.Length {
			break
		}
		c.paced = false
		whole, body := p, p[n:n+h.Length]
		p = p[n+h.Length:]
		if c.begun {
			c.begun = false
			_ = c.stream.SetReadDeadline(time.Time{})
		}
		if c.isTraced() && !c.shown {
			c.received(h, n, body)
		}
		c.shown = false
		switch err := c.handle(h, body); {
		case errors.Is(err, errHeldBack):
			c.paced, c.shown = true, true // it was counted, and told of
			c.keep(whole)
			return holdBackEvery, nil
		case err != nil:
			return 0, c.violated(err)
		}
	}
	c.keep(p)
	return 0, nil
}

var errPanic = errors.New("mqttd: a panic while handling a packet")

// keep keeps the beginning of a packet. Its rest must come within Config.PacketTimeout.
func (c *conn) keep(p []byte) {
	if len(p) == 0 { // and the packet that was last begun is whole
		c.in = nil
		return
	}
	if len(c.in) == 0 || &p[0] != &c.in[0] {
		c.in = append([]byte(nil), p...) // as long as what came, whatever is announced
	} else {
		c.in = p
	}
	if !c.begun {
		c.begun = true
		_ = c.stream.SetReadDeadline(time.Now().Add(c.srv.cfg.PacketTimeout))
	}
}

// expected refuses, by its fixed header alone, what a client may not send.
func (c *conn) expected(h packet.Header) error {
	if err := h.FromClient(c.takes.Version); err != nil {
		return err
	}
	most := c.limit()
	switch h.Type {
	case packet.CONNECT:
		return &packet.Error{Code: packet.ProtocolError, What: "a second CONNECT"}
	case packet.SUBSCRIBE, packet.UNSUBSCRIBE:
		most = min(most, maxAnonymousPacket)
	case packet.AUTH:
		most = min(most, maxRequest)
	}
	if h.Length > most {
		return tooLarge(h, most)
	}
	return nil
}

func tooLarge(h packet.Header, most int) error {
	return &packet.Error{Code: packet.PacketTooLarge, What: fmt.Sprintf("%s of %d bytes, at most %d are allowed", h.Type, h.Length, most)}
}

// violated ends the connection of a client that sent what it may not.
func (c *conn) violated(err error) error {
	code := packet.UnspecifiedError
	if v, ok := errors.AsType[*packet.Error](err); ok {
		code = v.Code
	}
	c.srv.told.Note(context.Background(), slog.LevelInfo, "packet", "mqtt packet refused", c.who("error", err)...)
	c.end(Reason(code))
	return nil
}

// Overdue implements stream.Handler: nothing came in time, or a packet's rest did not.
func (c *conn) Overdue() { c.end(ReasonKeepAlive) }

// Closed implements stream.Handler.
func (c *conn) Closed(err error) {
	defer recovered(c.srv.told, "closing a connection")
	if errors.Is(err, stream.ErrFraming) {
		c.srv.cfg.OnBound(BoundFraming)
		c.srv.told.Note(context.Background(), slog.LevelInfo, "framing", "mqtt client sends too much over its WebSocket that is no packet", c.who()...)
	}
	if errors.Is(err, stream.ErrStalled) || errors.Is(err, stream.ErrBacklog) {
		c.srv.cfg.OnBound(BoundStalled)
		c.srv.told.Note(context.Background(), slog.LevelInfo, "stalled", "mqtt client does not read", c.who("error", err)...)
	}
	c.bury()
	c.depart()
	if c.isTraced() {
		c.hungUp(err)
	}
	c.srv.told.Note(context.Background(), slog.LevelDebug, "ended", "mqtt connection ended", c.who("error", err)...)
	c.srv.forget(c)
}

func (c *conn) isEnding() bool { return c.ending.Load() }

// bury makes a later end do nothing.
func (c *conn) bury() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending.Store(true)
}

// end stops the connection: once it has returned, nothing is delivered any more, and no
// packet but one being handled is accepted. What was pushed before still goes out, then the
// reason; the last will and the hang-up follow in the background.
func (c *conn) end(r Reason) {
	c.mu.Lock()
	if c.isEnding() {
		c.mu.Unlock()
		return
	}
	c.ending.Store(true)
	connected := c.connected
	c.mu.Unlock()
	c.srv.cfg.OnEnd(r)
	if !connected {
		c.stream.Cut()
		return
	}
	var final []byte
	if c.takes.Version == packet.V5 {
		final = c.farewell(r)
	}
	if c.isTraced() {
		c.sent("", final, nil)
	}
	c.stream.HangUp(final, hangUpGrace)
	c.srv.background(c.depart)
}

// endNow is end, and returns when no packet is being handled either.
func (c *conn) endNow(r Reason) {
	c.end(r)
	c.settle()
}

// settle waits for the packet that is being handled, if one is.
func (c *conn) settle() {
	c.turn.Lock()
	defer c.turn.Unlock()
}

func (c *conn) expire() { c.end(ReasonExpired) }

// drop ends a connection in whatever state it is.
func (c *conn) drop(r Reason) {
	if c.standing() == nil {
		c.stream.Cut()
		return
	}
	c.end(r)
}

// depart takes the connection out of what the server knows, once, before its client has
// hung up: who takes its place must not wait for a client that is half dead. It waits for the
// packet that is being handled, if one is: what that does to the session must not come after what
// the next connection does. So it is not called with the turn.
func (c *conn) depart() {
	c.departed.Do(func() {
		c.srv.deadlines.Set(c, time.Time{})
		st := c.owned.Load()
		if st == nil {
			return
		}
		c.settle()
		c.srv.detach(c)
		if c.srv.clients.leave(c) {
			c.srv.endSession(st) // it may have come to be over since
		} else {
			c.srv.boundAbsences(st)
		}
	})
}

// Drained implements stream.Handler: what waits is sent on.
func (c *conn) Drained() {
	st := c.owned.Load()
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.conn == c {
		st.pump(time.Now())
	}
}

// send writes a packet that answers one of the client's.
func (c *conn) send(p []byte) {
	if len(p) > 0 { // else it is more than the client takes
		if c.isTraced() {
			c.sent("", p, nil)
		}
		_ = c.stream.Write(p) // what is wrong with it, Closed is told
	}
}

// acknowledge answers a PUBLISH or a step of one.
func (c *conn) acknowledge(t packet.Type, id uint16, code packet.Code) {
	var b [8]byte
	c.send(c.takes.AppendAck(b[:0], t, id, code, ""))
}

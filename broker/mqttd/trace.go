package mqttd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// Limits on traces; the figures are chosen.
const (
	maxTraces       = 4   // at once
	tracesPerSecond = 200 // packets that one gives, in the long run
	traceBurst      = 400 // at once
	traceBuffer     = 256 // that wait for whoever reads
	maxTracedBytes  = 4096
)

// ErrTraces: as many traces run as may.
var ErrTraces = fmt.Errorf("mqttd: %d traces run already", maxTraces)

// A Packet is what a Trace tells of one: never a password nor authentication data, and of its
// payload no more than the Trace was made for.
type Packet struct {
	At         time.Time
	Sent       bool   // by the server
	Connection uint64 // its Number
	ClientID   string
	Type       string   // its name in the standard; "closed" for the end of the connection
	ID         int      // packet identifier; 0: it has none
	QoS        int      // of a PUBLISH, like the next two
	Dup        bool     // of a PUBLISH
	Retain     bool     // of a PUBLISH
	Topic      string   // of a PUBLISH, though an alias stands for it, or of a CONNECT's will
	Filters    []string // of a SUBSCRIBE or UNSUBSCRIBE
	Codes      []string // that it says, with their names
	Properties []string // their names in the standard
	Size       int      // bytes of the whole packet
	Length     int      // bytes of a PUBLISH's payload
	Payload    []byte   // of it, up to 4 KiB, if it may be shown
	Wrong      string   // why it is no packet, or none that may be sent; empty: it is one
	Lost       uint64   // packets since the one before that were not told of, because there were too many
}

// A Trace tells of the packets of one device's connections, in the order of each connection's, as
// fast as it may; those beyond that are counted in the next one's Lost.
type Trace struct {
	device   ident.Device
	payloads bool
	traces   *traces
	packets  chan Packet
	left     *rate.Limiter
	lost     atomic.Uint64
}

// Packets gives them. It is closed when the Server closes.
func (t *Trace) Packets() <-chan Packet { return t.packets }

// Lost gives how many were not told of since the last that was.
func (t *Trace) Lost() uint64 { return t.lost.Load() }

// Close ends the trace; more than once does no harm.
func (t *Trace) Close() { t.traces.end(t) }

// traces are those that run. Where none does, that is all that a packet costs: one load.
type traces struct {
	running atomic.Pointer[[]*Trace] // nil: none

	opening atomic.Int64 // how many openings there are: nearly always none

	mu       sync.RWMutex // guards the rest, and that a trace's channel is open
	closed   bool
	openings map[*conn]opening
}

// Trace begins to tell of a device's packets, with payloads if they are to be shown; those of
// the protocol's own topics never are. ErrTraces or ErrClosed; Close must follow.
func (s *Server) Trace(d ident.Device, payloads bool) (*Trace, error) {
	ts := &s.traces
	ts.mu.Lock()
	defer ts.mu.Unlock()
	var all []*Trace
	if now := ts.running.Load(); now != nil {
		all = *now
	}
	switch {
	case ts.closed:
		return nil, ErrClosed
	case len(all) >= maxTraces:
		return nil, ErrTraces
	}
	t := &Trace{device: d, payloads: payloads, traces: ts, packets: make(chan Packet, traceBuffer), left: rate.NewLimiter(tracesPerSecond, traceBurst)}
	all = append(slices.Clone(all), t)
	ts.running.Store(&all)
	return t, nil
}

// end ends one, or all if t is nil.
func (ts *traces) end(t *Trace) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := ts.running.Load()
	if ts.closed = ts.closed || t == nil; now == nil {
		return
	}
	var left []*Trace
	for _, one := range *now {
		if t == nil || one == t {
			close(one.packets)
		} else {
			left = append(left, one)
		}
	}
	if left == nil {
		ts.running.Store(nil)
		return
	}
	ts.running.Store(&left)
}

// of gives the traces of a device that may tell of a packet now, and counts it in the others: what is not told of
// is not even looked at.
func (ts *traces) of(d ident.Device) (all []*Trace) {
	running := ts.running.Load()
	if running == nil || d.IsZero() {
		return nil
	}
	for _, t := range *running {
		switch {
		case t.device != d:
		case t.left.Allow():
			all = append(all, t)
		default:
			t.lost.Add(1)
		}
	}
	return all
}

// tell gives each of some traces a packet. It never waits for who reads them.
func (ts *traces) tell(all []*Trace, p Packet, payload []byte) {
	ts.mu.RLock()
	defer ts.mu.RUnlock()
	running := ts.running.Load()
	for _, t := range all {
		if running == nil || !slices.Contains(*running, t) {
			continue // closed meanwhile
		}
		p := p
		if t.payloads && isShown(p.Topic) {
			p.Payload = slices.Clone(payload[:min(len(payload), maxTracedBytes)])
		}
		p.Lost = t.lost.Swap(0)
		select {
		case t.packets <- p:
		default:
			t.lost.Add(p.Lost + 1)
		}
	}
}

// isShown reports whether the payloads of a topic may be shown: not those of the protocol's own, whose messages
// have codes and tokens in them.
func isShown(name string) bool {
	n, err := topic.ParseName(name)
	return err == nil && !topic.IsReserved(n.Filter())
}

// isTraced reports whether anybody traces anything.
func (c *conn) isTraced() bool { return c.srv.traces.running.Load() != nil }

// tracing gives the traces that may tell of a packet of the connection now, as traces.of does.
func (c *conn) tracing() []*Trace {
	st := c.standing()
	if st == nil {
		return nil
	}
	return c.srv.traces.of(st.Device)
}

// received tells of a packet of the client's, if its device is traced. c.turn is held.
func (c *conn) received(h packet.Header, head int, body []byte) {
	all := c.tracing()
	if len(all) == 0 {
		return
	}
	d, err := packet.Describe(c.takes.Version, false, h, body)
	if d.Topic == "" && d.Alias > 0 && int(d.Alias) <= len(c.aliases) {
		d.Topic = c.aliases[d.Alias-1].String()
	}
	c.srv.traces.tell(all, c.described(d, head+len(body), err), d.Payload)
}

// sent tells of a packet to the client, if its device is traced: its bytes in two parts, the payload last
// if it has one. name is a PUBLISH's topic.
func (c *conn) sent(name string, p []byte, payload []byte) {
	all := c.tracing()
	if len(all) == 0 {
		return
	}
	c.tellSent(all, name, p, payload)
}

func (c *conn) tellSent(all []*Trace, name string, p, payload []byte) {
	h, n, err := packet.ReadHeader(p)
	if err != nil || n == 0 {
		return // ours are packets
	}
	d, err := packet.Describe(c.takes.Version, true, h, append(p[n:len(p):len(p)], payload...))
	if name != "" {
		d.Topic = name
	}
	out := c.described(d, len(p)+len(payload), err)
	out.Sent = true
	c.srv.traces.tell(all, out, d.Payload)
}

// described puts a description into the words of a trace.
func (c *conn) described(d packet.Description, size int, err error) Packet {
	p := Packet{
		At: time.Now(), Connection: c.number, ClientID: c.clientID, Type: d.Type.String(), ID: int(d.ID), QoS: int(d.QoS), Dup: d.Dup, Retain: d.Retain,
		Topic: d.Topic, Filters: d.Filters, Properties: d.Properties, Size: size, Length: len(d.Payload),
	}
	for _, code := range d.Codes {
		p.Codes = append(p.Codes, fmt.Sprintf("%#02x %s", byte(code), code))
	}
	if err != nil {
		p.Wrong = err.Error()
	}
	return p
}

// An opening is a CONNECT as a trace tells of it, kept until it is known whose it is.
type opening struct {
	size int
	d    packet.Description
}

// opened keeps what a trace may tell of a CONNECT; forget must follow.
func (c *conn) opened(h packet.Header, head int, body []byte) {
	d, err := packet.Describe(0, false, h, body)
	if err != nil {
		return
	}
	ts := &c.srv.traces
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.openings == nil {
		ts.openings = map[*conn]opening{}
	}
	ts.openings[c] = opening{head + len(body), d}
	ts.opening.Store(int64(len(ts.openings)))
}

// forget forgets a CONNECT that opened has kept, if any, and gives it.
func (ts *traces) forget(c *conn) (o opening, kept bool) {
	if ts.opening.Load() == 0 {
		return o, false
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	o, kept = ts.openings[c]
	delete(ts.openings, c)
	ts.opening.Store(int64(len(ts.openings)))
	return o, kept
}

// admittedOrNot tells of a CONNECT and what it was answered with. Of one that was refused it is told by the device that it
// claimed to be, which whoever looks for why it is refused wants to know.
func (c *conn) admittedOrNot(d ident.Device, connack []byte) {
	all := c.srv.traces.of(d)
	o, kept := c.srv.traces.forget(c)
	if !kept || len(all) == 0 {
		return
	}
	p := c.described(o.d, o.size, nil)
	p.ClientID = o.d.ClientID
	c.srv.traces.tell(all, p, nil)
	if len(connack) > 0 {
		c.tellSent(all, "", connack, nil)
	}
}

// deviceOf gives the device that a CONNECT's user name names; zero for none.
func deviceOf(p *packet.Connect) ident.Device {
	name, _, _ := strings.Cut(p.UserName, "/")
	d, err := ident.ParseDevice(name)
	if err != nil {
		return ident.Device{}
	}
	return d
}

// hungUp tells of a connection's end.
func (c *conn) hungUp(err error) {
	all := c.tracing()
	if len(all) == 0 {
		return
	}
	p := Packet{At: time.Now(), Connection: c.number, ClientID: c.clientID, Type: "closed"}
	if err != nil && !errors.Is(err, ErrClosed) {
		p.Wrong = err.Error()
	}
	c.srv.traces.tell(all, p, nil)
}

package mqttd

import (
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/broker/mqttd/session"
	"github.com/signetd/signet/broker/mqttd/stream"
)

// publishOf makes the packet of a delivery; it shares the message's bytes.
func (c *conn) publishOf(d *session.Delivery, now time.Time) packet.Publish {
	m := d.Message
	p := packet.Publish{Topic: nil, QoS: d.QoS, Retain: d.Retain, Payload: m.Payload}
	if c.takes.Version == packet.V5 {
		p.Forward, p.SubscriptionIDs = m.Properties, d.Identifiers
		if !m.Expires.IsZero() {
			p.HasExpiry, p.Expiry = true, m.Left(now)
		}
	}
	return p
}

// fits reports whether the client takes a packet of that size (section 3.1.2.11.4).
func (c *conn) fits(d *session.Delivery, now time.Time) bool {
	if c.takes.Takes(mostOf(d)) {
		return true
	}
	m := d.Message
	p := c.publishOf(d, now)
	p.ID = 1
	return c.takes.Takes(len(packet.AppendPublishHeader(nil, c.takes.Version, m.Topic.String(), &p, len(m.Payload))) + len(m.Payload))
}

// mostOf is the most that a delivery's packet may have, in bytes: with its topic and an alias for it.
func mostOf(d *session.Delivery) int {
	m := d.Message
	return 5 + 2 + len(m.Topic.String()) + 2 + 4 + len(m.Properties) + 5 + 3 + 5*len(d.Identifiers) + len(m.Payload)
}

// deliver writes one step of a delivery. state.mu is held.
func (c *conn) deliver(out *session.Out, now time.Time) {
	if out.Release {
		c.acknowledge(packet.PUBREL, out.ID, packet.Success)
		return
	}
	p := c.publishOf(&out.Delivery, now)
	p.ID, p.Dup = out.ID, out.Dup
	name, alias := c.alias(out.Message.Topic.String(), c.takes.Takes(mostOf(&out.Delivery)))
	p.Alias = alias
	buf := c.srv.headers.Get().(*[]byte)
	defer c.srv.headers.Put(buf)
	*buf = packet.AppendPublishHeader((*buf)[:0], c.takes.Version, name, &p, len(p.Payload))
	if c.isTraced() {
		c.sent(out.Message.Topic.String(), *buf, p.Payload)
	}
	if err := c.stream.Write(*buf, p.Payload); errors.Is(err, stream.ErrBacklog) {
		c.end(ReasonBusy) // it would not be sent again on this connection; else Closed is told
	}
}

// alias gives what stands for a topic in a packet to the client: the topic, an alias, or both
// the first time (section 3.3.2.3.4), and the topic where there may be no room for more: an alias
// is longer than the shortest of them. state.mu is held, so that what
// is told is told first.
func (c *conn) alias(name string, room bool) (string, uint16) {
	if c.aliasesOut == 0 || !room {
		return name, 0
	}
	if a, ok := c.known[name]; ok {
		return "", a
	}
	if len(c.known) >= int(c.aliasesOut) {
		return name, 0
	}
	if c.known == nil {
		c.known = map[string]uint16{}
	}
	a := uint16(len(c.known) + 1)
	c.known[name] = a
	return name, a
}

// push sends a message of the server's own to this client alone, if it listens. It is on its
// way when push returns.
func (c *conn) push(to func(*state) *listening, name string, payload []byte) error {
	st := c.owned.Load()
	if st == nil {
		return ErrNotConnected
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	l := to(st)
	if !l.on || st.conn != c || c.isEnding() {
		return ErrNotConnected
	}
	var p packet.Publish
	if l.identifier > 0 {
		p.SubscriptionIDs = []uint32{l.identifier}
	}
	header := packet.AppendPublishHeader(make([]byte, 0, 16+len(name)), c.takes.Version, name, &p, len(payload))
	if n := len(header) + len(payload); !c.takes.Takes(n) {
		return fmt.Errorf("mqttd: %d bytes for a client that takes packets of %d", n, c.takes.MaximumPacketSize)
	}
	return c.pay(st, func(ack []byte) error {
		err := c.stream.Write(ack, header, payload)
		switch {
		case errors.Is(err, stream.ErrBacklog):
			c.send(ack)
		case err == nil && c.isTraced():
			c.sent("", ack, nil)
			c.sent(name, header, payload)
		}
		return err
	})
}

// event pushes to the client's event topic.
func (c *conn) event(payload []byte) error {
	if err := c.push(events, c.eventTopic(), payload); err != nil {
		return fmt.Errorf("pushing to %q: %w", c.clientID, err)
	}
	return nil
}

func replies(st *state) *listening { return &st.replies }
func events(st *state) *listening  { return &st.events }

// farewell is a DISCONNECT with its reason, in words too where the client wants them and they fit
// (MQTT-3.14.2-3). Some clients pass over the reason's code in a packet that has no property.
func (c *conn) farewell(r Reason) []byte {
	text := r.text()
	if c.takes.NoProblems {
		text = "" // the standard would let us
	}
	return c.takes.AppendDisconnect(nil, packet.Disconnect{Code: packet.Code(r), Reason: text})
}

package mqttd

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/broker/mqttd/session"
	"github.com/signetd/signet/protocol/topic"
)

// handle does what one packet of a connected client asks. An error ends the connection.
func (c *conn) handle(h packet.Header, body []byte) error {
	c.payUp()
	switch h.Type {
	case packet.PUBLISH:
		var p packet.Publish
		err := p.Parse(c.takes.Version, h.Flags, body)
		if v, ok := errors.AsType[*packet.Error](err); ok && v.Code == packet.PayloadFormatInvalid && p.QoS > message.AtMostOnce {
			return c.answer(&p, v.Code)
		}
		if err != nil {
			return err
		}
		return c.published(&p)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		a, err := packet.ParseAck(c.takes.Version, h.Type, body)
		if err != nil {
			return err
		}
		return c.acknowledged(h.Type, a)
	case packet.SUBSCRIBE:
		p, err := packet.ParseSubscribe(c.takes.Version, body, maxFilters)
		if err != nil {
			return err
		}
		return c.subscribe(p)
	case packet.UNSUBSCRIBE:
		p, err := packet.ParseUnsubscribe(c.takes.Version, body, maxFilters)
		if err != nil {
			return err
		}
		return c.unsubscribe(p)
	case packet.PINGREQ:
		var b [2]byte
		c.send(packet.AppendPingresp(b[:0]))
		return nil
	case packet.DISCONNECT:
		d, err := packet.ParseDisconnect(c.takes.Version, body)
		if err != nil {
			return err
		}
		return c.goodbye(d)
	case packet.AUTH:
		return c.reauthenticate(body)
	}
	return &packet.Error{Code: packet.ProtocolError, What: fmt.Sprintf("a packet of type %d on a connection that did not begin so", h.Type)}
}

// goodbye ends the connection as the client asked (section 3.14).
func (c *conn) goodbye(d packet.Disconnect) error {
	st := c.owned.Load()
	st.mu.Lock()
	if d.HasExpiry {
		if !c.outlived && d.Expiry > 0 {
			st.mu.Unlock()
			return &packet.Error{Code: packet.ProtocolError, What: "a DISCONNECT that asks for a session to outlive it, where CONNECT did not"}
		}
		if st.expiry > 0 { // else there was no room for a session that stays
			st.expiry = min(d.Expiry, c.srv.longestSession())
		}
	}
	if d.Code == packet.NormalDisconnection {
		st.will = nil
	}
	st.mu.Unlock()
	c.bury()
	c.stream.HangUp(nil, hangUpGrace)
	c.srv.background(c.depart)
	return nil
}

// published takes a message in (section 3.3).
func (c *conn) published(p *packet.Publish) error {
	if p.Retain && c.noRetain && !mayRetain(c.standing()) {
		return &packet.Error{Code: packet.RetainNotSupported, What: "a message to be retained, where CONNACK said that none is"}
	}
	name, code, err := c.named(p)
	if err != nil {
		return err
	}
	if fresh, err := c.receive(p); !fresh {
		return err
	}
	if code == packet.Success {
		switch {
		case name == c.request && !p.Retain:
			request := func() { c.srv.request(c, append([]byte(nil), p.Payload...)) }
			if p.QoS == message.AtLeastOnce {
				c.owe(p.ID, request)
				return nil
			}
			request()
		case !mayPublish(c.standing(), name, p.Retain):
			code = packet.NotAuthorized
		default:
			var wait bool
			if code, wait = c.srv.publish(c.owned.Load(), c.message(name, p), c.mayHoldBack(p)); wait {
				return c.holdBack(p)
			}
		}
	}
	c.heldSince = nil
	return c.answer(p, code)
}

// answer tells the publisher what became of its message. MQTT 3.1.1 has no word for a
// refusal but the end of the connection.
func (c *conn) answer(p *packet.Publish, code packet.Code) error {
	if p.QoS == message.AtMostOnce {
		return nil
	}
	st := c.owned.Load()
	st.mu.Lock()
	st.flow.Received(p.ID, byte(code))
	st.mu.Unlock()
	return c.acknowledgement(p, code)
}

// acknowledgement is answer for a message whose identifier is another's.
func (c *conn) acknowledgement(p *packet.Publish, code packet.Code) error {
	if c.takes.Version < packet.V5 && code.Failed() {
		return &packet.Error{Code: code, What: fmt.Sprintf("a message that it may not publish (%v)", code)}
	}
	t := packet.PUBACK
	if p.QoS == message.ExactlyOnce {
		t = packet.PUBREC
	}
	c.acknowledge(t, p.ID, code)
	return nil
}

// receive takes a message's packet identifier, and reports whether it is new. What came before is
// answered as it was.
func (c *conn) receive(p *packet.Publish) (fresh bool, err error) {
	if p.QoS == message.AtMostOnce {
		return true, nil
	}
	st := c.owned.Load()
	st.mu.Lock()
	receipt, err := st.flow.Receive(p.ID, p.QoS)
	st.mu.Unlock()
	switch {
	case errors.Is(err, session.ErrInUse): // the other message goes on
		return false, c.acknowledgement(p, packet.PacketIDInUse)
	case err != nil:
		return false, &packet.Error{Code: packet.ReceiveMaximumExceeded, What: err.Error()}
	case receipt == session.Accepted:
		c.acknowledge(packet.PUBREC, p.ID, packet.Success)
		return false, nil
	}
	return true, nil // one that is pending was cut off by a panic, if at all: messages are answered as they come
}

// named gives the topic that a message is for, its alias resolved (section 3.3.2.3.4). A code
// other than Success refuses the message alone.
func (c *conn) named(p *packet.Publish) (topic.Name, packet.Code, error) {
	if p.Alias > c.aliasesIn {
		return topic.Name{}, 0, &packet.Error{Code: packet.TopicAliasInvalid, What: fmt.Sprintf("topic alias %d, at most %d are allowed", p.Alias, c.aliasesIn)}
	}
	if len(p.Topic) == 0 {
		if int(p.Alias) > len(c.aliases) || c.aliases[p.Alias-1].IsZero() {
			return topic.Name{}, 0, &packet.Error{Code: packet.ProtocolError, What: fmt.Sprintf("topic alias %d, which stands for nothing", p.Alias)}
		}
		return c.aliases[p.Alias-1], packet.Success, nil
	}
	n := c.request // what devices publish to most is not parsed each time
	if string(p.Topic) != n.String() {
		var err error
		n, err = topic.ParseName(string(p.Topic))
		switch {
		case err == nil:
		case strings.HasPrefix(string(p.Topic), "$"):
			return topic.Name{}, packet.NotAuthorized, nil
		default:
			return topic.Name{}, packet.TopicNameInvalid, nil // longer or deeper than is served here: the codec has seen that it is one
		}
	}
	if p.Alias > 0 {
		for len(c.aliases) < int(p.Alias) {
			c.aliases = append(c.aliases, topic.Name{})
		}
		c.aliases[p.Alias-1] = n
	}
	return n, packet.Success, nil
}

// message makes what is passed on of a PUBLISH.
func (c *conn) message(n topic.Name, p *packet.Publish) *message.Message {
	kept := make([]byte, len(p.Payload)+len(p.Forward))
	copy(kept, p.Payload)
	copy(kept[len(p.Payload):], p.Forward)
	m := &message.Message{Topic: n, Payload: kept[:len(p.Payload):len(p.Payload)], Properties: kept[len(p.Payload):], QoS: p.QoS, Retain: p.Retain}
	if p.HasExpiry {
		m.Expires = time.Now().Add(time.Duration(p.Expiry) * time.Second)
	}
	return m
}

// acknowledged goes on with a delivery, either way (section 4.3).
func (c *conn) acknowledged(t packet.Type, a packet.Ack) error {
	st := c.owned.Load()
	if t == packet.PUBREL {
		code := packet.Success
		st.mu.Lock()
		if st.conn == c && !st.flow.Release(a.ID) {
			code = packet.PacketIDNotFound
		}
		st.mu.Unlock()
		c.acknowledge(packet.PUBCOMP, a.ID, code)
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.conn != c {
		return nil
	}
	var err error
	switch t {
	case packet.PUBACK:
		err = st.flow.Puback(a.ID)
	case packet.PUBCOMP:
		err = st.flow.Pubcomp(a.ID)
	case packet.PUBREC:
		if err = st.flow.Pubrec(a.ID, byte(a.Code)); errors.Is(err, session.ErrUnknown) && !a.Code.Failed() {
			c.acknowledge(packet.PUBREL, a.ID, packet.PacketIDNotFound)
		}
	}
	st.note(err)
	if errors.Is(err, session.ErrUnexpected) {
		return &packet.Error{Code: packet.ProtocolError, What: fmt.Sprintf("%s for the packet identifier %d, which waits for another packet", t, a.ID)}
	}
	if st.flow.Waiting() || len(st.owed) > 0 {
		st.pump(time.Now())
	}
	return nil
}

// mayPublish is the only permission to publish, and to leave a last will.
func mayPublish(s *Standing, n topic.Name, retain bool) bool {
	if s == nil || s.Device.IsZero() || topic.IsReserved(n.Filter()) || strings.HasPrefix(n.String(), "$") || retain && !mayRetain(s) {
		return false
	}
	return s.Permissions.AllowsPublish(n)
}

// mayRetain reports whether any message may be retained, or whether CONNACK says that none is.
func mayRetain(s *Standing) bool { return !s.Device.IsZero() && s.Permissions.Retain }

// mayRead is the only permission to subscribe to a filter or to be delivered a message, whose
// name is a filter without wildcards.
func mayRead(s *Standing, f topic.Filter) bool {
	return s != nil && !s.Device.IsZero() && !topic.IsReserved(f) && s.Permissions.AllowsSubscribe(f)
}

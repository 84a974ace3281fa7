package packet

import (
	"slices"
	"unicode/utf8"
)

// A Publish is a PUBLISH (section 3.3). One that was parsed has slices of the bytes it was parsed
// from; it may be parsed into again, which changes them.
type Publish struct {
	Topic       []byte // empty only when there is an Alias
	ID          uint16 // 0 when QoS is
	QoS         byte
	Retain, Dup bool
	Payload     []byte

	HasExpiry bool
	Expiry    uint32 // seconds (section 3.3.2.3.3)
	Alias     uint16 // 0: none

	// SubscriptionIDs are those of the subscriptions that the message matches; only a server
	// sends them. A parsed Publish uses the slice again.
	SubscriptionIDs []uint32

	// Forward are the properties that a receiver gets unaltered, as they are encoded and in their
	// order: payload format, content type, response topic, correlation data and user properties.
	Forward []byte

	joined []byte // of Forward, when the properties do not lie together
}

// The flags of a PUBLISH (section 3.3.1).
const (
	flagRetain = 1 << 0
	flagsQoS   = 3 << 1
	flagDup    = 1 << 3
)

// maxJoined is how much room for properties that do not lie together is kept for the next packet, in bytes.
const maxJoined = 1024

// checkPublishFlags refuses flags that no PUBLISH has.
func checkPublishFlags(flags byte) error {
	switch {
	case flags&flagsQoS == flagsQoS:
		return malformed("PUBLISH with QoS 3")
	case flags&flagsQoS == 0 && flags&flagDup != 0:
		return malformed("PUBLISH with QoS 0 and DUP")
	}
	return nil
}

// Parse reads the body of a PUBLISH from a client. When the error's code is PayloadFormatInvalid,
// the packet is sound otherwise and p complete, so that an acknowledgement may tell it.
func (p *Publish) Parse(v Version, flags byte, body []byte) error {
	return p.parse(v, flags, body, inPublish)
}

// ParseFromServer is Parse for a PUBLISH from a server.
func (p *Publish) ParseFromServer(v Version, flags byte, body []byte) error {
	return p.parse(v, flags, body, inServerPublish)
}

func (p *Publish) parse(v Version, flags byte, body []byte, from place) error {
	if err := checkPublishFlags(flags); err != nil {
		return err
	}
	if cap(p.joined) > maxJoined {
		p.joined = nil
	}
	*p = Publish{
		QoS: flags & flagsQoS >> 1, Retain: flags&flagRetain != 0, Dup: flags&flagDup != 0,
		SubscriptionIDs: p.SubscriptionIDs[:0], joined: p.joined[:0],
	}
	in := cursor{b: body, of: PUBLISH}
	p.Topic = in.name()
	if in.err == nil && len(p.Topic) > 0 && !isName(p.Topic) {
		in.fail(malformed("PUBLISH whose topic has a wildcard"))
	}
	if p.QoS > 0 {
		p.ID = in.packetID()
	}
	var m messageProperties
	if v == V5 {
		r := in.properties(from)
		for f, ok := r.next(); ok; f, ok = r.next() {
			switch f.id {
			case topicAlias:
				p.Alias = uint16(f.n)
			case subscriptionIdentifier:
				p.SubscriptionIDs = append(p.SubscriptionIDs, f.n)
			default:
				m.add(f, &p.joined)
			}
		}
		in.join(&r)
	}
	if in.err != nil {
		return in.err
	}
	if len(p.Topic) == 0 && p.Alias == 0 {
		return protocolError("PUBLISH with neither a topic nor a Topic Alias")
	}
	p.Payload, p.HasExpiry, p.Expiry, p.Forward = in.b, m.hasExpiry, m.expiry, slices.Clip(m.forward)
	return m.checkPayload(PUBLISH, p.Payload)
}

// messageProperties are those that PUBLISH and a will have in common.
type messageProperties struct {
	isText    bool // the payload says that it is UTF-8
	hasExpiry bool
	expiry    uint32
	forward   []byte
	copied    bool // forward is a copy
}

// add takes f. When the forwarded properties do not lie together, they are put together in joined.
func (m *messageProperties) add(f property, joined *[]byte) {
	switch f.id {
	case messageExpiry:
		m.hasExpiry, m.expiry = true, f.n
		return
	case payloadFormat:
		m.isText = f.n == 1
	}
	if !forwarded(f.id) {
		return
	}
	switch {
	case m.forward == nil:
		m.forward = f.raw
	case !m.copied && follows(m.forward, f.raw):
		m.forward = m.forward[:len(m.forward)+len(f.raw)]
	default:
		if !m.copied {
			*joined = append((*joined)[:0], m.forward...)
			m.copied = true
		}
		*joined = append(*joined, f.raw...)
		m.forward = *joined
	}
}

// follows reports whether b lies directly behind a, in the same array.
func follows(a, b []byte) bool {
	return cap(a) >= len(a)+len(b) && len(b) > 0 && &a[:len(a)+1][len(a)] == &b[0]
}

// checkPayload checks a payload that says that it is UTF-8 (section 3.3.2.3.2).
func (m *messageProperties) checkPayload(t Type, payload []byte) error {
	if m.isText && !utf8.Valid(payload) {
		return &Error{PayloadFormatInvalid, t.String() + " whose payload is said to be UTF-8 and is not"}
	}
	return nil
}

// AppendPublishHeader appends a PUBLISH up to its payload, of which there must follow payload
// bytes: many receivers may share those. topic takes the place of p.Topic, and p.Payload is
// not looked at. In MQTT 3.1.1 the properties are left out.
func AppendPublishHeader(dst []byte, v Version, topic string, p *Publish, payload int) []byte {
	flags := p.QoS << 1
	if p.Retain {
		flags |= flagRetain
	}
	if p.Dup {
		flags |= flagDup
	}
	n, m := textLen(topic)+payload, 0
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		m = p.propertiesLen()
		n += varintLen(m) + m
	}
	dst = slices.Grow(dst, 1+varintLen(n)+n-payload)
	dst = appendText(appendHeader(dst, PUBLISH, flags, n), topic)
	if p.QoS > 0 {
		dst = append(dst, byte(p.ID>>8), byte(p.ID))
	}
	if v != V5 {
		return dst
	}
	dst = appendVarint(dst, m)
	if p.HasExpiry {
		dst = appendNumber(dst, messageExpiry, p.Expiry)
	}
	if p.Alias > 0 {
		dst = appendNumber(dst, topicAlias, uint32(p.Alias))
	}
	for _, id := range p.SubscriptionIDs {
		dst = appendNumber(dst, subscriptionIdentifier, id)
	}
	return append(dst, p.Forward...)
}

// AppendPublish appends a PUBLISH.
func AppendPublish(dst []byte, v Version, p *Publish) []byte {
	return append(AppendPublishHeader(dst, v, string(p.Topic), p, len(p.Payload)), p.Payload...)
}

// propertiesLen is how many bytes the properties take.
func (p *Publish) propertiesLen() int {
	n := len(p.Forward)
	if p.HasExpiry {
		n += 5
	}
	if p.Alias > 0 {
		n += 3
	}
	for _, id := range p.SubscriptionIDs {
		n += 1 + varintLen(int(id))
	}
	return n
}

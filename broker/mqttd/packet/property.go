package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// A place is where a property or a reason code may stand: bits.
type place uint32

const (
	inWill    place = 1 << iota
	inConnect       // properties of the packet itself
	inConnack
	inPublish       // sent by a client
	inServerPublish // sent by a server
	inPuback
	inPubrec
	inPubrel
	inPubcomp
	inSubscribe
	inSuback
	inUnsubscribe
	inUnsuback
	inDisconnect       // sent by a client
	inServerDisconnect // sent by a server
	inAuth             // sent by a client
	inServerAuth       // sent by a server

	inAnyPublish    = inPublish | inServerPublish
	inAnyDisconnect = inDisconnect | inServerDisconnect
	inAnyAuth       = inAuth | inServerAuth
	inAnyAck        = inPuback | inPubrec | inPubrel | inPubcomp | inSuback | inUnsuback
	everywhere      = inAuth<<2 - 1
)

// otherWay are the places of the same packet when the other side sends it.
func (p place) otherWay() place {
	for _, both := range [...]place{inAnyPublish, inAnyDisconnect, inAnyAuth} {
		if p&both != 0 {
			return both &^ p
		}
	}
	return 0
}

// A form is how a property's value is encoded (section 1.5).
type form byte

const (
	formByte   form = 1 + iota
	formFlag        // a byte that is 0 or 1
	formTwo         // two bytes
	formFour        // four bytes
	formVarint      // one to four bytes
	formText        // UTF-8
	formTopic       // UTF-8, the name of a topic
	formBinary
	formPair // two texts
)

// The properties' identifiers (section 2.2.2.2).
const (
	payloadFormat          = 0x01
	messageExpiry          = 0x02
	contentType            = 0x03
	responseTopic          = 0x08
	correlationData        = 0x09
	subscriptionIdentifier = 0x0b
	sessionExpiry          = 0x11
	assignedClientID       = 0x12
	serverKeepAlive        = 0x13
	authMethod             = 0x15
	authData               = 0x16
	requestProblemInfo     = 0x17
	willDelay              = 0x18
	requestResponseInfo    = 0x19
	responseInfo           = 0x1a
	serverReference        = 0x1c
	reasonString           = 0x1f
	receiveMaximum         = 0x21
	topicAliasMaximum      = 0x22
	topicAlias             = 0x23
	maximumQoS             = 0x24
	retainAvailable        = 0x25
	userProperty           = 0x26
	maximumPacketSize      = 0x27
	wildcardAvailable      = 0x28
	identifiersAvailable   = 0x29
	sharedAvailable        = 0x2a
)

// properties is the one table of them: what each is called and how it is encoded, where it may
// stand, where it may do so more than once, and whether it may be 0.
var properties = [...]struct {
	name    string
	form    form
	in      place
	often   place
	nonzero bool
}{
	payloadFormat:          {name: "Payload Format Indicator", form: formFlag, in: inAnyPublish | inWill},
	messageExpiry:          {name: "Message Expiry Interval", form: formFour, in: inAnyPublish | inWill},
	contentType:            {name: "Content Type", form: formText, in: inAnyPublish | inWill},
	responseTopic:          {name: "Response Topic", form: formTopic, in: inAnyPublish | inWill},
	correlationData:        {name: "Correlation Data", form: formBinary, in: inAnyPublish | inWill},
	subscriptionIdentifier: {name: "Subscription Identifier", form: formVarint, in: inServerPublish | inSubscribe, often: inServerPublish, nonzero: true},
	sessionExpiry:          {name: "Session Expiry Interval", form: formFour, in: inConnect | inConnack | inDisconnect},
	assignedClientID:       {name: "Assigned Client Identifier", form: formText, in: inConnack},
	serverKeepAlive:        {name: "Server Keep Alive", form: formTwo, in: inConnack},
	authMethod:             {name: "Authentication Method", form: formText, in: inConnect | inConnack | inAnyAuth},
	authData:               {name: "Authentication Data", form: formBinary, in: inConnect | inConnack | inAnyAuth},
	requestProblemInfo:     {name: "Request Problem Information", form: formFlag, in: inConnect},
	willDelay:              {name: "Will Delay Interval", form: formFour, in: inWill},
	requestResponseInfo:    {name: "Request Response Information", form: formFlag, in: inConnect},
	responseInfo:           {name: "Response Information", form: formText, in: inConnack},
	serverReference:        {name: "Server Reference", form: formText, in: inConnack | inServerDisconnect},
	reasonString:           {name: "Reason String", form: formText, in: inConnack | inAnyAck | inAnyDisconnect | inAnyAuth},
	receiveMaximum:         {name: "Receive Maximum", form: formTwo, in: inConnect | inConnack, nonzero: true},
	topicAliasMaximum:      {name: "Topic Alias Maximum", form: formTwo, in: inConnect | inConnack},
	topicAlias:             {name: "Topic Alias", form: formTwo, in: inAnyPublish, nonzero: true},
	maximumQoS:             {name: "Maximum QoS", form: formFlag, in: inConnack},
	retainAvailable:        {name: "Retain Available", form: formFlag, in: inConnack},
	userProperty:           {name: "User Property", form: formPair, in: everywhere, often: everywhere},
	maximumPacketSize:      {name: "Maximum Packet Size", form: formFour, in: inConnect | inConnack, nonzero: true},
	wildcardAvailable:      {name: "Wildcard Subscription Available", form: formFlag, in: inConnack},
	identifiersAvailable:   {name: "Subscription Identifiers Available", form: formFlag, in: inConnack},
	sharedAvailable:        {name: "Shared Subscription Available", form: formFlag, in: inConnack},
}

// A cursor takes fields off the front of b. After the first error it gives zeros.
type cursor struct {
	b   []byte
	of  Type // whose bytes they are, for errors
	err *Error
}

func (c *cursor) fail(e *Error) {
	if c.err == nil {
		c.err = e
	}
}

func (c *cursor) take(n int) []byte {
	if c.err != nil || n < 0 || n > len(c.b) {
		c.fail(malformed("%v that ends inside a field", c.of))
		return nil
	}
	taken := c.b[:n:n]
	c.b = c.b[n:]
	return taken
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) two() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) four() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// varint reads a Variable Byte Integer (section 1.5.5): four bytes at most, and no more than needed.
func (c *cursor) varint() (n uint32) {
	for shift := 0; shift < 7*maxVarintLen; shift += 7 {
		b := c.byte()
		n |= uint32(b&0x7f) << shift
		switch {
		case c.err != nil:
			return 0
		case b == 0 && shift > 0:
			c.fail(malformed("%v with an integer of more bytes than it needs", c.of))
			return 0
		case b < 0x80:
			return n
		}
	}
	c.fail(malformed("%v with an integer of more than %d bytes", c.of, maxVarintLen))
	return 0
}

func (c *cursor) binary() []byte { return c.take(int(c.two())) }

// text reads a UTF-8 Encoded String (section 1.5.4): no surrogates, no U+0000. Everything else
// is left as it is, a byte order mark too.
func (c *cursor) text() []byte {
	b := c.binary()
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		c.fail(malformed("%v with a text that is not UTF-8, or has U+0000", c.of))
		return nil
	}
	return b
}

// name reads a text that the server compares, keeps and shows: a topic, a filter, a client id or a
// user name. It has no control characters, which a receiver may take for malformed (section
// 1.5.4): they are of no use in a name, and do harm in logs and on terminals.
func (c *cursor) name() []byte {
	b := c.text()
	for i, x := range b {
		if x < ' ' || x == 0x7f || x == 0xc2 && b[i+1] < 0xa0 { // U+0080 to U+009F; b is UTF-8
			c.fail(malformed("%v with a control character in a name", c.of))
			return nil
		}
	}
	return b
}

// end fails when something is left.
func (c *cursor) end() {
	if c.err == nil && len(c.b) > 0 {
		c.fail(malformed("%v with %d bytes after its end", c.of, len(c.b)))
	}
}

// packetID reads a packet identifier, which is never 0 (section 2.2.1).
func (c *cursor) packetID() uint16 {
	id := c.two()
	if c.err == nil && id == 0 {
		c.fail(protocolError("%v with the packet identifier 0", c.of))
	}
	return id
}

// isName tells topic names: a character at least, no wildcards (section 4.7).
func isName(topic []byte) bool { return len(topic) > 0 && !bytes.ContainsAny(topic, "+#") }

// A property is one that was read: n is its number, b its text or bytes (of a pair the first),
// raw all of its bytes.
type property struct {
	id  byte
	n   uint32
	b   []byte
	raw []byte
}

// A propertyReader reads the properties of one place.
type propertyReader struct {
	cursor
	in   place
	seen uint64 // bits by identifier
}

// properties takes the properties off the front of c: their length, then they themselves.
func (c *cursor) properties(in place) propertyReader {
	return propertyReader{cursor: cursor{b: c.take(int(c.varint())), of: c.of, err: c.err}, in: in}
}

// next gives the next property. After the last, or an error, there is none.
func (r *propertyReader) next() (p property, ok bool) {
	if r.err != nil || len(r.b) == 0 {
		return property{}, false
	}
	begin := r.b
	p.id = r.byte() // an integer of variable length by the standard, but none has more than a byte
	if int(p.id) >= len(properties) || properties[p.id].form == 0 {
		r.fail(malformed("%v with the unknown property %#x", r.of, p.id))
		return property{}, false
	}
	kind := &properties[p.id]
	bit := uint64(1) << p.id
	switch {
	case kind.in&r.in == 0 && kind.in&r.in.otherWay() != 0:
		r.fail(protocolError("%v with a %s, which is not this side's to send", r.of, kind.name))
	case kind.in&r.in == 0:
		r.fail(malformed("%v with a %s, which it does not have", r.of, kind.name))
	case r.seen&bit != 0 && kind.often&r.in == 0:
		r.fail(protocolError("%v with a second %s", r.of, kind.name))
	}
	r.seen |= bit
	switch kind.form {
	case formByte, formFlag:
		p.n = uint32(r.byte())
	case formTwo:
		p.n = uint32(r.two())
	case formFour:
		p.n = r.four()
	case formVarint:
		p.n = r.varint()
	case formText:
		p.b = r.text()
	case formTopic:
		p.b = r.name()
	case formBinary:
		p.b = r.binary()
	case formPair:
		p.b = r.text()
		r.text()
	}
	if r.err == nil {
		r.check(p)
	}
	p.raw = begin[:len(begin)-len(r.b)]
	return p, r.err == nil
}

// check refuses values that a property may not have.
func (r *propertyReader) check(p property) {
	kind := &properties[p.id]
	switch {
	case kind.form == formFlag && p.n > 1:
		r.fail(protocolError("%v whose %s is %d, want 0 or 1", r.of, kind.name, p.n))
	case kind.form == formTopic && !isName(p.b):
		r.fail(protocolError("%v whose %s is empty or has a wildcard", r.of, kind.name))
	case kind.nonzero && p.n == 0 && p.id == topicAlias:
		r.fail(&Error{TopicAliasInvalid, "PUBLISH whose Topic Alias is 0"}) // section 3.3.4
	case kind.nonzero && p.n == 0:
		r.fail(protocolError("%v whose %s is 0", r.of, kind.name))
	}
}

// forwarded tells the properties that a receiver gets as they were sent.
func forwarded(id byte) bool {
	switch id {
	case payloadFormat, contentType, responseTopic, correlationData, userProperty:
		return true
	}
	return false
}

// appendNumber appends a property that is a number.
func appendNumber(dst []byte, id byte, n uint32) []byte {
	dst = append(dst, id)
	switch properties[id].form {
	case formTwo:
		return binary.BigEndian.AppendUint16(dst, uint16(n))
	case formFour:
		return binary.BigEndian.AppendUint32(dst, n)
	case formVarint:
		return appendVarint(dst, int(n))
	}
	return append(dst, byte(n))
}

// appendString appends a property that is a text or bytes.
func appendString[T string | []byte](dst []byte, id byte, s T) []byte {
	return appendText(append(dst, id), s)
}

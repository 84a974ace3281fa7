package packet

import "bytes"

// A Connack is a CONNACK (section 3.2). Its zero value accepts, and says of every property what
// its absence says. User properties are checked and not kept.
type Connack struct {
	SessionPresent bool
	Code           Code

	HasSessionExpiry bool
	SessionExpiry    uint32 // seconds
	ReceiveMaximum   uint16 // 0: not said, 65,535 holds
	HasMaximumQoS    bool   // false: 2 holds
	MaximumQoS       byte   // 0 or 1
	// MaximumPacketSize is the longest packet that the server takes, in bytes; 0: not said.
	MaximumPacketSize   uint32
	AssignedClientID    string // "": none
	TopicAliasMaximum   uint16
	Reason              string
	HasServerKeepAlive  bool
	ServerKeepAlive     uint16 // seconds
	ResponseInformation string
	ServerReference     string
	HasAuthMethod       bool
	AuthMethod          string
	AuthData            []byte

	// What the server does not have.
	NoRetain, NoWildcards, NoSubscriptionIDs, NoShared bool
}

// ParseConnack reads the body of a CONNACK. A return code of MQTT 3.1.1 is given as the reason code
// that says the same.
func ParseConnack(v Version, body []byte) (*Connack, error) {
	in := cursor{b: body, of: CONNACK}
	flags := in.byte()
	if flags > 1 {
		in.fail(malformed("CONNACK with reserved flags"))
	}
	c := &Connack{SessionPresent: flags == 1}
	if v == V5 {
		c.Code = in.code(inConnack)
		c.properties(&in)
	} else if code := in.byte(); int(code) < len(returnCodes) {
		c.Code = returnCodes[code]
	} else {
		in.fail(protocolError("CONNACK with the return code %d", code))
	}
	if c.SessionPresent && c.Code != Success {
		in.fail(protocolError("CONNACK that refuses and has a session present"))
	}
	in.end()
	if in.err != nil {
		return nil, in.err
	}
	return c, nil
}

func (c *Connack) properties(in *cursor) {
	r := in.properties(inConnack)
	hasData := false
	for p, ok := r.next(); ok; p, ok = r.next() {
		switch p.id {
		case sessionExpiry:
			c.HasSessionExpiry, c.SessionExpiry = true, p.n
		case receiveMaximum:
			c.ReceiveMaximum = uint16(p.n)
		case maximumQoS:
			c.HasMaximumQoS, c.MaximumQoS = true, byte(p.n)
		case retainAvailable:
			c.NoRetain = p.n == 0
		case maximumPacketSize:
			c.MaximumPacketSize = p.n
		case assignedClientID:
			c.AssignedClientID = string(p.b)
		case topicAliasMaximum:
			c.TopicAliasMaximum = uint16(p.n)
		case reasonString:
			c.Reason = string(p.b)
		case wildcardAvailable:
			c.NoWildcards = p.n == 0
		case identifiersAvailable:
			c.NoSubscriptionIDs = p.n == 0
		case sharedAvailable:
			c.NoShared = p.n == 0
		case serverKeepAlive:
			c.HasServerKeepAlive, c.ServerKeepAlive = true, uint16(p.n)
		case responseInfo:
			c.ResponseInformation = string(p.b)
		case serverReference:
			c.ServerReference = string(p.b)
		case authMethod:
			c.HasAuthMethod, c.AuthMethod = true, string(p.b)
		case authData:
			hasData, c.AuthData = true, bytes.Clone(p.b)
		}
	}
	if hasData && !c.HasAuthMethod {
		r.fail(protocolError("CONNACK with Authentication Data and no Authentication Method"))
	}
	in.join(&r)
}

// AppendConnack appends a CONNACK. In MQTT 3.1.1 it has the return code that Code.V311 gives, and
// nothing is appended where there is none: such a connection is closed without a CONNACK.
func AppendConnack(dst []byte, v Version, c *Connack) []byte {
	flags := byte(0)
	if c.SessionPresent && c.Code == Success {
		flags = 1
	}
	if v != V5 {
		code, ok := c.Code.V311()
		if !ok {
			return dst
		}
		return append(appendHeader(dst, CONNACK, 0, 2), flags, code)
	}
	properties := c.encoded()
	dst = appendHeader(dst, CONNACK, 0, 2+varintLen(len(properties))+len(properties))
	return appendBlock(append(dst, flags, byte(c.Code)), properties)
}

// encoded are the properties of a CONNACK.
func (c *Connack) encoded() (dst []byte) {
	number := func(id byte, n uint32, said bool) {
		if said {
			dst = appendNumber(dst, id, n)
		}
	}
	text := func(id byte, s string) {
		if s != "" {
			dst = appendString(dst, id, s)
		}
	}
	number(sessionExpiry, c.SessionExpiry, c.HasSessionExpiry)
	number(receiveMaximum, uint32(c.ReceiveMaximum), c.ReceiveMaximum != 0)
	number(maximumQoS, uint32(c.MaximumQoS), c.HasMaximumQoS)
	number(retainAvailable, 0, c.NoRetain)
	number(maximumPacketSize, c.MaximumPacketSize, c.MaximumPacketSize != 0)
	text(assignedClientID, c.AssignedClientID)
	number(topicAliasMaximum, uint32(c.TopicAliasMaximum), c.TopicAliasMaximum != 0)
	text(reasonString, c.Reason)
	number(wildcardAvailable, 0, c.NoWildcards)
	number(identifiersAvailable, 0, c.NoSubscriptionIDs)
	number(sharedAvailable, 0, c.NoShared)
	number(serverKeepAlive, uint32(c.ServerKeepAlive), c.HasServerKeepAlive)
	text(responseInfo, c.ResponseInformation)
	text(serverReference, c.ServerReference)
	return appendAuthProperties(dst, c.HasAuthMethod, c.AuthMethod, c.AuthData)
}

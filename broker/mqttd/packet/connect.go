package packet

import (
	"bytes"
	"encoding/binary"
	"math"
)

// A Connect is a CONNECT (section 3.1). It keeps no byte that it was parsed from. User
// properties are checked and not kept.
type Connect struct {
	Version    Version
	CleanStart bool   // clean session in MQTT 3.1.1
	KeepAlive  uint16 // seconds; 0: off
	ClientID   string
	Will       *Will // nil: none

	HasUserName bool
	UserName    string
	HasPassword bool
	Password    []byte

	HasSessionExpiry bool
	SessionExpiry    uint32 // seconds; math.MaxUint32: never
	ReceiveMaximum   uint16 // 65,535 when the client does not say
	// MaximumPacketSize is the longest packet that the client takes, fixed header included, in
	// bytes; 0 when it sets no limit.
	MaximumPacketSize          uint32
	TopicAliasMaximum          uint16
	RequestResponseInformation bool
	RequestProblemInformation  bool // true when the client does not say
	HasAuthMethod              bool
	AuthMethod                 string
	AuthData                   []byte
}

// A Will is the message that a server publishes when the connection ends without a goodbye
// (section 3.1.2.5).
type Will struct {
	Topic     string
	Payload   []byte
	QoS       byte
	Retain    bool
	Delay     uint32 // seconds
	HasExpiry bool
	Expiry    uint32 // seconds
	Forward   []byte // as Publish.Forward
}

// The flags of a CONNECT (section 3.1.2.3).
const (
	flagReserved   = 1 << 0
	flagClean      = 1 << 1
	flagWill       = 1 << 2
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUserName   = 1 << 7
	willQoSShift   = 3
)

// What a CONNECT begins with; MQTT 3.1 had a name of its own.
const (
	protocolName    = "MQTT"
	protocolName310 = "MQIsdp"
)

// ParseConnect reads the body of a CONNECT. When err is not nil and c neither, c has nothing but
// the Version that the client can read a refusal in; with another protocol level than 4 and 5,
// of which the error's code is UnsupportedProtocolVersion, that is the nearest. Who names no
// protocol of MQTT cannot read one.
func ParseConnect(body []byte) (c *Connect, err error) {
	in := cursor{b: body, of: CONNECT}
	name := in.text()
	level := in.byte()
	if in.err != nil {
		return nil, in.err
	}
	version := V311
	if level >= byte(V5) {
		version = V5
	}
	refused := &Connect{Version: version}
	if n := string(name); n != protocolName || Version(level) != version {
		if n != protocolName && n != protocolName310 {
			refused = nil
		}
		return refused, &Error{UnsupportedProtocolVersion, "CONNECT of another protocol than MQTT 3.1.1 and 5"}
	}
	c = &Connect{Version: version, ReceiveMaximum: math.MaxUint16, RequestProblemInformation: true}
	c.parse(&in)
	in.end()
	if in.err != nil {
		return refused, in.err
	}
	return c, nil
}

func (c *Connect) parse(in *cursor) {
	flags := in.byte()
	if in.err == nil {
		in.err = checkConnectFlags(c.Version, flags)
	}
	c.CleanStart = flags&flagClean != 0
	c.KeepAlive = in.two()
	if c.Version == V5 {
		c.properties(in)
	}
	c.ClientID = string(in.name())
	if flags&flagWill != 0 {
		c.Will = &Will{QoS: flags >> willQoSShift & 3, Retain: flags&flagWillRetain != 0}
		c.Will.parse(c.Version, in)
	}
	if flags&flagUserName != 0 {
		c.HasUserName, c.UserName = true, string(in.name())
	}
	if flags&flagPassword != 0 {
		c.HasPassword, c.Password = true, bytes.Clone(in.binary())
	}
	if in.err == nil && c.Version == V311 && c.ClientID == "" && !c.CleanStart {
		in.fail(&Error{ClientIDNotValid, "CONNECT without a client identifier that asks for a session"})
	}
}

func checkConnectFlags(v Version, flags byte) *Error {
	switch {
	case flags&flagReserved != 0:
		return malformed("CONNECT with the reserved flag")
	case flags>>willQoSShift&3 == 3:
		return malformed("CONNECT whose will has QoS 3")
	case flags&flagWill == 0 && flags&(flagWillRetain|3<<willQoSShift) != 0:
		return malformed("CONNECT with flags of a will and no will")
	case v == V311 && flags&(flagUserName|flagPassword) == flagPassword:
		return malformed("CONNECT with a password and no user name")
	}
	return nil
}

func (c *Connect) properties(in *cursor) {
	r := in.properties(inConnect)
	hasData := false
	for p, ok := r.next(); ok; p, ok = r.next() {
		switch p.id {
		case sessionExpiry:
			c.HasSessionExpiry, c.SessionExpiry = true, p.n
		case receiveMaximum:
			c.ReceiveMaximum = uint16(p.n)
		case maximumPacketSize:
			c.MaximumPacketSize = p.n
		case topicAliasMaximum:
			c.TopicAliasMaximum = uint16(p.n)
		case requestResponseInfo:
			c.RequestResponseInformation = p.n == 1
		case requestProblemInfo:
			c.RequestProblemInformation = p.n == 1
		case authMethod:
			c.HasAuthMethod, c.AuthMethod = true, string(p.b)
		case authData:
			hasData, c.AuthData = true, bytes.Clone(p.b)
		}
	}
	if hasData && !c.HasAuthMethod {
		r.fail(protocolError("CONNECT with Authentication Data and no Authentication Method"))
	}
	in.join(&r)
}

func (w *Will) parse(v Version, in *cursor) {
	var m messageProperties
	if v == V5 {
		var joined []byte
		r := in.properties(inWill)
		for p, ok := r.next(); ok; p, ok = r.next() {
			if p.id == willDelay {
				w.Delay = p.n
			} else {
				m.add(p, &joined)
			}
		}
		in.join(&r)
	}
	topic := in.name()
	if in.err == nil && !isName(topic) {
		in.fail(malformed("CONNECT whose will has no topic, or one with a wildcard"))
	}
	payload := in.binary()
	if in.err != nil {
		return
	}
	if err, bad := m.checkPayload(CONNECT, payload).(*Error); bad {
		in.fail(err)
		return
	}
	w.Topic, w.Payload, w.Forward = string(topic), bytes.Clone(payload), bytes.Clone(m.forward)
	w.HasExpiry, w.Expiry = m.hasExpiry, m.expiry
}

// PeekConnect says, as soon as it can be known from how the body of a CONNECT begins, whether it
// has a password; not ok when more bytes must come. Of another protocol than MQTT none has one: it
// is refused whatever follows.
func PeekConnect(begin []byte) (hasPassword, ok bool) {
	const flagsAt = 2 + len(protocolName) + 1
	if len(begin) < 2 {
		return false, false
	}
	if binary.BigEndian.Uint16(begin) != uint16(len(protocolName)) {
		return false, true
	}
	if len(begin) <= flagsAt {
		return false, false
	}
	return begin[flagsAt]&flagPassword != 0, true
}

// AppendConnect appends a CONNECT. Properties that have the value they have when they are left
// out are left out.
func AppendConnect(dst []byte, c *Connect) []byte {
	flags := byte(0)
	set := func(flag byte, on bool) {
		if on {
			flags |= flag
		}
	}
	set(flagClean, c.CleanStart)
	set(flagUserName, c.HasUserName)
	set(flagPassword, c.HasPassword)
	if w := c.Will; w != nil {
		flags |= flagWill | w.QoS<<willQoSShift
		set(flagWillRetain, w.Retain)
	}
	body := append(appendText(nil, protocolName), byte(c.Version), flags)
	body = binary.BigEndian.AppendUint16(body, c.KeepAlive)
	if c.Version == V5 {
		body = appendBlock(body, c.encoded())
	}
	body = appendText(body, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			body = appendBlock(body, w.encoded())
		}
		body = appendText(appendText(body, w.Topic), w.Payload)
	}
	if c.HasUserName {
		body = appendText(body, c.UserName)
	}
	if c.HasPassword {
		body = appendText(body, c.Password)
	}
	return append(appendHeader(dst, CONNECT, 0, len(body)), body...)
}

// appendBlock appends properties behind their length.
func appendBlock(dst, properties []byte) []byte {
	return append(appendVarint(dst, len(properties)), properties...)
}

// encoded are the properties of a CONNECT.
func (c *Connect) encoded() (dst []byte) {
	if c.HasSessionExpiry {
		dst = appendNumber(dst, sessionExpiry, c.SessionExpiry)
	}
	if c.ReceiveMaximum != math.MaxUint16 && c.ReceiveMaximum != 0 {
		dst = appendNumber(dst, receiveMaximum, uint32(c.ReceiveMaximum))
	}
	if c.MaximumPacketSize != 0 {
		dst = appendNumber(dst, maximumPacketSize, c.MaximumPacketSize)
	}
	if c.TopicAliasMaximum != 0 {
		dst = appendNumber(dst, topicAliasMaximum, uint32(c.TopicAliasMaximum))
	}
	if c.RequestResponseInformation {
		dst = appendNumber(dst, requestResponseInfo, 1)
	}
	if !c.RequestProblemInformation {
		dst = appendNumber(dst, requestProblemInfo, 0)
	}
	return appendAuthProperties(dst, c.HasAuthMethod, c.AuthMethod, c.AuthData)
}

// encoded are the properties of a will.
func (w *Will) encoded() (dst []byte) {
	if w.Delay != 0 {
		dst = appendNumber(dst, willDelay, w.Delay)
	}
	if w.HasExpiry {
		dst = appendNumber(dst, messageExpiry, w.Expiry)
	}
	return append(dst, w.Forward...)
}

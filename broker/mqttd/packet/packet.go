// Package packet reads and writes the control packets of MQTT 3.1.1 and MQTT 5, in both
// directions, as the standards have them and not a byte otherwise.
//
// What it refuses it names: an Error has the reason code that the standard gives to it, and
// says in words what is wrong. It keeps no state, so what depends on packets that came before
// (an alias's topic, an identifier in use, a second CONNECT) is for its callers to judge; and it
// knows nothing of who may do what. Reading never panics and takes no more memory than the bytes
// that it was given; PUBLISH and acknowledgements take none.
//
// Section numbers are those of MQTT 5 unless they say otherwise.
package packet

import (
	"fmt"
	"math"
)

// A Version is a protocol level (section 3.1.2.2).
type Version byte

// The versions that are spoken here.
const (
	V311 Version = 4
	V5   Version = 5
)

// A Type is a control packet type (section 2.1.2).
type Type byte

// The control packet types.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15 // MQTT 5 only
)

// String is the type's name in the standard.
func (t Type) String() string {
	names := [...]string{CONNECT: "CONNECT", CONNACK: "CONNACK", PUBLISH: "PUBLISH", PUBACK: "PUBACK", PUBREC: "PUBREC",
		PUBREL: "PUBREL", PUBCOMP: "PUBCOMP", SUBSCRIBE: "SUBSCRIBE", SUBACK: "SUBACK", UNSUBSCRIBE: "UNSUBSCRIBE",
		UNSUBACK: "UNSUBACK", PINGREQ: "PINGREQ", PINGRESP: "PINGRESP", DISCONNECT: "DISCONNECT", AUTH: "AUTH"}
	if int(t) < len(names) && t > 0 {
		return names[t]
	}
	return fmt.Sprintf("type %d", byte(t))
}

// flags are a packet's flags in the fixed header; PUBLISH has none that are always the same (section 2.1.3).
func (t Type) flags() byte {
	if t == PUBREL || t == SUBSCRIBE || t == UNSUBSCRIBE {
		return 0b0010
	}
	return 0
}

// An Error says why bytes are no packet, or none that may be sent. Its Code is what a DISCONNECT,
// or a CONNACK, answers with: MalformedPacket where the bytes cannot be read as a packet,
// ProtocolError where they can and say what may not be said (section 4.13), or a code that the
// standard has for the very case.
type Error struct {
	Code Code
	What string
}

func (e *Error) Error() string { return "packet: " + e.What + ": " + e.Code.String() }

func malformed(format string, args ...any) *Error {
	return &Error{MalformedPacket, fmt.Sprintf(format, args...)}
}

func protocolError(format string, args ...any) *Error {
	return &Error{ProtocolError, fmt.Sprintf(format, args...)}
}

// MaxLength is the longest Remaining Length there is, in bytes (section 1.5.5).
const MaxLength = 1<<28 - 1

// maxVarintLen is how many bytes a Variable Byte Integer has at most.
const maxVarintLen = 4

// A Header is a fixed header (section 2.1).
type Header struct {
	Type   Type
	Flags  byte // the low four bits
	Length int  // bytes that follow the fixed header
}

// ReadHeader reads the fixed header that b begins with and says how many bytes it has: 0 when
// more must come before it is known. It refuses what no packet can have as soon as that is
// there: a type of 0, flags that are not the type's, a length of more than four bytes or not the
// shortest of its kind, a PINGREQ or PINGRESP that is not empty.
func ReadHeader(b []byte) (h Header, n int, err error) {
	if len(b) == 0 {
		return Header{}, 0, nil
	}
	h = Header{Type: Type(b[0] >> 4), Flags: b[0] & 0x0f}
	switch {
	case h.Type == 0:
		return Header{}, 0, malformed("a packet of type 0")
	case h.Type == PUBLISH:
		if err := checkPublishFlags(h.Flags); err != nil {
			return Header{}, 0, err
		}
	case h.Flags != h.Type.flags():
		return Header{}, 0, malformed("%v with the flags %#x, want %#x", h.Type, h.Flags, h.Type.flags())
	}
	for i := 1; i <= maxVarintLen; i++ {
		if i == len(b) {
			return Header{}, 0, nil
		}
		h.Length |= int(b[i]&0x7f) << (7 * (i - 1))
		switch {
		case b[i] == 0 && i > 1:
			return Header{}, 0, malformed("%v whose length has more bytes than it needs", h.Type)
		case b[i] >= 0x80:
			continue
		case h.Length > 0 && (h.Type == PINGREQ || h.Type == PINGRESP):
			return Header{}, 0, malformed("%v of %d bytes, it has none", h.Type, h.Length)
		}
		return h, 1 + i, nil
	}
	return Header{}, 0, malformed("%v whose length has more than %d bytes", h.Type, maxVarintLen)
}

// FromClient refuses the types that no client of that version sends.
func (h Header) FromClient(v Version) error {
	switch h.Type {
	case CONNACK, SUBACK, UNSUBACK, PINGRESP:
		return protocolError("%v from a client", h.Type)
	case AUTH:
		if v != V5 {
			return malformed("AUTH, which MQTT 3.1.1 does not have")
		}
	}
	return nil
}

// appendHeader begins a packet of n bytes after its fixed header.
func appendHeader(dst []byte, t Type, flags byte, n int) []byte {
	return appendVarint(append(dst, byte(t)<<4|flags), n)
}

func appendVarint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// varintLen is how many bytes n takes.
func varintLen(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

// appendText appends a string or binary data behind its length. What is longer than the
// length can say is cut: callers hold to the limit where a cut would matter.
func appendText[T string | []byte](dst []byte, s T) []byte {
	s = s[:min(len(s), math.MaxUint16)]
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}

// textLen is what appendText appends.
func textLen[T string | []byte](s T) int { return 2 + min(len(s), math.MaxUint16) }

package mqttd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Packet types (MQTT 5, section 2.1.2).
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typePubrel      = 6
	typePubcomp     = 7
	typeSubscribe   = 8
	typeUnsubscribe = 10
	typePingreq     = 12
	typeDisconnect  = 14
	typeAuth        = 15
)

// A violation is a packet that must not reach mochi.
type violation struct {
	reason Reason
	what   string
}

func (v *violation) Error() string { return "mqttd: " + v.what }

func malformed(format string, args ...any) error {
	return &violation{ReasonMalformed, fmt.Sprintf(format, args...)}
}

// A framer hands on a client's bytes packet by packet. It refuses what is too
// long before anything is allocated for it, what a client may not send at this
// point, and every CONNECT, SUBSCRIBE and UNSUBSCRIBE whose structure doesn't
// add up to its length: mochi's decoder ends the process on some of those.
type framer struct {
	r       *bufio.Reader
	ready   []byte // checked bytes not handed on yet
	pass    int    // bytes of the present packet that need no check
	version byte   // protocol level of the CONNECT; 0 before it

	keepAlive uint16 // seconds, of the CONNECT
	begun     bool   // the warden knows of the packet in hand
}

// A warden rules a framer.
type warden interface {
	throttle() error // called when a packet's first byte is there, and returns when the rest may be read, if it may
	limit() int      // bytes that a packet may have after its fixed header; asked once that has come
	begun()          // told that a packet has begun to come and is not all there
}

// read is io.Reader's Read.
func (f *framer) read(p []byte, w warden) (int, error) {
	for len(f.ready) == 0 && f.pass == 0 {
		if err := f.next(w); err != nil {
			return 0, err
		}
	}
	if len(f.ready) > 0 {
		n := copy(p, f.ready)
		f.ready = f.ready[n:]
		return n, nil
	}
	n, err := f.r.Read(p[:min(len(p), f.pass)])
	f.pass -= n
	return n, err
}

// next reads one fixed header, and the body of what has to be checked whole.
func (f *framer) next(w warden) error {
	first, err := f.r.ReadByte()
	if err != nil {
		return err
	}
	kind := first >> 4
	if err := f.expected(kind, first&0x0f); err != nil {
		return err
	}
	if err := w.throttle(); err != nil {
		return err
	}
	f.begun = false
	header, length, err := f.length([]byte{first}, w)
	if err != nil {
		return err
	}
	whole := kind == typeConnect || kind == typeSubscribe || kind == typeUnsubscribe
	most := w.limit()
	switch {
	case kind == typeConnect:
		most = maxConnect
	case whole:
		most = min(most, maxAnonymousPacket)
	}
	if length > most {
		return &violation{ReasonTooLarge, fmt.Sprintf("a packet of type %d and %d bytes, at most %d are allowed", kind, length, most)}
	}
	f.await(length, w)
	if !whole {
		f.ready, f.pass = header, length
		return nil
	}
	if kind == typeConnect && length > maxConnectAlone {
		if err := f.withPassword(); err != nil {
			return err
		}
	}
	packet := append(header, make([]byte, length)...)
	body := packet[len(header):]
	if _, err := io.ReadFull(f.r, body); err != nil {
		return err
	}
	if kind == typeConnect {
		err = f.connect(body)
	} else {
		err = checkFilters(body, f.version == 5, kind == typeSubscribe)
	}
	f.ready = packet
	return err
}

// withPassword refuses a long CONNECT that brings no password, before there is room for it.
func (f *framer) withPassword() error {
	const flagsAt, passwordFlag = 7, 0x40 // behind the protocol's name, "MQTT", and level (section 3.1.2)
	begin, err := f.r.Peek(flagsAt + 1)
	if err != nil {
		return err
	}
	if begin[flagsAt]&passwordFlag == 0 {
		return &violation{ReasonTooLarge, fmt.Sprintf("a CONNECT without a password of more than %d bytes", maxConnectAlone)}
	}
	return nil
}

// expected refuses what only a server sends, anything but one CONNECT first, and
// flags that are not the packet's (section 2.1.3).
func (f *framer) expected(kind, flags byte) error {
	if (kind == typeConnect) != (f.version == 0) {
		return &violation{ReasonProtocol, fmt.Sprintf("a packet of type %d where a CONNECT must come first and only there", kind)}
	}
	switch {
	case kind == typeConnect, kind >= typePublish && kind <= typeSubscribe, kind == typeUnsubscribe, kind == typePingreq, kind == typeDisconnect:
	case kind == typeAuth && f.version == 5:
	default:
		return &violation{ReasonProtocol, fmt.Sprintf("a packet of type %d from a client", kind)}
	}
	want := byte(0)
	switch kind {
	case typePublish:
		want = flags // but for the third QoS
		if flags&6 == 6 {
			return malformed("a PUBLISH of QoS 3")
		}
	case typePubrel, typeSubscribe, typeUnsubscribe:
		want = 2
	}
	if flags != want {
		return malformed("a packet of type %d with flags %#x, want %#x", kind, flags, want)
	}
	return nil
}

// await tells the warden, once for each packet, that n more bytes of it have yet to arrive.
func (f *framer) await(n int, w warden) {
	if !f.begun && f.r.Buffered() < n {
		f.begun = true
		w.begun()
	}
}

// length reads the remaining length (section 1.5.5), appending its bytes to header.
func (f *framer) length(header []byte, w warden) ([]byte, int, error) {
	length := 0
	for shift := 0; shift < 28; shift += 7 {
		f.await(1, w)
		b, err := f.r.ReadByte()
		if err != nil {
			return nil, 0, err
		}
		header = append(header, b)
		length |= int(b&0x7f) << shift
		if b < 0x80 {
			return header, length, nil
		}
	}
	return nil, 0, malformed("a remaining length of more than four bytes")
}

// connect learns the protocol level and checks the flags that mochi doesn't; the
// rest is mochi's to judge.
func (f *framer) connect(body []byte) error {
	in := cursor{b: body}
	in.text()
	level := in.byte()
	flags := in.byte()
	keepAlive := in.take(2)
	if in.short || level == 0 {
		return malformed("a CONNECT that ends early")
	}
	if flags&0x01 != 0 || flags&0x18 == 0x18 || flags&0x04 == 0 && flags&0x38 != 0 {
		return malformed("a CONNECT with flags %#x: a reserved one, QoS 3, or a will's without a will", flags)
	}
	f.version, f.keepAlive = level, binary.BigEndian.Uint16(keepAlive)
	return nil
}

// checkFilters walks the body of a SUBSCRIBE (sections 3.8.2, 3.8.3) or an
// UNSUBSCRIBE (3.10): it must be used up exactly, by at least one filter.
func checkFilters(body []byte, v5, subscribe bool) error {
	in := cursor{b: body}
	in.skip(2)
	if v5 {
		properties := cursor{b: in.take(in.varint())}
		for len(properties.b) > 0 && !properties.short {
			switch id := properties.byte(); {
			case id == 0x0b && subscribe: // subscription identifier
				properties.varint()
			case id == 0x26: // user property
				properties.text()
				properties.text()
			default:
				return malformed("property %#x in a SUBSCRIBE or UNSUBSCRIBE", id)
			}
		}
		in.short = in.short || properties.short
	}
	if !in.short && len(in.b) == 0 {
		return &violation{ReasonProtocol, "a SUBSCRIBE or UNSUBSCRIBE without a filter"}
	}
	for n := 0; len(in.b) > 0 && !in.short; n++ {
		if n == maxFilters {
			return &violation{ReasonQuota, fmt.Sprintf("a SUBSCRIBE or UNSUBSCRIBE with more than %d filters", maxFilters)}
		}
		filter := in.text()
		if len(filter) == 0 {
			in.short = true
		}
		if subscribe {
			if err := checkOptions(filter, in.byte(), v5); err != nil {
				return err
			}
		}
	}
	if in.short {
		return malformed("a SUBSCRIBE or UNSUBSCRIBE that ends inside a field, or with an empty filter")
	}
	return nil
}

// checkOptions checks the subscription options of a filter (section 3.8.3.1; in
// 3.1.1 there is nothing but the QoS).
func checkOptions(filter []byte, options byte, v5 bool) error {
	reserved := byte(0xfc)
	if v5 {
		reserved = 0xc0
	}
	switch {
	case options&reserved != 0, options&0x03 == 0x03:
		return malformed("subscription options %#x", options)
	case options&0x30 == 0x30:
		return &violation{ReasonProtocol, "a retain handling of 3"}
	case options&0x04 != 0 && bytes.HasPrefix(filter, []byte("$share/")):
		return &violation{ReasonProtocol, "no-local on a shared subscription"}
	}
	return nil
}

// A cursor takes fields off the front of b; once b is too short for one, short stays set.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if c.short || n < 0 || n > len(c.b) {
		c.short = true
		return nil
	}
	taken := c.b[:n]
	c.b = c.b[n:]
	return taken
}

func (c *cursor) skip(n int) { c.take(n) }

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) text() []byte {
	n := c.take(2)
	if n == nil {
		return nil
	}
	return c.take(int(binary.BigEndian.Uint16(n)))
}

func (c *cursor) varint() int {
	v := 0
	for shift := 0; shift < 28; shift += 7 {
		b := c.byte()
		v |= int(b&0x7f) << shift
		if c.short || b < 0x80 {
			return v
		}
	}
	c.short = true
	return 0
}

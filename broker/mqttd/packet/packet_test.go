package packet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A side is who sent a packet.
type side bool

const (
	client side = false
	server side = true
)

// filters are how many a SUBSCRIBE may have in these tests.
const filters = 8

// read reads one whole packet as a server, or a client, does.
func read(v Version, from side, b []byte) (any, error) {
	h, n, err := ReadHeader(b)
	if err != nil {
		return nil, err
	}
	if n == 0 || len(b) != n+h.Length {
		return nil, fmt.Errorf("a header of %d bytes and %d more, of %d", n, h.Length, len(b))
	}
	if from == client {
		if err := h.FromClient(v); err != nil {
			return nil, err
		}
	}
	body := b[n:]
	switch h.Type {
	case CONNECT:
		c, err := ParseConnect(body)
		if err != nil {
			return nil, err
		}
		return c, nil
	case CONNACK:
		return ParseConnack(v, body)
	case PUBLISH:
		p := &Publish{}
		if from == server {
			return p, p.ParseFromServer(v, h.Flags, body)
		}
		return p, p.Parse(v, h.Flags, body)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return ParseAck(v, h.Type, body)
	case SUBSCRIBE:
		return ParseSubscribe(v, body, filters)
	case SUBACK:
		return ParseSuback(v, body)
	case UNSUBSCRIBE:
		return ParseUnsubscribe(v, body, filters)
	case UNSUBACK:
		return ParseUnsuback(v, body)
	case DISCONNECT:
		if from == server {
			return ParseDisconnectFromServer(body)
		}
		return ParseDisconnect(v, body)
	case AUTH:
		if from == server {
			return ParseAuthFromServer(body)
		}
		return ParseAuth(body)
	}
	return nil, nil
}

// packetOf makes a packet of a first byte and what follows its length: hex digits with spaces,
// and texts in ” with their lengths before them.
func packetOf(t testing.TB, first byte, body string) []byte {
	t.Helper()
	b := bytesOf(t, body)
	return append(appendVarint([]byte{first}, len(b)), b...)
}

func bytesOf(t testing.TB, s string) (b []byte) {
	t.Helper()
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b = appendText(b, part)
			continue
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		b = append(b, raw...)
	}
	return b
}

// codeOf is the code of an Error; 0 for none.
func codeOf(t testing.TB, err error) Code {
	t.Helper()
	var e *Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("an error without a code: %v", err)
	}
	if e == nil {
		return 0
	}
	return e.Code
}

func TestReadHeader(t *testing.T) {
	for _, c := range []struct {
		in     string
		n      int
		length int
		code   Code
	}{
		{"", 0, 0, 0}, {"10", 0, 0, 0}, {"10 80", 0, 0, 0}, {"10 ff ff ff", 0, 0, 0},
		{"10 00", 2, 0, 0}, {"10 7f", 2, 127, 0}, {"10 80 01", 3, 128, 0}, {"10 ff 7f", 3, 16383, 0}, {"10 80 80 01", 4, 16384, 0},
		{"10 ff ff 7f", 4, 2097151, 0}, {"10 80 80 80 01", 5, 2097152, 0}, {"10 ff ff ff 7f", 5, MaxLength, 0}, {"10 05 00 04", 2, 5, 0},
		{"10 80 00", 0, 0, MalformedPacket}, {"10 ff 80 00", 0, 0, MalformedPacket}, {"10 80 80 80 00", 0, 0, MalformedPacket},
		{"10 ff ff ff ff", 0, 0, MalformedPacket}, {"10 80 80 80 80 01", 0, 0, MalformedPacket},
		{"00", 0, 0, MalformedPacket}, {"11", 0, 0, MalformedPacket}, {"60", 0, 0, MalformedPacket}, {"63", 0, 0, MalformedPacket},
		{"80", 0, 0, MalformedPacket}, {"a0", 0, 0, MalformedPacket}, {"36", 0, 0, MalformedPacket}, {"38", 0, 0, MalformedPacket}, {"37", 0, 0, MalformedPacket},
		{"c0 01", 0, 0, MalformedPacket}, {"d0 81 01", 0, 0, MalformedPacket}, {"c0 00", 2, 0, 0}, {"d0 00", 2, 0, 0},
	} {
		b := bytesOf(t, c.in)
		h, n, err := ReadHeader(b)
		if n != c.n || h.Length != c.length && n > 0 || codeOf(t, err) != c.code {
			t.Errorf("%s: %+v of %d bytes, %v", c.in, h, n, err)
		}
		for i := range b { // it says no more of a part than that, or refuses it already
			if _, n, err := ReadHeader(b[:i]); n > 0 && n > i || err != nil && c.code == 0 {
				t.Errorf("%s: of its first %d bytes it says %d, %v", c.in, i, n, err)
			}
		}
	}
}

// Every type with every flags: those of table 2-2 and no others.
func TestFlags(t *testing.T) {
	for first := 0; first < 256; first++ {
		kind, flags := Type(first>>4), byte(first&0x0f)
		want := kind != 0 && flags == kind.flags()
		if kind == PUBLISH {
			want = flags&6 != 6 && (flags&8 == 0 || flags&6 != 0)
		}
		h, _, err := ReadHeader([]byte{byte(first), 0})
		if (err == nil) != want {
			t.Errorf("%#02x: %v", first, err)
		}
		if err == nil && (h.Type != kind || h.Flags != flags) {
			t.Errorf("%#02x: %+v", first, h)
		}
	}
}

func TestFromClient(t *testing.T) {
	for kind := CONNECT; kind <= AUTH; kind++ {
		for _, v := range []Version{V311, V5} {
			want := Code(0)
			switch {
			case kind == CONNACK, kind == SUBACK, kind == UNSUBACK, kind == PINGRESP:
				want = ProtocolError
			case kind == AUTH && v == V311:
				want = MalformedPacket
			}
			if got := codeOf(t, Header{Type: kind}.FromClient(v)); got != want {
				t.Errorf("%v in version %d: %v, want %v", kind, v, got, want)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for kind := CONNECT; kind <= AUTH; kind++ {
		if strings.HasPrefix(kind.String(), "type") {
			t.Errorf("type %d has no name", kind)
		}
	}
	if Type(0).String() != "type 0" || Type(16).String() != "type 16" {
		t.Error("what is no type has a name")
	}
	for _, c := range []Code{Success, DisconnectWithWill, MalformedPacket, WildcardSubscriptionsNotSupported} {
		if strings.HasPrefix(c.String(), "reason") {
			t.Errorf("code %#x has no name", byte(c))
		}
	}
	for _, c := range []Code{0x03, 0x7f, 0xa3, 0xff} {
		if !strings.HasPrefix(c.String(), "reason code 0x") {
			t.Errorf("code %#x: %v", byte(c), c)
		}
	}
}

// A code of 0x80 and more is 3.1.1's "no" of some kind, or none at all.
func TestV311(t *testing.T) {
	for c := range 256 {
		b, ok := Code(c).V311()
		if ok && (b > 5 || (b == 0) != (c == 0)) {
			t.Errorf("%v: %d", Code(c), b)
		}
		if got := AppendConnack(nil, V311, &Connack{Code: Code(c)}); ok != bytes.Equal(got, []byte{0x20, 2, 0, b}) || !ok && got != nil {
			t.Errorf("%v: %x", Code(c), got)
		}
	}
	for b, c := range returnCodes {
		if got, ok := c.V311(); !ok || int(got) != b {
			t.Errorf("%v: %d, want %d", c, got, b)
		}
	}
}

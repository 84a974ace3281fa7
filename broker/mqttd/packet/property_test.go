package packet

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// table24 is table 2-4 of the standard as it stands there: each property, an example of it, and
// the packets that it may stand in; w is a will, p and d a server's PUBLISH and DISCONNECT.
var table24 = []struct {
	id      byte
	example string
	in      string
}{
	{0x01, "01", "PUBLISH p w"},
	{0x02, "00000009", "PUBLISH p w"},
	{0x03, "'text/plain'", "PUBLISH p w"},
	{0x08, "'answers'", "PUBLISH p w"},
	{0x09, "'\xff'", "PUBLISH p w"},
	{0x0b, "ff7f", "p SUBSCRIBE"},
	{0x11, "00000009", "CONNECT CONNACK DISCONNECT"},
	{0x12, "'id'", "CONNACK"},
	{0x13, "0009", "CONNACK"},
	{0x15, "'method'", "CONNECT CONNACK AUTH"},
	{0x16, "'data'", "CONNECT CONNACK AUTH"},
	{0x17, "00", "CONNECT"},
	{0x18, "00000009", "w"},
	{0x19, "01", "CONNECT"},
	{0x1a, "'info'", "CONNACK"},
	{0x1c, "'server'", "CONNACK d"},
	{0x1f, "'reason'", "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT d AUTH"},
	{0x21, "0009", "CONNECT CONNACK"},
	{0x22, "0009", "CONNECT CONNACK"},
	{0x23, "0009", "PUBLISH p"},
	{0x24, "01", "CONNACK"},
	{0x25, "00", "CONNACK"},
	{0x26, "'k' 'v'", "CONNECT CONNACK PUBLISH p w PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT d AUTH"},
	{0x27, "00000009", "CONNECT CONNACK"},
	{0x28, "00", "CONNACK"},
	{0x29, "00", "CONNACK"},
	{0x2a, "00", "CONNACK"},
}

// bearers are packets around properties.
var bearers = []struct {
	name   string
	from   side
	first  byte
	before string
	behind string
}{
	{"CONNECT", client, 0x10, "'MQTT' 05 02 003c", "'c'"},
	{"w", client, 0x10, "'MQTT' 05 06 003c 00 'c'", "'w' 'm'"},
	{"CONNACK", server, 0x20, "00 00", ""},
	{"PUBLISH", client, 0x32, "'a' 0001", "6d"},
	{"p", server, 0x32, "'a' 0001", "6d"},
	{"PUBACK", client, 0x40, "0001 00", ""},
	{"PUBREC", client, 0x50, "0001 00", ""},
	{"PUBREL", client, 0x62, "0001 00", ""},
	{"PUBCOMP", client, 0x70, "0001 00", ""},
	{"SUBSCRIBE", client, 0x82, "0001", "'a' 00"},
	{"SUBACK", server, 0x90, "0001", "00"},
	{"UNSUBSCRIBE", client, 0xa2, "0001", "'a'"},
	{"UNSUBACK", server, 0xb0, "0001", "00"},
	{"DISCONNECT", client, 0xe0, "00", ""},
	{"d", server, 0xe0, "80", ""},
	{"AUTH", client, 0xf0, "18", ""},
}

// Every property in every packet: once, twice, cut short, and behind a length that does not fit.
func TestPropertiesEverywhere(t *testing.T) {
	for _, bearer := range bearers {
		with := func(properties []byte) []byte {
			body := append(bytesOf(t, bearer.before), appendBlock(nil, properties)...)
			body = append(body, bytesOf(t, bearer.behind)...)
			return append(appendVarint([]byte{bearer.first}, len(body)), body...)
		}
		for id := range 256 {
			example, allowed, elsewhere := "00", false, false
			for _, row := range table24 {
				if int(row.id) == id {
					example = row.example
					for in := range strings.FieldsSeq(row.in) {
						allowed = allowed || in == bearer.name
						elsewhere = elsewhere || strings.EqualFold(in[:1], bearer.name[:1]) && (in == "p" && bearer.name == "PUBLISH" || in == "d" && bearer.name == "DISCONNECT" ||
							bearer.name == "d" && in == "DISCONNECT" || bearer.name == "p" && in == "PUBLISH")
					}
				}
			}
			one := append([]byte{byte(id)}, bytesOf(t, example)...)
			var others []byte // that it cannot do without
			if bearer.name == "AUTH" && id != 0x15 || id == 0x16 {
				others = bytesOf(t, "15 'method'")
				if !allowed && bearer.name != "AUTH" {
					others = nil
				}
			}
			want := MalformedPacket
			switch {
			case allowed:
				want = 0
			case elsewhere:
				want = ProtocolError
			}
			check := func(what string, b []byte, want ...Code) {
				t.Helper()
				_, err := read(V5, bearer.from, b)
				code := codeOf(t, err)
				for _, w := range want {
					if code == w {
						return
					}
				}
				t.Errorf("%s with property %#x %s: %x: %v, want %v", bearer.name, id, what, b, err, want)
			}
			check("once", with(append(others, one...)), want)
			check("before others", with(append(bytes.Clone(one), others...)), want)
			check("between user properties", with(append(append(bytesOf(t, "26 'a' 'b'"), one...), append(others, bytesOf(t, "26 '' ''")...)...)), want)
			if !allowed {
				continue
			}
			twice := ProtocolError
			if id == 0x26 || id == 0x0b && bearer.name == "p" {
				twice = 0
			}
			check("twice", with(append(append(bytes.Clone(one), others...), one...)), twice)
			for n := 1; n < len(one); n++ { // cut, at the end of the properties
				check(fmt.Sprintf("cut after %d bytes", n), with(append(bytes.Clone(others), one[:n]...)), MalformedPacket)
			}
			// A length one too long takes a byte of what follows; one too short leaves one to it.
			whole := with(append(bytes.Clone(others), one...))
			at := 2 + len(bytesOf(t, bearer.before))
			whole[at]++
			check("and a length too long", whole, MalformedPacket, ProtocolError)
			whole[at] -= 2
			check("and a length too short", whole, MalformedPacket)
		}
	}
}

// The codes of every packet, from the tables of the standard.
func TestCodesEverywhere(t *testing.T) {
	const ack = "00 10 80 83 87 90 91 97 99"
	for _, c := range []struct {
		name string
		v    Version
		from side
		// the packet around the code
		first          byte
		before, behind string
		codes          string
	}{
		{"CONNACK", V5, server, 0x20, "00", "00", "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f"},
		{"CONNACK of 3.1.1", V311, server, 0x20, "00", "", "00 01 02 03 04 05"},
		{"PUBACK", V5, client, 0x40, "0001", "", ack},
		{"PUBREC", V5, client, 0x50, "0001", "00", ack},
		{"PUBREL", V5, client, 0x62, "0001", "", "00 92"},
		{"PUBCOMP", V5, client, 0x70, "0001", "00", "00 92"},
		{"SUBACK", V5, server, 0x90, "0001 00", "", "00 01 02 80 83 87 8f 91 97 9e a1 a2"},
		{"SUBACK of 3.1.1", V311, server, 0x90, "0001", "", "00 01 02 80"},
		{"UNSUBACK", V5, server, 0xb0, "0001 00", "", "00 11 80 83 87 8f 91"},
		{"DISCONNECT", V5, client, 0xe0, "", "", "00 04 80 81 82 83 90 93 94 95 96 97 98 99"},
		{"DISCONNECT of a server", V5, server, 0xe0, "", "00", "00 80 81 82 83 87 89 8b 8c 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2"},
		{"AUTH", V5, client, 0xf0, "", "04 15 'm'", "18 19"},
		{"AUTH of a server", V5, server, 0xf0, "", "04 15 'm'", "00 18"},
	} {
		allowed := bytesOf(t, c.codes)
		for code := range 256 {
			b := packetOf(t, c.first, fmt.Sprintf("%s %02x %s", c.before, code, c.behind))
			_, err := read(c.v, c.from, b)
			if got, want := codeOf(t, err), bytes.IndexByte(allowed, byte(code)) >= 0; want != (got == 0) || !want && got != ProtocolError && c.v == V5 {
				t.Errorf("%s with the code %#02x: %v", c.name, code, err)
			}
		}
	}
}

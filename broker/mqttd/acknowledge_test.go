package mqttd

import (
	"fmt"
	"testing"
)

// What acknowledges a message by another packet than its QoS asks for is a protocol error
// (sections 1.2 and 4.13.1). One that acknowledges nothing is none: it may be late.
func TestAcknowledgementOutOfPlace(t *testing.T) {
	puback, pubrec, pubcomp := byte(0x40), byte(0x50), byte(0x70)
	for _, v := range []byte{4, 5} {
		for _, c := range []struct {
			qos    byte
			begins []byte // acknowledgements that are in place
			then   byte
			good   bool
		}{
			{1, nil, pubrec, false}, {1, nil, pubcomp, false}, {2, nil, puback, false}, {2, nil, pubcomp, false},
			{2, []byte{pubrec}, puback, false}, {2, []byte{pubrec}, pubrec, true}, {2, []byte{pubrec, pubcomp}, pubcomp, true},
			{1, []byte{puback}, puback, true}, {1, []byte{puback}, pubcomp, true},
		} {
			t.Run(fmt.Sprintf("version %d QoS %d %x", v, c.qos, append(c.begins, c.then)), func(t *testing.T) {
				f := start(t, nil)
				r := f.mustConnect(as("p:n", v))
				r.send(frame(0x82, []byte{0, 7}, r.props(), str("devices/p/n/x"), []byte{c.qos}))
				r.next()
				other := as("p:n", v)
				other.id = "p:n/2"
				f.mustConnect(other).publish(c.qos<<1, "devices/p/n/x", "m")
				if kind, body := r.next(); kind != 0x30|c.qos<<1 {
					t.Fatalf("got packet %#x %x, want the message", kind, body)
				}
				answer := func(first byte) {
					r.send([]byte{first, 2, 0, 1})
					if first == pubrec {
						if kind, body := r.next(); kind != 0x62 {
							t.Fatalf("got packet %#x %x, want a PUBREL", kind, body)
						}
					}
				}
				for _, first := range c.begins {
					answer(first)
				}
				if c.good {
					answer(c.then)
					r.ping()
					return
				}
				r.send([]byte{c.then, 2, 0, 1})
				r.ended(ReasonProtocol)
			})
		}
	}
}

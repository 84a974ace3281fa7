package mqttd

import (
	"bytes"

	"github.com/mochi-mqtt/server/v2/packets"
)

// decodeSubscribes runs mochi's decoder over each SUBSCRIBE and UNSUBSCRIBE of a
// checked stream; a panic of it fails the fuzz test.
func decodeSubscribes(stream []byte, version byte) {
	for r := bytes.NewBuffer(stream); r.Len() > 0; {
		first, _ := r.ReadByte()
		n, _, err := packets.DecodeLength(r)
		if err != nil || n > r.Len() {
			return
		}
		body := r.Next(n)
		pk := packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: first >> 4, Remaining: n}}
		switch first >> 4 {
		case packets.Subscribe:
			_ = pk.SubscribeDecode(body)
		case packets.Unsubscribe:
			_ = pk.UnsubscribeDecode(body)
		}
	}
}

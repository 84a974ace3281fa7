package packet

import (
	"bytes"
	"math"
	"testing"
)

// No reason makes a packet longer than its receiver takes: [MQTT-3.2.2-19], [MQTT-3.4.2-2],
// [MQTT-3.5.2-2], [MQTT-3.6.2-2], [MQTT-3.7.2-2], [MQTT-3.9.2-1], [MQTT-3.11.2-1], [MQTT-3.14.2-3],
// [MQTT-3.15.2-2]; nor does a user property, of which none is sent: [MQTT-3.2.2-20], [MQTT-3.4.2-3],
// [MQTT-3.5.2-3], [MQTT-3.6.2-3], [MQTT-3.7.2-3], [MQTT-3.9.2-2], [MQTT-3.11.2-2], [MQTT-3.14.2-4],
// [MQTT-3.15.2-3]. What is too long without them is not sent at all: [MQTT-3.1.2-24]. And where the
// client wants no reasons it gets them in CONNACK and DISCONNECT only: [MQTT-3.1.2-29].
func TestReceiver(t *testing.T) {
	const reason = "because"
	codes := []Code{GrantedQoS1, NotAuthorized}
	for what, c := range map[string]struct {
		always bool // the reason may be sent to whoever wants none
		write  func(r Receiver, dst []byte, reason string) []byte
	}{
		"PUBACK":   {false, func(r Receiver, dst []byte, s string) []byte { return r.AppendAck(dst, PUBACK, 7, NotAuthorized, s) }},
		"PUBREC":   {false, func(r Receiver, dst []byte, s string) []byte { return r.AppendAck(dst, PUBREC, 7, QuotaExceeded, s) }},
		"PUBREL":   {false, func(r Receiver, dst []byte, s string) []byte { return r.AppendAck(dst, PUBREL, 7, PacketIDNotFound, s) }},
		"PUBCOMP":  {false, func(r Receiver, dst []byte, s string) []byte { return r.AppendAck(dst, PUBCOMP, 7, Success, s) }},
		"SUBACK":   {false, func(r Receiver, dst []byte, s string) []byte { return r.AppendSuback(dst, 7, codes, s) }},
		"UNSUBACK": {false, func(r Receiver, dst []byte, s string) []byte { return r.AppendUnsuback(dst, 7, []Code{Success}, s) }},
		"CONNACK": {true, func(r Receiver, dst []byte, s string) []byte {
			return r.AppendConnack(dst, Connack{Code: NotAuthorized, Reason: s})
		}},
		"DISCONNECT": {true, func(r Receiver, dst []byte, s string) []byte {
			return r.AppendDisconnect(dst, Disconnect{Code: ServerBusy, Reason: s})
		}},
		"AUTH": {false, func(r Receiver, dst []byte, s string) []byte {
			return r.AppendAuth(dst, Auth{Code: ContinueAuthentication, Method: "m", Reason: s})
		}},
	} {
		with, without := c.write(Receiver{Version: V5}, nil, reason), c.write(Receiver{Version: V5}, nil, "")
		if !bytes.Contains(with, []byte(reason)) || len(without) == 0 {
			t.Fatalf("%s: %x and %x", what, with, without)
		}
		for _, b := range [][]byte{with, without} {
			if _, err := read(V5, server, b); err != nil {
				t.Errorf("%s: %x: %v", what, b, err)
			}
		}
		for most := 1; most <= len(with)+1; most++ {
			for _, none := range []bool{false, true} {
				got := c.write(Receiver{V5, uint32(most), none}, []byte("before"), reason)
				want := []byte(nil)
				switch {
				case most >= len(with) && (!none || c.always):
					want = with
				case most >= len(without):
					want = without
				}
				if !bytes.Equal(got, append([]byte("before"), want...)) {
					t.Errorf("%s of at most %d bytes, no reasons %v: %x", what, most, none, got)
				}
			}
		}
		old := c.write(Receiver{Version: V311}, nil, reason)
		if what != "AUTH" && bytes.Contains(old, []byte(reason)) || what == "DISCONNECT" && len(old) > 0 {
			t.Errorf("%s of 3.1.1: %x", what, old)
		}
	}
	r := Receiver{Version: V5, MaximumPacketSize: math.MaxUint32}
	if !r.Takes(math.MaxInt32) || !(Receiver{}).Takes(math.MaxInt32) || (Receiver{MaximumPacketSize: 2}).Takes(3) {
		t.Error("what a client takes")
	}
	dst := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		dst = Receiver{V5, 20, false}.AppendAck(dst[:0], PUBACK, 7, NotAuthorized, "a reason that is too long")
		dst = r.AppendDisconnect(dst[:0], Disconnect{Code: ServerBusy})
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if got := (&Connect{Version: V5, MaximumPacketSize: 9, RequestProblemInformation: true}).Receiver(); got != (Receiver{V5, 9, false}) {
		t.Errorf("%+v", got)
	}
}

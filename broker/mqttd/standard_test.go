package mqttd

import (
	"math"
	"strings"
	"testing"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// connecting is a CONNECT of a device that may be changed before it is sent.
func connecting(d string) *packet.Connect {
	return &packet.Connect{
		Version: packet.V5, CleanStart: true, KeepAlive: 60, ClientID: d, HasUserName: true, UserName: d, HasPassword: true, Password: []byte("token-" + d),
		ReceiveMaximum: math.MaxUint16, RequestProblemInformation: true,
	}
}

// Only a normal goodbye takes a will back ([MQTT-3.14.4-3]); with every other code it is
// published ([MQTT-3.1.2-8]).
func TestOnlyANormalGoodbyeTakesTheWillBack(t *testing.T) {
	f := start(t, nil)
	w := f.watch("w:w", "devices/#")
	for _, code := range []packet.Code{packet.NormalDisconnection, packet.DisconnectWithWill, packet.UnspecifiedError, packet.MessageRateTooHigh} {
		p := connecting("p:n")
		p.Will = &packet.Will{Topic: "devices/p/n/gone", Payload: []byte(code.String())}
		c := f.dial()
		c.v = 5
		c.send(packet.AppendConnect(nil, p))
		if kind, body := c.next(); kind != 0x20 || body[1] != 0 {
			t.Fatalf("packet %#x %x", kind, body)
		}
		c.send(packet.AppendDisconnect(nil, packet.V5, packet.Disconnect{Code: code}))
		c.closed()
		eventually(t, "it is gone", func() bool { return f.Count() == 1 })
		if code == packet.NormalDisconnection {
			w.ping()
		} else if n, got := w.message(); n != "devices/p/n/gone" || got != code.String() {
			t.Errorf("%v: %q %q", code, n, got)
		}
	}
}

// Nothing longer than the client takes is sent ([MQTT-3.1.2-24]), not for the sake of an alias
// either, and what is too long counts as delivered ([MQTT-3.1.2-25]).
func TestNothingLongerThanTheClientTakes(t *testing.T) {
	f := start(t, nil)
	const most, name = 60, "devices/p/n/x"
	p := connecting("p:n")
	p.MaximumPacketSize, p.TopicAliasMaximum = most, 8
	c := f.dial()
	c.v = 5
	c.send(packet.AppendConnect(nil, p))
	if kind, body := c.next(); kind != 0x20 || body[1] != 0 {
		t.Fatalf("packet %#x %x", kind, body)
	}
	c.mustSubscribe("devices/p/n/#")
	header := len(packet.AppendPublishHeader(nil, packet.V5, name, &packet.Publish{}, most))
	for _, n := range []int{most - header + 1, most - header, most - header - 1, most - header - 3, 1} {
		c.publish(0, name, strings.Repeat("x", n))
		if header+n > most {
			c.ping()
			continue
		}
		kind, body := c.next()
		var got packet.Publish
		if err := got.ParseFromServer(packet.V5, kind&0x0f, body); kind>>4 != 3 || err != nil || len(got.Payload) != n {
			t.Fatalf("packet %#x %x: %v", kind, body, err)
		}
		if 2+len(body) > most {
			t.Errorf("a message of %d bytes in a packet of %d, at most %d are taken", n, 2+len(body), most)
		}
	}
	p = connecting("p:m")
	p.MaximumPacketSize = 4
	c = f.dial()
	c.v = 5
	c.send(packet.AppendConnect(nil, p))
	c.closed()
	eventually(t, "it is gone", func() bool { return f.Count() == 1 })
}

// A filter that is none ends the connection, and nothing of the SUBSCRIBE that has it is done
// ([MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.13.1-1]); one that is only longer or deeper than is
// served is refused in the SUBACK.
func TestFilterThatIsNone(t *testing.T) {
	f := start(t, nil)
	for _, version := range []byte{4, 5} {
		for _, filter := range []string{"devices/p/n/a#", "devices/p/n/#/x", "devices/p/n/+a", "$share//devices/p/n/#"} {
			for _, first := range []byte{0x82, 0xa2} {
				c := f.mustConnect(as("p:n", version))
				options := []byte{0}[:1-first>>5&1]
				c.send(frame(first, []byte{0, 7}, c.props(), str("devices/p/n/#"), options, str(filter), options))
				c.ended(ReasonMalformed)
				eventually(t, "it is gone", func() bool { return f.Count() == 0 })
			}
		}
		want := byte(packet.TopicFilterInvalid)
		if version == 4 {
			want = 0x80
		}
		c := f.mustConnect(as("p:n", version))
		for _, filter := range []string{"devices/p/n/" + strings.Repeat("x", 300), "devices/p/n" + strings.Repeat("/x", 20)} {
			if code := c.subscribe(filter); code != want {
				t.Errorf("version %d, filter %.30q: code %#x, want %#x", version, filter, code, want)
			}
		}
		c.ping()
		c.nc.Close()
		eventually(t, "it is gone", func() bool { return f.Count() == 0 })
	}
}

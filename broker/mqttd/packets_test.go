package mqttd

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// CONNECT comes first (MQTT-3.1.0-1) and once (MQTT-3.1.0-2); what is none, or fails authentication, ends the connection (MQTT-3.1.2-1, MQTT-3.1.2-2,
// MQTT-3.1.4-1, MQTT-3.1.4-2, MQTT-3.2.2-7, MQTT-4.13.2-1) with a CONNACK at most and never a DISCONNECT (MQTT-3.14.0-1), and nothing that came
// behind it is done (MQTT-3.1.4-6). An authentication method that we do not have is refused (MQTT-4.12.0-1).
func TestConnectComesFirst(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		watch := b.join("p:b", nil)
		watch.subscribe(0, "t/#")
		publish := packet.AppendPublish(nil, packet.V5, &packet.Publish{Topic: []byte("t/x"), Payload: []byte("1")})
		connect := func(change func(*packet.Connect)) []byte {
			p := connectOf("p:a", change)
			return packet.AppendConnect(nil, &p)
		}
		good := connect(nil)
		for name, tt := range map[string]struct {
			first []byte
			want  []string
		}{
			"no CONNECT":        {nil, []string{"closed"}},
			"another protocol":  {frame(0x10, str("MQTX"), []byte{5, 2, 0, 0, 0}, str("p:a")), []string{"closed"}},
			"another version":   {frame(0x10, str("MQTT"), []byte{6, 2, 0, 0, 0}, str("p:a")), []string{"connack 0x84", "closed"}},
			"a reserved flag":   {frame(0x10, str("MQTT"), []byte{5, 3, 0, 0, 0}, str("p:a")), []string{"connack 0x81", "closed"}},
			"a wrong password":  {connect(func(p *packet.Connect) { p.Password = []byte("wrong") }), []string{"connack 0x87", "closed"}},
			"an unknown method": {connect(func(p *packet.Connect) { p.HasAuthMethod, p.AuthMethod = true, "NONE-SUCH" }), []string{"connack 0x8c", "closed"}},
		} {
			c := b.open(packet.V5, append(slices.Clone(tt.first), publish...))
			synctest.Wait()
			if got := c.took(); !slices.Equal(got, tt.want) {
				t.Errorf("%s: %q, want %q", name, got, tt.want)
			}
		}
		watch.want()
		c := b.open(packet.V5, append(slices.Clone(good), publish...))
		c.want("connack 0x0") // MQTT-3.1.4-5, MQTT-3.2.0-1, MQTT-3.2.0-2
		watch.want("t/x=1 q0")
		c.send(good)
		c.want("disconnect 0x82", "closed") // MQTT-3.14.4-1, MQTT-3.14.4-2
	})
}

// After a goodbye nothing that the client sent is done, and the connection is closed (MQTT-3.14.4-1, MQTT-3.14.4-2). PINGREQ is answered (MQTT-3.12.4-1).
func TestGoodbyeIsTheEnd(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		watch := b.join("p:b", nil)
		watch.subscribe(0, "t/#")
		c := b.join("p:a", nil)
		out := packet.AppendPingreq(nil)
		out = packet.AppendDisconnect(out, packet.V5, packet.Disconnect{})
		c.send(packet.AppendPublish(out, packet.V5, &packet.Publish{Topic: []byte("t/x"), Payload: []byte("1")}))
		c.want("pingresp", "closed")
		watch.want()
	})
}

// A SUBSCRIBE of many filters has one answer with its identifier and a code for each, in order: the QoS
// granted, or why not (MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.8.4-5, MQTT-3.8.4-6, MQTT-3.8.4-7, MQTT-3.9.3-1, MQTT-3.9.3-2, MQTT-2.2.1-6, MQTT-3.2.2-10). So has UNSUBSCRIBE (MQTT-3.11.3-2).
func TestManyFiltersOneAnswer(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		filters := []packet.Filter{
			{Text: "t/a", Options: packet.Options{QoS: 2}}, {Text: "other", Options: packet.Options{QoS: 1}}, {Text: "t/b"}, {Text: "t/c", Options: packet.Options{QoS: 1}},
		}
		for v, want := range map[packet.Version]string{packet.V5: "suback #515 0x2 0x87 0x0 0x1", packet.V311: "suback #515 0x2 0x80 0x0 0x1"} {
			c := b.join("p:a", func(p *packet.Connect) { p.Version = v })
			c.send(packet.AppendSubscribe(nil, v, &packet.Subscribe{ID: 515, Filters: filters}))
			c.want(want)
			c.send(packet.AppendUnsubscribe(nil, v, &packet.Unsubscribe{ID: 516, Filters: []string{"t/c", "t/x", "t/a"}}))
			c.want(map[packet.Version]string{packet.V5: "unsuback #516 0x0 0x11 0x0", packet.V311: "unsuback #516"}[v])
			c.publish(1, 1, "t/b=1")
			c.publish(1, 2, "t/c=1")
			if got := c.took(); len(got) != 3 || got[0] != "t/b=1 q0" {
				t.Errorf("%q", got)
			}
		}
	})
}

// What is delivered matches (MQTT-3.3.2-3), byte for byte (MQTT-3.10.4-1, MQTT-4.7.3-4), to all who subscribe (MQTT-4.5.0-1), with a DUP of its own (MQTT-3.3.1-3,
// MQTT-4.3.1-1). What begins with $ is for no wildcard, and is nobody's to publish (MQTT-4.7.2-1).
func TestWhoGetsWhat(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		for _, d := range []string{"p:a", "p:b", "p:c"} {
			b.grant(d, "#", "#")
		}
		x, y, from := b.join("p:a", nil), b.join("p:c", nil), b.join("p:b", nil)
		x.subscribe(0, "#")
		y.subscribe(0, "t/Å", "+/x", "t//y", "T/x")
		for _, name := range []string{"t/Å", "t/A\u030a", "t/x", "T/X", "t//y", "t/y", "/x", "x"} {
			from.publish(1, 1, name+"=1", again)
		}
		from.publish(1, 1, "$SYS/x=1")
		from.publish(1, 1, "$t/x=1")
		got := from.took()
		if want := []string{"puback #1 0x87", "puback #1 0x87"}; !slices.Equal(got[len(got)-2:], want) {
			t.Errorf("%q", got)
		}
		y.want("t/Å=1 q0", "t/x=1 q0", "t//y=1 q0", "/x=1 q0")
		if got := x.took(); len(got) != 8 || slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "$") || strings.Contains(s, "dup") }) {
			t.Errorf("%q", got)
		}
	})
}

// An identifier is free for a new message after PUBACK (MQTT-4.3.2-4, MQTT-4.3.2-5); an exchange of QoS 2 goes on though its
// message's life is over (MQTT-4.3.3-13); a session is not dropped under a living connection, however long that is silent (MQTT-4.1.0-1).
func TestIdentifiersAndLives(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		watch := b.join("p:b", stays(5))
		watch.subscribe(2, "t/#")
		c := b.join("p:a", stays(1))
		for range 3 {
			c.publish(1, 7, "t/x=1")
		}
		c.publish(2, 8, "t/x=2", lives(5))
		c.want("puback #7", "puback #7", "puback #7", "pubrec #8")
		watch.want("t/x=1 q1 #1", "t/x=1 q1 #2", "t/x=1 q1 #3", "t/x=2 q2 #4 for=5")
		time.Sleep(time.Hour)
		c.publish(2, 8, "t/x=2", again, lives(5))
		c.ack(packet.PUBREL, 8, 0)
		watch.ack(packet.PUBREC, 4, 0)
		watch.want("pubrel #4")
		c.want("pubrec #8", "pubcomp #8")
		watch.cut()
		b.resume("p:b", true, nil).want("pubrel #4", "t/x=1 q1 #1 dup", "t/x=1 q1 #2 dup", "t/x=1 q1 #3 dup")
	})
}

// A packet above what CONNACK said ends the connection (MQTT-3.2.2-15).
func TestMaximumPacketSizeOfTheServer(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		c := b.join("p:a", nil)
		c.publish(1, 1, "t/x="+strings.Repeat("x", 64<<10-10))
		c.want("puback #1 0x10")
		c.send(frame(0x32, str("t/x"), []byte{0, 2, 0}, make([]byte, 64<<10))[:8])
		c.want("disconnect 0x95", "closed")
	})
}

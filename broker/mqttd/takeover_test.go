package mqttd

import (
	"slices"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/packet"
)

// What a connection sent before another took its session over, and the server reads after that,
// does nothing: not to the session, nor to the will that the new one left, nor to anybody else.
func TestPacketsAfterTakeover(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		watch := b.join("p:b", nil)
		watch.subscribe(1, "t/w", "t/from")
		first := b.join("p:a", both(stays(100), leaves("t/w", 0)))
		first.subscribe(2, "t/x")
		watch.publish(1, 1, "t/x=1")
		watch.publish(2, 2, "t/x=2")
		first.want("t/x=1 q1 #1", "t/x=2 q2 #2")
		first.publish(2, 7, "t/from=1")
		first.want("pubrec #7")
		watch.want("puback #1", "pubrec #2", "t/from=1 q1 #1")
		old := b.clients.get("p:a")
		second := b.resume("p:a", true, leaves("t/w", 0))
		second.want("t/x=1 q1 #1 dup", "t/x=2 q2 #2 dup")
		first.want("disconnect 0x8e", "closed")
		watch.want("t/w=gone q1 #2") // the first's, which had no delay (MQTT-3.1.3-9)

		v := packet.V5
		for _, late := range [][]byte{
			packet.AppendPublish(nil, v, &packet.Publish{Topic: []byte("t/from"), Payload: []byte("late")}),
			packet.AppendPublish(nil, v, &packet.Publish{Topic: []byte("t/from"), Payload: []byte("late"), QoS: message.ExactlyOnce, ID: 8}),
			packet.AppendSubscribe(nil, v, &packet.Subscribe{ID: 1, Filters: []packet.Filter{{Text: "t/late"}}}),
			packet.AppendUnsubscribe(nil, v, &packet.Unsubscribe{ID: 1, Filters: []string{"t/x"}}),
			packet.AppendAck(nil, v, packet.PUBACK, 1, 0, ""),
			packet.AppendAck(nil, v, packet.PUBREC, 2, 0, ""),
			packet.AppendAck(nil, v, packet.PUBREL, 7, 0, ""),
			packet.AppendDisconnect(nil, v, packet.Disconnect{HasExpiry: true, Expiry: 0}),
			{0xff, 0xff}, // no packet at all
		} {
			if pause, err := old.Feed(late); pause != 0 || err != nil {
				t.Errorf("% x: %v, %v", late, pause, err)
			}
			old.Overdue()
			old.Drained()
		}
		first.want()
		watch.want()
		second.want()
		if n := b.Figures().Subscriptions; n != 3 {
			t.Errorf("%d subscriptions", n)
		}
		watch.publish(1, 3, "t/x=3")
		watch.want("puback #3")
		second.want("t/x=3 q1 #3")
		second.ack(packet.PUBACK, 1, 0)
		second.ack(packet.PUBREC, 2, 0)
		second.publish(2, 7, "t/from=1", again)
		second.ack(packet.PUBREL, 7, 0)
		second.ack(packet.PUBREL, 8, 0)
		second.want("pubrel #2", "pubrec #7", "pubcomp #7", "pubcomp #8 0x92")
		second.cut()
		watch.want("t/w=gone q1 #3")
		b.leavesNothing()
	})
}

// Whoever takes a session over has to wait for the packet of the other's that is being handled: what
// that does comes before, and once.
func TestPacketDuringTakeover(t *testing.T) {
	handling, goOn := make(chan struct{}), make(chan struct{})
	f := start(t, func(c *Config, _ *fixture) {
		c.SessionMessages = 1
		c.OnDrop = func(why Drop, _ int) { // in the midst of the publisher's packet
			if why == DropFull {
				handling <- struct{}{}
				<-goOn
			}
		}
	})
	session := func(id string) connectPacket {
		p := as("p:n", 5)
		p.id, p.dirty, p.expiry = id, true, 3600
		return p
	}
	full := f.mustConnect(session("p:n/full"))
	full.send(frame(0x82, []byte{0, 7, 0}, str("devices/p/n/#"), []byte{1}))
	full.next()
	full.nc.Close()
	eventually(t, "it is away", func() bool { return f.clients.get("p:n/full") == nil })
	watch := f.mustConnect(as("p:n", 5)).mustSubscribe("devices/p/n/#")
	first := f.mustConnect(session("p:n/taken"))
	first.publish(2, "devices/p/n/x", "fills")
	first.next()
	watch.message()
	old := f.clients.get("p:n/taken")
	first.publish(4, "devices/p/n/x", "once") // QoS 2
	<-handling
	second := f.dial()
	second.v = 5
	second.send(session("p:n/taken").bytes())
	eventually(t, "the first is on its way out", old.isEnding)
	select {
	case <-old.released:
		t.Error("it was taken over in the midst of a packet")
	default:
	}
	close(goOn)
	if kind, body := second.next(); kind != 0x20 || body[0] != 1 || body[1] != 0 {
		t.Fatalf("packet %#x %x, want a CONNACK with the session", kind, body)
	}
	second.publish(0x0c, "devices/p/n/x", "once") // again: it was accepted
	if kind, body := second.next(); kind != 0x50 || len(body) > 2 && body[2] >= 0x80 {
		t.Errorf("packet %#x %x, want a PUBREC", kind, body)
	}
	if n, got := watch.message(); n != "devices/p/n/x" || got != "once" {
		t.Errorf("got %q %q", n, got)
	}
	watch.ping()
}

// What fell due for a connection while it was being taken over, or a moment before, is not the
// other's: each has its own end and its own keep-alive.
func TestDeadlinesAtTakeover(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		b.gate.expires[device(t, "p:a")] = time.Now().Add(time.Minute)
		first := b.join("p:a", both(stays(1000), func(p *packet.Connect) { p.KeepAlive = 20 }))
		time.Sleep(29 * time.Second)
		b.gate.expires[device(t, "p:a")] = time.Now().Add(time.Hour)
		second := b.resume("p:a", true, nil)
		first.want("disconnect 0x8e", "closed")
		time.Sleep(time.Minute)
		second.want()
		time.Sleep(time.Hour)
		if got := second.took(); !slices.Equal(got, []string{"disconnect 0xa0", "closed"}) {
			t.Errorf("%q", got)
		}
	})
}

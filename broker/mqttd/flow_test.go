package mqttd

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// takes says what a client can take.
func takes(receiveMaximum uint16, size uint32, aliases uint16) func(*packet.Connect) {
	return func(p *packet.Connect) {
		p.ReceiveMaximum, p.MaximumPacketSize, p.TopicAliasMaximum = receiveMaximum, size, aliases
	}
}

// series is what count messages of a topic look like from one on, with identifiers as many as
// those before them.
func series(format string, from, count int) (out []string) {
	for i := from; i < from+count; i++ {
		out = append(out, fmt.Sprintf(format, i))
	}
	return out
}

// A client with a Receive Maximum of 2 that is slow to acknowledge gets no more than two at a time
// (MQTT-3.3.4-9, MQTT-4.9.0-1, MQTT-4.9.0-2), and gets all of them in order (MQTT-4.6.0-5, MQTT-4.6.0-6), with new identifiers that are not in use (MQTT-4.3.2-1, MQTT-4.3.2-2,
// MQTT-4.3.2-3, MQTT-2.2.1-4). QoS 0 and answers do not wait (MQTT-4.9.0-3, MQTT-3.3.4-10).
func TestReceiveMaximum(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		c := b.join("p:a", takes(2, 0, 0))
		c.subscribe(1, "t/#")
		const all = 50
		for i := range all {
			from.publish(1, uint16(i+1), fmt.Sprintf("t/x=%d", i+1))
		}
		from.want(series("puback #%d", 1, all)...)
		c.want("t/x=1 q1 #1", "t/x=2 q1 #2")
		from.publish(0, 0, "t/y=now")
		c.subscribe(1, "t/other")
		c.send(packet.AppendPingreq(nil))
		c.want("t/y=now q0", "pingresp")
		for i := 1; i <= all; i++ {
			c.ack(packet.PUBACK, uint16(i), 0)
			if i <= all-2 {
				c.want(fmt.Sprintf("t/x=%d q1 #%d", i+2, i+2))
			}
		}
		c.want()
	})
}

// Our own bound holds where the client has none.
func TestInflightIsBounded(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		c := b.join("p:a", nil)
		c.subscribe(2, "t/#")
		for i := range 2 * maxInflight {
			from.publish(2, uint16(i%maxInflight+1), "t/x=x")
			from.ack(packet.PUBREL, uint16(i%maxInflight+1), 0)
		}
		if n := len(c.took()); n != maxInflight {
			t.Errorf("%d messages are in flight", n)
		}
		for i := range maxInflight { // the window is open again only when all is over (section 4.9)
			c.ack(packet.PUBREC, uint16(i+1), 0)
		}
		if got := c.took(); len(got) != maxInflight || got[0] != "pubrel #1" {
			t.Errorf("%q", got)
		}
		for i := range maxInflight {
			c.ack(packet.PUBCOMP, uint16(i+1), 0)
		}
		if n := len(c.took()); n != maxInflight {
			t.Errorf("%d messages followed", n)
		}
		if n := b.drops(DropUnknownAck); n != 0 {
			t.Errorf("%d acknowledgements of nothing", n)
		}
	})
}

// A subscriber that does not acknowledge is ended with 0x97 when no more may wait for it, and its
// session dropped: counted, and logged in one line for many. The publisher is not held up, and others are not touched.
func TestSlowSubscriberIsEnded(t *testing.T) {
	for _, away := range []bool{false, true} {
		inBubble(t, func(c *Config) { c.SessionMessages = 100 }, func(b *bubble) {
			from := b.join("p:b", nil)
			good := b.join("p:c", nil)
			good.subscribe(1, "t/#")
			slow := b.join("p:a", both(stays(1000), takes(10, 0, 0)))
			slow.subscribe(1, "t/#")
			if away {
				slow.cut()
			}
			for i := range 150 {
				from.publish(1, 1, fmt.Sprintf("t/x=%d", i))
				want := []string{fmt.Sprintf("t/x=%d q1 #%d", i, i+1)}
				if got := good.took(); !slices.Equal(got, want) {
					t.Fatalf("the other got %q, want %q", got, want)
				}
				good.ack(packet.PUBACK, uint16(i+1), 0)
			}
			from.want(slices.Repeat([]string{"puback #1"}, 150)...)
			if got := slow.took(); !away && (len(got) != 12 || got[10] != "disconnect 0x97" || got[11] != "closed") {
				t.Errorf("the slow one got %q", got)
			}
			if n := b.drops(DropFull); n != 101 {
				t.Errorf("%d messages were counted as dropped", n)
			}
			b.resume("p:a", false, nil).want()
			if n := strings.Count(b.logs.String(), "more messages wait"); n != 1 {
				t.Errorf("it was logged %d times", n)
			}
			b.leavesNothing()
		})
	}
}

// One message is larger than what one session may have: only the bytes count then.
func TestSlowSubscriberIsEndedByBytes(t *testing.T) {
	inBubble(t, func(c *Config) { c.SessionBytes = 256 << 10 }, func(b *bubble) {
		from := b.join("p:b", nil)
		slow := b.join("p:a", stays(1000))
		slow.subscribe(1, "t/#")
		slow.cut()
		large := "t/x=" + strings.Repeat("x", 60<<10)
		for range 4 {
			from.publish(1, 1, large)
		}
		if from.took(); b.drops(DropFull) != 0 {
			t.Error("dropped too early")
		}
		from.publish(1, 1, large)
		if from.took(); b.drops(DropFull) != 5 {
			t.Error("not dropped")
		}
		b.leavesNothing()
	})
}

// With RefusePublisher the message is refused before anybody got it, and before it is retained;
// a publisher of MQTT 3.1.1 is held back and ended. Once there is room it goes on, and nothing was lost.
func TestRefusePublisher(t *testing.T) {
	inBubble(t, func(c *Config) { c.SessionMessages, c.RefusePublisher = 10, true }, func(b *bubble) {
		from := b.join("p:b", nil)
		old := b.join("p:d", func(p *packet.Connect) { p.Version = packet.V311 })
		good := b.join("p:c", nil)
		good.subscribe(1, "t/#")
		slow := b.join("p:a", both(stays(1000), takes(1, 0, 0)))
		slow.subscribe(1, "t/x")
		for i := range 10 {
			from.publish(1, 1, fmt.Sprintf("t/x=%d", i))
			good.took()
			good.ack(packet.PUBACK, uint16(i+1), 0)
		}
		from.took()
		from.publish(1, 1, "t/x=refused", keep)
		from.publish(2, 2, "t/x=refused")
		from.publish(1, 3, "t/other=fine")
		from.want("puback #1 0x97", "pubrec #2 0x97", "puback #3")
		good.want("t/other=fine q1 #11")
		good.ack(packet.PUBACK, 11, 0)
		if n, _ := b.Server.retained.Taken(); n != 0 {
			t.Error("a refused message was retained")
		}
		old.publish(1, 1, "t/x=refused")
		time.Sleep(holdBackFor)
		old.want("closed")
		if n := b.drops(DropRefused); n != 3 {
			t.Errorf("%d refusals were counted", n)
		}
		from.publish(0, 0, "t/x=0") // QoS 0 is passed over
		slow.want("t/x=0 q1 #1")
		good.want("t/x=0 q0")
		for i := range 9 {
			slow.ack(packet.PUBACK, uint16(i+1), 0)
			slow.want(fmt.Sprintf("t/x=%d q1 #%d", i+1, i+2))
		}
		from.publish(1, 2, "t/x=more")
		slow.ack(packet.PUBACK, 10, 0)
		slow.want("t/x=more q1 #11")
		if b.ended(ReasonQuota) != 1 {
			t.Error("somebody but the old client was ended for it")
		}
		b.leavesNothing()
	})
}

// A publisher of MQTT 3.1.1, which has no word for a refusal, is held back with all that comes behind: until there is
// room, when it goes on as if nothing had been, or for a while; then it is ended, and nobody got the message.
func TestHeldBack(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		ack := []string{"", "puback", "pubrec"}[qos]
		var told met
		inBubble(t, func(c *Config) { c.SessionMessages, c.RefusePublisher, c.OnBound = 3, true, told.bound }, func(b *bubble) {
			good := b.join("p:c", nil)
			good.subscribe(0, "t/#")
			slow := b.join("p:a", both(stays(1000), takes(1, 0, 0)))
			slow.subscribe(1, "t/x")
			from := b.join("p:b", func(p *packet.Connect) { p.Version = packet.V311 })
			for i := range uint16(3) {
				from.publish(qos, 1+i, "t/x=1")
			}
			from.want(ack+" #1", ack+" #2", ack+" #3")
			good.took()
			of := func(qos byte, id uint16, name, payload string) []byte {
				return packet.AppendPublish(nil, from.v, &packet.Publish{Topic: []byte(name), Payload: []byte(payload), QoS: qos, ID: id})
			}
			from.send(slices.Concat(of(qos, 4, "t/x", "held"), of(qos, 5, "t/y", "behind it"), packet.AppendPingreq(nil)))
			time.Sleep(holdBackFor - time.Second)
			from.want()
			good.want()
			slow.ack(packet.PUBACK, 1, 0)
			time.Sleep(holdBackEvery)
			from.want(ack+" #4", ack+" #5", "pingresp")
			good.want("t/x=held q0", "t/y=behind it q0")
			if qos == 2 {
				for i := range uint16(5) {
					from.ack(packet.PUBREL, 1+i, 0)
				}
				from.took()
			}

			from.send(slices.Concat(of(qos, 6, "t/x", "lost"), of(0, 0, "t/y", "lost"))) // it is full again
			time.Sleep(holdBackFor - time.Second)
			from.want()
			time.Sleep(2 * time.Second)
			from.want("closed")
			good.want()
			if refused, ended := b.drops(DropRefused), b.ended(ReasonQuota); refused != 1 || ended != 1 {
				t.Errorf("%d refusals and %d ends were counted", refused, ended)
			}

			from = b.join("p:b", func(p *packet.Connect) { p.Version = packet.V311 })
			from.publish(qos, 7, "t/x=lost")
			synctest.Wait()
			b.End(device(t, "p:b"), ReasonAdministrative) // who is held back can be ended
			from.want("closed")
			if n := told.count(BoundHeld); n != 3 {
				t.Errorf("told of %d held back", n)
			}
			for i := range uint16(3) {
				slow.ack(packet.PUBACK, 2+i, 0)
			}
			slow.want("t/x=1 q1 #1", "t/x=1 q1 #2", "t/x=1 q1 #3", "t/x=held q1 #4")
			good.want()
			b.leavesNothing()
		})
	}
}

// What a session may have in bytes is a bound as what it may have in messages: where subscribers are ended, the
// one without room is, where publishers are refused they hear 0x97 or are held back.
func TestFewBytes(t *testing.T) {
	large := "t/x=" + strings.Repeat("x", 60<<10)
	for _, refuse := range []bool{false, true} {
		inBubble(t, func(c *Config) { c.SessionBytes, c.RefusePublisher = c.MaxPacket+65<<10, refuse }, func(b *bubble) {
			from := b.join("p:b", nil)
			old := b.join("p:d", func(p *packet.Connect) { p.Version = packet.V311 })
			slow := b.join("p:a", both(stays(1000), takes(1, 0, 0)))
			slow.subscribe(1, "t/#")
			from.publish(1, 1, large)
			from.want("puback #1")
			slow.took()
			if !refuse {
				from.publish(1, 2, large)
				from.want("puback #2 0x10")
				slow.want("disconnect 0x97", "closed")
				b.resume("p:a", false, nil).want()
				b.leavesNothing()
				return
			}
			from.publish(1, 2, large)
			from.publish(1, 3, "t/small=1")
			from.want("puback #2 0x97", "puback #3")
			old.publish(1, 4, large)
			old.want()
			slow.ack(packet.PUBACK, 1, 0)
			slow.want("t/small=1 q1 #2")
			time.Sleep(holdBackEvery)
			old.want("puback #4")
			b.leavesNothing()
		})
	}
}

// Subscriptions of all clients are bounded: one too many is refused with 0x97 (MQTT 3.1.1: 0x80), one that is there is
// renewed, and one that ends makes room, whoever's it was.
func TestSubscriptionsAreBounded(t *testing.T) {
	inBubble(t, func(c *Config) { c.Subscriptions = 3 }, func(b *bubble) {
		c := b.join("p:a", stays(100))
		c.subscribe(1, "t/1", "t/2", "$share/g/t/3")
		other, old := b.join("p:b", nil), b.join("p:c", func(p *packet.Connect) { p.Version = packet.V311 })
		refused := func(c *client, filter, want string) {
			t.Helper()
			c.ask(packet.Subscribe{ID: 9, Filters: []packet.Filter{{Text: filter}}}, "suback #9 "+want)
		}
		refused(other, "t/1", "0x97")
		refused(other, "$share/g/t/3", "0x97")
		refused(old, "t/1", "0x80")
		refused(c, "t/4", "0x97")
		c.subscribe(2, "t/1")
		if n := b.Figures().Subscriptions; n != 3 {
			t.Errorf("%d subscriptions", n)
		}
		other.publish(1, 1, "t/4=x")
		other.want("puback #1 0x10")
		c.want()
		c.send(packet.AppendUnsubscribe(nil, c.v, &packet.Unsubscribe{ID: 8, Filters: []string{"t/2"}}))
		c.want("unsuback #8 0x0")
		other.subscribe(0, "t/1")
		refused(other, "t/2", "0x97")
		b.End(device(t, "p:a"), ReasonAdministrative)
		other.subscribe(0, "t/2")
		old.subscribe(0, "t/2")
		b.leavesNothing()
	})
}

// Two sessions of one device have a room in common: a message for both is refused when there is
// room for one.
func TestRefusePublisherCountsAllReceivers(t *testing.T) {
	inBubble(t, func(c *Config) { c.SessionMessages, c.RefusePublisher = 3, true }, func(b *bubble) {
		from := b.join("p:b", nil)
		for i := range 6 { // of one device, which has room for 12
			c := b.join("p:a", both(stays(1000), named(fmt.Sprint("c", i))))
			c.subscribe(1, "t/all", fmt.Sprintf("t/%d", i))
			c.cut()
		}
		from.publish(1, 1, "t/all=1")
		from.publish(1, 1, "t/0=1")
		from.publish(1, 1, "t/all=2") // for the sixth of them there is no room
		from.want("puback #1", "puback #1", "puback #1 0x97")
		if b.drops(DropFull) != 0 {
			t.Error("a session was dropped")
		}
		if n, _ := b.room.Taken(); n != 7 {
			t.Errorf("%d messages wait", n)
		}
		b.leavesNothing()
	})
}

// QoS 2 from a client: owned once, whatever comes twice, and over connections (MQTT-4.3.3-8,
// MQTT-4.3.3-10, MQTT-4.3.3-11, MQTT-4.3.3-12, MQTT-2.2.1-3, MQTT-2.2.1-5, MQTT-3.3.4-1).
func TestQoS2From(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		watch := b.join("p:b", nil)
		watch.subscribe(0, "t/#")
		c := b.join("p:a", stays(100))
		c.publish(2, 9, "t/x=1")
		c.publish(2, 9, "t/x=1", again)
		c.publish(2, 9, "t/x=1", again)
		c.want("pubrec #9", "pubrec #9", "pubrec #9")
		watch.want("t/x=1 q0")
		c.cut()
		c = b.resume("p:a", true, nil)
		c.publish(2, 9, "t/x=1", again)
		c.publish(1, 9, "t/x=other") // another message under an identifier in use
		c.ack(packet.PUBREL, 9, 0)
		c.ack(packet.PUBREL, 9, 0)
		c.ack(packet.PUBREL, 77, 0)
		c.want("pubrec #9", "puback #9 0x91", "pubcomp #9", "pubcomp #9 0x92", "pubcomp #77 0x92")
		watch.want()
		c.publish(2, 9, "t/x=2")
		c.ack(packet.PUBREL, 9, 0)
		c.want("pubrec #9", "pubcomp #9")
		watch.want("t/x=2 q0")

		// What was refused is over with the PUBREC (MQTT-4.3.3-9 for what we send).
		c.publish(2, 9, "forbidden=1")
		c.publish(2, 9, "t/x=3")
		c.ack(packet.PUBREL, 9, 0)
		c.want("pubrec #9 0x87", "pubrec #9", "pubcomp #9")
		watch.want("t/x=3 q0")
	})
}

// A client that sends more than was promised before it is answered for good is ended with 0x93
// (MQTT-3.3.4-7).
func TestReceiveMaximumOfTheServer(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		c := b.join("p:a", stays(100))
		for i := range maxInflight {
			c.publish(2, uint16(i+1), "t/x=1")
		}
		c.want(series("pubrec #%d 0x10", 1, maxInflight)...)
		c.publish(1, 1000, "t/x=1")
		c.want("disconnect 0x93", "closed")
		c = b.resume("p:a", true, nil) // what the last connection left does not count on this one
		c.publish(1, 1000, "t/x=1")
		c.want("puback #1000 0x10")
		b.leavesNothing()
	})
}

// QoS 2 to a client: each step is repeated on a new connection as it was, PUBRELs in the order of
// PUBRECs and before PUBLISHes, none of which comes after its PUBREL (MQTT-4.3.3-1, MQTT-4.3.3-2, MQTT-4.3.3-3, MQTT-4.3.3-4, MQTT-4.3.3-5, MQTT-4.3.3-6, MQTT-4.3.3-9,
// MQTT-4.4.0-1, MQTT-4.4.0-2, MQTT-4.6.0-1, MQTT-4.6.0-4, MQTT-3.3.1-1).
func TestQoS2To(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		c := b.join("p:a", stays(100))
		c.subscribe(2, "t/#")
		for i := range 4 {
			from.publish(2, uint16(i+1), fmt.Sprintf("t/x=%d", i+1))
			from.ack(packet.PUBREL, uint16(i+1), 0)
		}
		c.want(series("t/x=%d q2 #%[1]d", 1, 4)...)
		c.ack(packet.PUBREC, 3, 0)
		c.ack(packet.PUBREC, 1, 0)
		c.ack(packet.PUBREC, 4, packet.UnspecifiedError)
		c.ack(packet.PUBREC, 99, 0)
		c.ack(packet.PUBREC, 98, packet.UnspecifiedError)
		c.want("pubrel #3", "pubrel #1", "pubrel #99 0x92")
		c.cut()
		c = b.resume("p:a", true, nil)
		c.want("pubrel #3", "pubrel #1", "t/x=2 q2 #2 dup")
		c.ack(packet.PUBCOMP, 3, 0)
		c.ack(packet.PUBREC, 2, 0)
		c.ack(packet.PUBREC, 2, 0) // twice is answered twice
		c.want("pubrel #2", "pubrel #2")
		c.ack(packet.PUBCOMP, 1, 0)
		c.ack(packet.PUBCOMP, 2, 0)
		c.ack(packet.PUBCOMP, 2, 0)
		c.ack(packet.PUBACK, 44, 0)
		c.cut()
		b.resume("p:a", true, nil).want()
		if n := b.drops(DropUnknownAck); n != 4 {
			t.Errorf("%d acknowledgements of nothing were counted", n)
		}
		b.leavesNothing()
	})
}

// The client's identifiers and the server's have nothing to do with each other.
func TestTwoSpacesOfIdentifiers(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		c := b.join("p:a", stays(100))
		c.subscribe(2, "t/#")
		c.publish(2, 1, "t/x=mine")
		c.want("t/x=mine q2 #1", "pubrec #1")
		c.ack(packet.PUBREC, 1, 0)
		c.want("pubrel #1")
		c.cut()
		c = b.resume("p:a", true, nil)
		c.want("pubrel #1")
		c.ack(packet.PUBREL, 1, 0)
		c.want("pubcomp #1")
		c.ack(packet.PUBCOMP, 1, 0)
		c.publish(1, 2, "t/x=next")
		c.want("t/x=next q1 #2", "puback #2")
		b.leavesNothing()
	})
}

// Nothing larger than the client takes is sent to it, reason strings and aliases included; it counts as
// delivered (MQTT-3.1.2-24, MQTT-3.1.2-25, MQTT-3.14.2-3).
func TestMaximumPacketSize(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		for size := uint32(20); size < 60; size++ {
			c := b.join("p:a", both(stays(100), takes(65535, size, 5)))
			c.subscribe(1, "t/#")
			for n := range 60 {
				text := "t/topic=" + strings.Repeat("x", n)
				from.publish(1, 1, text)
				from.publish(1, 1, "t="+strings.Repeat("x", n))
				got := c.took()
				for _, s := range got {
					var id uint16
					if _, number, ok := strings.Cut(s, "#"); ok {
						_, _ = fmt.Sscan(number, &id)
						c.ack(packet.PUBACK, id, 0)
					}
				}
				fits := 2 + 2 + len("t/topic") + 2 + 1 + n
				if fits <= int(size) && !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "t/topic") }) {
					t.Fatalf("size %d, message of %d: %q", size, fits, got)
				}
			}
			if c.largest > int(size) {
				t.Fatalf("a packet of %d bytes for a client that takes %d", c.largest, size)
			}
			b.End(device(t, "p:a"), ReasonAdministrative)
			if got := c.took(); size < 40 && !slices.Contains(got, "disconnect 0x98 wordless") || c.largest > int(size) {
				t.Fatalf("size %d: %q", size, got)
			}
		}
		if b.drops(DropDenied) == 0 {
			t.Error("what did not fit was not counted")
		}
	})
}

// A client that wants no reasons gets none (MQTT-3.1.2-29).
func TestNoProblemInformation(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		c := b.join("p:a", func(p *packet.Connect) { p.RequestProblemInformation = false })
		b.End(device(t, "p:a"), ReasonAdministrative)
		c.want("disconnect 0x98 wordless", "closed")
	})
}

// Aliases of the server: as many as the client takes (MQTT-3.1.2-26, MQTT-3.1.2-27, MQTT-3.3.2-11), and none from
// one connection on the next (MQTT-3.3.2-7). Those of the client, up to our maximum (MQTT-3.2.2-17, MQTT-3.3.2-9, MQTT-3.3.2-12).
func TestAliasesBothWays(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		c := b.join("p:a", both(stays(100), takes(65535, 0, 2)))
		c.subscribe(0, "t/#")
		send := func() {
			for _, name := range []string{"t/1", "t/2", "t/3", "t/1", "t/2", "t/3"} {
				from.publish(0, 0, name+"=x")
			}
		}
		want := []string{"t/1=x q0", "t/2=x q0", "t/3=x q0", "(t/1)=x q0", "(t/2)=x q0", "t/3=x q0"}
		send()
		c.want(want...)
		c.cut()
		c = b.resume("p:a", true, takes(65535, 0, 2))
		send()
		c.want(want...)
		c.cut()
		c = b.resume("p:a", true, nil)
		send()
		c.want("t/1=x q0", "t/2=x q0", "t/3=x q0", "t/1=x q0", "t/2=x q0", "t/3=x q0")

		with := func(alias uint16) func(*packet.Publish) {
			return func(p *packet.Publish) { p.Alias = alias }
		}
		for i := uint16(1); i <= maxAliases; i++ {
			from.publish(0, 0, fmt.Sprintf("t/%d=a", i), with(i))
		}
		from.publish(0, 0, "t/new=a", with(3))
		from.publish(0, 0, "=b", with(3))
		from.publish(0, 0, "=b", with(maxAliases))
		got := c.took()
		if want := []string{"t/new=a q0", "t/new=b q0", fmt.Sprintf("t/%d=b q0", maxAliases)}; !slices.Equal(got[len(got)-3:], want) {
			t.Errorf("%q", got)
		}
		from.publish(0, 0, "t/x=c", with(maxAliases+1))
		from.want("disconnect 0x94", "closed")
		nobody := b.join(anonA, stranger)
		nobody.publish(0, 0, "signet/v1/"+anonA+"/rq=x", with(1)) // his CONNACK said none (MQTT-3.2.2-18)
		nobody.want("disconnect 0x94", "closed")
		from = b.join("p:b", nil)
		from.publish(0, 0, "=b", with(3)) // that was another connection's
		from.want("disconnect 0x82", "closed")
		c.want()
	})
}

// Overlapping subscriptions: one copy, of the highest QoS, with all identifiers (MQTT-3.3.4-2, MQTT-3.3.4-3, MQTT-3.3.4-4), and so no
// copies with one each (MQTT-3.3.4-5); of the
// message's own QoS at most (MQTT-3.8.4-8). No Local is for what the client published itself (MQTT-3.8.3-3).
func TestOverlaps(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		c := b.join("p:a", nil)
		for i, f := range []packet.Filter{
			{Text: "t/#", Options: packet.Options{QoS: 1}},
			{Text: "t/+", Options: packet.Options{QoS: 2}},
			{Text: "t/x", Options: packet.Options{QoS: 0}},
			{Text: "t/y", Options: packet.Options{QoS: 0}},
		} {
			c.ask(packet.Subscribe{ID: 7, SubscriptionID: uint32(i + 1), Filters: []packet.Filter{f}}, fmt.Sprintf("suback #7 %#x", f.QoS))
		}
		from.publish(2, 1, "t/x=1")
		from.publish(1, 2, "t/x=2")
		from.publish(0, 0, "t/z=3")
		from.publish(2, 3, "t/x/y=4")
		c.want("t/x=1 q2 #1 ids=[1 2 3]", "t/x=2 q1 #2 ids=[1 2 3]", "t/z=3 q0 ids=[1 2]", "t/x/y=4 q1 #3 ids=[1]")

		c = b.join("p:c", nil)
		c.subscribe(0, "t/# n", "t/mine n")
		c.publish(0, 0, "t/mine=1")
		from.publish(0, 0, "t/mine=2")
		c.want("t/mine=2 q0")
		c.subscribe(0, "t/mine") // the same filter again, with other options (MQTT-3.8.4-3)
		c.publish(0, 0, "t/mine=3")
		c.want("t/mine=3 q0")
		c.send(packet.AppendUnsubscribe(nil, c.v, &packet.Unsubscribe{ID: 8, Filters: []string{"t/mine", "t/nothing", "t/#"}}))
		c.want("unsuback #8 0x0 0x11 0x0") // MQTT-3.10.4-4, MQTT-3.10.4-5, MQTT-3.10.4-6, MQTT-3.11.3-1
		from.publish(0, 0, "t/mine=4")
		c.want() // MQTT-3.10.4-2
	})
}

// UNSUBSCRIBE ends what is new, not what has begun (MQTT-3.10.4-3).
func TestUnsubscribeCompletes(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		c := b.join("p:a", stays(100))
		c.subscribe(2, "t/#")
		from.publish(2, 1, "t/x=1")
		from.publish(1, 2, "t/x=2")
		c.want("t/x=1 q2 #1", "t/x=2 q1 #2")
		c.send(packet.AppendUnsubscribe(nil, c.v, &packet.Unsubscribe{ID: 8, Filters: []string{"t/#"}}))
		c.ack(packet.PUBREC, 1, 0)
		c.want("unsuback #8 0x0", "pubrel #1")
		c.cut()
		c = b.resume("p:a", true, nil)
		c.want("pubrel #1", "t/x=2 q1 #2 dup")
		from.publish(1, 2, "t/x=3")
		c.want()
	})
}

// Properties go on as they are, in their order (MQTT-3.3.2-4, MQTT-3.3.2-15, MQTT-3.3.2-16, MQTT-3.3.2-17, MQTT-3.3.2-18, MQTT-3.3.2-20), also through a
// queue; a receiver of MQTT 3.1.1 gets the message alone.
func TestPropertiesGoOn(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		old := b.join("p:d", func(p *packet.Connect) { p.Version = packet.V311 })
		old.subscribe(0, "t/#")
		c := b.join("p:a", stays(100))
		c.subscribe(1, "t/#")
		forward := []byte{1, 1, 3, 0, 1, 'c', 8, 0, 1, 'r', 9, 0, 2, 1, 2, 38, 0, 1, 'b', 0, 1, '1', 38, 0, 1, 'a', 0, 1, '2', 38, 0, 1, 'b', 0, 1, '3'}
		want := fmt.Sprintf("t/x=1 q1 #1 props=%x", forward)
		from.publish(1, 1, "t/x=1", func(p *packet.Publish) { p.Forward = forward })
		c.want(want)
		old.want("t/x=1 q0")
		c.cut()
		b.resume("p:a", true, nil).want(strings.Replace(want, "#1", "#1 dup", 1))
	})
}

// Response information: for who asks (MQTT-3.1.2-28) and may have answers. Server Keep Alive: told,
// and applied (MQTT-3.1.2-22, MQTT-3.2.2-22).
func TestWhatConnackSays(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxKeepAlive = 20 * time.Second }, func(b *bubble) {
		c, got := b.dial("p:a", func(p *packet.Connect) { p.RequestResponseInformation, p.KeepAlive = true, 10 })
		if got != "connack 0x0 responses=t" {
			t.Error(got)
		}
		time.Sleep(14 * time.Second)
		c.want()
		time.Sleep(2 * time.Second)
		c.want("disconnect 0x8d", "closed")
		c, got = b.dial("p:a", nil)
		if got != "connack 0x0 alive=20" {
			t.Error(got)
		}
		for range 5 {
			time.Sleep(29 * time.Second)
			c.send(packet.AppendPingreq(nil))
			c.want("pingresp")
		}
		time.Sleep(31 * time.Second)
		c.want("disconnect 0x8d", "closed")
	})
}

// Order holds over connections: what was in flight comes first, in its order, then what waited.
func TestOrderOverConnections(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		c := b.join("p:a", both(stays(1000), takes(3, 0, 0)))
		c.subscribe(2, "t/#")
		next, got := 1, 0
		for range 20 {
			for range 4 {
				from.publish(byte(1+next%2), 1, fmt.Sprintf("t/x=%d", next))
				from.ack(packet.PUBREL, 1, 0)
				next++
			}
			var unacked []uint16
			for _, s := range c.took() {
				var n, qos int
				var id uint16
				if _, err := fmt.Sscanf(s, "t/x=%d q%d #%d", &n, &qos, &id); err != nil || qos == 2 && strings.HasSuffix(s, "dup") && n <= got-3 {
					continue
				}
				if !strings.HasSuffix(s, "dup") && n != got+1 {
					t.Fatalf("%q after %d", s, got)
				}
				got = max(got, n)
				unacked = append(unacked, id)
			}
			if len(unacked) > 0 {
				c.ack(packet.PUBACK, unacked[0], 0)
				c.ack(packet.PUBREC, unacked[0], 0)
				c.ack(packet.PUBCOMP, unacked[0], 0)
			}
			c.took()
			c.cut()
			c = b.resume("p:a", true, takes(3, 0, 0))
		}
		synctest.Wait()
	})
}

// Who takes too little to be told what became of his subscriptions hears that, and does not wait for ever.
func TestAnswersTooLongForTheClient(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		var many []packet.Filter
		var names []string
		for i := range maxFilters {
			names = append(names, fmt.Sprintf("t/%d", i))
			many = append(many, packet.Filter{Text: names[i]})
		}
		for _, p := range [][]byte{
			packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{ID: 7, Filters: many}),
			packet.AppendUnsubscribe(nil, packet.V5, &packet.Unsubscribe{ID: 7, Filters: names}),
		} {
			c := b.join("p:a", takes(10, 30, 0))
			c.send(p)
			synctest.Wait()
			c.want("disconnect 0x95 wordless", "closed")
		}
		b.leavesNothing()
	})
}

package mqttd

import (
	"fmt"
	"strings"
	"testing"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// count is how many of what came are messages.
func (c *client) count() (n int) {
	for _, s := range c.took() {
		if strings.Contains(s, "=") {
			n++
		}
	}
	return n
}

// A shared subscription's messages go to one member each, in turns, at the QoS granted to it (MQTT-4.8.2-3);
// two groups and a subscription of one's own have nothing to do with each other. A filter needs a group's
// name (MQTT-4.8.2-1, MQTT-4.8.2-2).
func TestSharedInTurns(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:d", nil)
		x, y, z := b.join("p:a", nil), b.join("p:b", nil), b.join("p:c", nil)
		x.subscribe(1, "$share/g/t/#")
		y.subscribe(2, "$share/g/t/#", "t/#")
		z.subscribe(0, "$share/g/t/#", "$share/h/t/#")
		for range 30 {
			from.publish(2, 1, "t/x=1")
			from.ack(packet.PUBREL, 1, 0)
		}
		if x, y, z := x.count(), y.count(), z.count(); x != 10 || y != 40 || z != 40 {
			t.Errorf("%d %d %d", x, y, z)
		}
		for _, bad := range []string{"$share/g", "$share//t/x", "$share/g+/t/x", "$share/g/", "$share/#/t"} {
			c := b.join("p:a", nil)
			c.send(packet.AppendSubscribe(nil, c.v, &packet.Subscribe{ID: 7, Filters: []packet.Filter{{Text: bad}}}))
			if got := c.took(); len(got) == 0 || got[0] == "suback #7 0x0" {
				t.Errorf("%q: %q", bad, got)
			}
		}
		c := b.join("p:a", nil)
		c.send(packet.AppendSubscribe(nil, c.v, &packet.Subscribe{ID: 7, Filters: []packet.Filter{{Text: "$share/g/t/#", Options: packet.Options{NoLocal: true}}}}))
		c.want("disconnect 0x82", "closed")
	})
}

// Members that are away get messages only while none is there, and then in turns; QoS 0 is not kept for them.
func TestSharedWithMembersAway(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:d", nil)
		members := []string{"p:a", "p:b", "p:c"}
		for _, d := range members {
			c := b.join(d, stays(1000))
			c.subscribe(1, "$share/g/t/#")
			if d != "p:c" {
				c.cut()
			}
		}
		c := b.resume("p:c", true, nil)
		for range 6 {
			from.publish(1, 1, "t/x=1")
		}
		if n := c.count(); n != 6 {
			t.Errorf("who was there got %d", n)
		}
		for i := range uint16(6) {
			c.ack(packet.PUBACK, i+1, 0)
		}
		c.cut()
		from.took()
		from.publish(0, 0, "t/x=0")
		for range 6 {
			from.publish(1, 1, "t/x=1")
		}
		from.took()
		for _, d := range members {
			if n := b.resume(d, true, nil).count(); n != 2 {
				t.Errorf("%s was kept %d", d, n)
			}
		}
		b.leavesNothing()
	})
}

// When a member leaves for good, what was not sent and what it did not acknowledge of QoS 1 goes to
// another; QoS 2 that it may have had does not (MQTT-4.8.2-4, MQTT-4.8.2-5). What a member refuses goes to nobody (MQTT-4.8.2-6).
func TestSharedHandOver(t *testing.T) {
	for name, leave := range map[string]func(b *bubble, c *client){
		"goodbye":    func(_ *bubble, c *client) { c.bye(0) },
		"cut":        func(_ *bubble, c *client) { c.cut() },
		"end":        func(b *bubble, _ *client) { b.End(device(b.t, "p:a"), ReasonAdministrative) },
		"cleanStart": func(b *bubble, _ *client) { b.join("p:a", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(b *bubble) {
				from := b.join("p:d", nil)
				c := b.join("p:a", takes(3, 0, 0))
				c.subscribe(2, "$share/g/t/#")
				from.publish(1, 1, "t/x=1")
				from.publish(2, 1, "t/x=2")
				from.ack(packet.PUBREL, 1, 0)
				from.publish(1, 1, "t/x=3")
				from.publish(1, 1, "t/x=4")
				from.publish(2, 1, "t/x=5")
				from.ack(packet.PUBREL, 1, 0)
				c.want("t/x=1 q1 #1", "t/x=2 q2 #2", "t/x=3 q1 #3")
				other := b.join("p:b", nil)
				other.subscribe(2, "$share/g/t/#")
				c.ack(packet.PUBACK, 1, packet.QuotaExceeded)
				c.want("t/x=4 q1 #4")
				leave(b, c)
				other.want("t/x=3 q1 #1", "t/x=4 q1 #2", "t/x=5 q2 #3")
				b.leavesNothing()
			})
		})
	}
}

// A member without permission is passed over; without a member that has it, the message is for nobody.
func TestSharedByGrant(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:d", nil)
		x, y := b.join("p:a", nil), b.join("p:b", nil)
		x.subscribe(1, "$share/g/t/+")
		y.subscribe(1, "$share/g/t/+")
		b.review("p:a", "t/#", "t/other")
		for range 4 {
			from.publish(1, 1, "t/x=1")
		}
		if x, y := x.count(), y.count(); x != 0 || y != 4 {
			t.Errorf("%d %d", x, y)
		}
		from.took()
		b.review("p:b", "t/#", "t/other")
		from.publish(1, 1, "t/x=1")
		from.want("puback #1 0x10")
	})
}

// When no member of a group has room, the one whose turn it was is ended, as any subscriber is that does not keep up; what
// it had and nobody has room for is counted. With RefusePublisher nobody is ended and the message refused.
func TestSharedGroupIsFull(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		inBubble(t, func(c *Config) { c.SessionMessages, c.RefusePublisher = 10, refuse }, func(b *bubble) {
			from := b.join("p:d", nil)
			for _, d := range []string{"p:a", "p:b"} {
				c := b.join(d, both(stays(1000), takes(1, 0, 0)))
				c.subscribe(1, "$share/g/t/#")
			}
			for i := range 20 {
				from.publish(1, 1, fmt.Sprintf("t/x=%d", i))
			}
			from.want(strings.Split(strings.Repeat("puback #1,", 19)+"puback #1", ",")...)
			if n := b.drops(DropFull); n != 0 || b.ended(ReasonQuota) != 0 {
				t.Errorf("%d were dropped too early", n)
			}
			from.publish(1, 1, "t/x=more")
			if refuse {
				from.want("puback #1 0x97")
				if n, ended := b.drops(DropFull), b.ended(ReasonQuota); n != 0 || ended != 0 {
					t.Errorf("%d were dropped, %d clients ended", n, ended)
				}
			} else {
				from.want("puback #1 0x10")
				if n, ended := b.drops(DropFull), b.ended(ReasonQuota); n < 11 || ended != 1 {
					t.Errorf("%d were dropped, %d clients ended", n, ended)
				}
			}
			b.leavesNothing()
		})
	}
}

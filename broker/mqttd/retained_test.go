package mqttd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
)

// A retained message is there for who subscribes later (MQTT-3.3.1-9), replaced (MQTT-3.3.1-5), removed by an empty one
// (MQTT-3.3.1-6), which is passed on and not kept (MQTT-3.3.1-7), and left alone by what is not
// retained (MQTT-3.3.1-8). Its age is told (MQTT-3.3.2-6), and it ends with its life (MQTT-3.3.2-5).
func TestRetained(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		there := b.join("p:c", nil)
		there.subscribe(0, "t/#")
		from.publish(1, 1, "t/x=1", keep)
		from.publish(1, 2, "t/x=2", keep)
		from.publish(0, 0, "t/x=3")
		from.publish(2, 3, "t/y=4", keep, lives(10))
		there.want("t/x=1 q0", "t/x=2 q0", "t/x=3 q0", "t/y=4 q0 for=10")
		ask := func(d, filter string, want ...string) {
			t.Helper()
			c := b.join(d, nil)
			c.subscribe(1, filter)
			c.want(want...)
			c.cut()
		}
		time.Sleep(3 * time.Second)
		ask("p:a", "t/#", "t/x=2 q1 #1 retained", "t/y=4 q1 #2 retained for=7")
		ask("p:a", "$share/g/t/#")
		from.publish(1, 1, "t/x", keep)
		there.want("t/x= q0")
		ask("p:a", "t/#", "t/y=4 q1 #1 retained for=7")
		time.Sleep(7 * time.Second)
		ask("p:a", "t/#")
		from.publish(0, 0, "t/z=5", keep) // of QoS 0, too
		ask("p:a", "t/+", "t/z=5 q0 retained")
		b.EndPool(device(t, "p:b").Pool, ReasonAdministrative, nil)
		ask("p:a", "t/+")
	})
}

// Retain Handling (MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11, MQTT-3.8.4-4) and Retain As Published (MQTT-3.3.1-12, MQTT-3.3.1-13).
func TestRetainOptions(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		from.publish(0, 0, "t/x=1", keep)
		c := b.join("p:a", nil)
		for _, tt := range []struct {
			filter string
			got    []string
		}{
			{"t/x", []string{"t/x=1 q0 retained"}},
			{"t/x", []string{"t/x=1 q0 retained"}},
			{"t/x 1", nil},
			{"t/+ 1", []string{"t/x=1 q0 retained"}},
			{"t/+ 1", nil},
			{"t/# 2", nil},
		} {
			c.subscribe(0, tt.filter)
			c.want(tt.got...)
		}
		c = b.join("p:a", nil)
		c.subscribe(0, "t/x r")
		other := b.join("p:c", nil)
		other.subscribe(0, "t/x")
		c.took()
		other.took()
		from.publish(0, 0, "t/x=2", keep)
		from.publish(0, 0, "t/x=3")
		c.want("t/x=2 q0 retained", "t/x=3 q0")
		other.want("t/x=2 q0", "t/x=3 q0")
		c.subscribe(0, "t/x n") // no local: not what it retained itself
		c.want("t/x=2 q0 retained")
		c.publish(0, 0, "t/x=mine", keep)
		c.subscribe(0, "t/x n")
		c.want()
		old := b.join("p:d", func(p *packet.Connect) { p.Version = packet.V311 })
		old.subscribe(0, "t/x")
		old.want("t/x=mine q0 retained")
		from.publish(0, 0, "t/x=4", keep)
		old.want("t/x=4 q0")
	})
}

// Who retains must be allowed to, in a will too (MQTT-3.2.2-13, with the code that the standard has for it); who
// was told that he may not and does ends his connection so (MQTT-3.2.2-14), and who was told that he may, and
// may not any more, hears that of the message. Who reads must be allowed to at the moment of reading.
func TestRetainedByGrant(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		p := b.grant("p:a", "t/#", "t/#")
		p.Retain = false
		b.gate.grants[device(t, "p:a")] = p
		for version, want := range map[packet.Version]string{packet.V5: "connack 0x9a", packet.V311: "connack 0x87"} {
			if _, got := b.dial("p:a", func(p *packet.Connect) {
				p.Version, p.Will = version, &packet.Will{Topic: "t/w", Payload: []byte("w"), Retain: true}
			}); got != want {
				t.Errorf("version %d: %s", version, got)
			}
		}
		for qos := range byte(3) {
			c := b.join("p:a", nil)
			c.publish(qos, uint16(min(qos, 1)), "t/x=1", keep)
			c.want("disconnect 0x9a", "closed")
		}
		if n := b.ended(ReasonRetain); n != 3 {
			t.Errorf("%d were ended so", n)
		}
		old := func(p *packet.Connect) { p.Version = packet.V311 }
		c := b.join("p:a", old)
		c.publish(0, 0, "t/x=1", keep)
		c.publish(1, 1, "t/x=1", keep)
		c.want("closed")
		c = b.join("p:a", nil)
		b.review("p:a", "t/#", "t/#") // it may now: what it was told is no more than that
		c.publish(1, 1, "t/x=1", keep)
		c.want("puback #1 0x10")
		b.review("p:a", "t/x", "t/#")
		c.publish(1, 1, "t/x", keep)
		c.want("puback #1 0x10")
		c = b.join("p:a", nil)
		b.Review(device(t, "p:a"), func(s Standing) (Standing, bool) { s.Permissions.Retain = false; return s, true }, ReasonAdministrative, nil)
		c.publish(1, 1, "t/x=1", keep)
		c.publish(0, 0, "t/x=1", keep)
		c.ask(packet.Subscribe{ID: 7, Filters: []packet.Filter{{Text: "t/x"}}}, "suback #7 0x0")
		c.want("puback #1 0x87")

		from := b.join("p:b", nil)
		from.publish(0, 0, "t/x=1", keep)
		from.publish(0, 0, "t/y=2", keep)
		from.took()
		reader := b.join("p:c", stays(100))
		reader.subscribe(0, "t/#")
		reader.want("t/x=1 q0 retained", "t/y=2 q0 retained")
		b.review("p:c", "t/#", "t/y")
		reader.ask(packet.Subscribe{ID: 7, Filters: []packet.Filter{{Text: "t/#"}, {Text: "t/y"}}}, "suback #7 0x87 0x0")
		reader.want("t/y=2 q0 retained")
	})
}

// A bound is told with 0x97, and the message is passed on to nobody.
func TestRetainedIsBounded(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		there := b.join("p:c", nil)
		there.subscribe(0, "t/new")
		from := b.join("p:b", nil)
		for i := range maxRetainedOfDevice {
			from.publish(1, 1, fmt.Sprintf("t/%d=x", i), keep)
		}
		if got := from.took(); slices.Contains(got, "puback #1 0x97") {
			t.Fatalf("%q", got)
		}
		from.publish(1, 1, "t/new=x", keep)
		from.publish(2, 2, "t/new=x", keep)
		from.publish(1, 3, "t/0=replaced", keep)
		from.publish(0, 0, "t/new=x", keep)
		from.want("puback #1 0x97", "pubrec #2 0x97", "puback #3 0x10")
		there.want()
		if n := b.drops(DropRetained); n != 3 {
			t.Errorf("%d were counted", n)
		}
		old := b.join("p:b", both(named("old"), func(p *packet.Connect) { p.Version = packet.V311 }))
		old.publish(1, 1, "t/new=x", keep)
		old.want("closed")
		from.publish(1, 1, "t/0", keep)
		from.publish(1, 1, "t/new=x", keep)
		from.want("puback #1 0x10", "puback #1")
		there.want("t/new=x q0")
	})
}

// Who subscribes to more retained messages than its session has room for gets them as it takes them,
// at whatever QoS, over connections too; what comes meanwhile has its room.
func TestManyRetained(t *testing.T) {
	const many = 95
	inBubble(t, func(c *Config) { c.SessionMessages = 20 }, func(b *bubble) {
		for _, d := range []string{"p:b", "p:c", "p:d"} {
			from := b.join(d, nil)
			for i := range many {
				from.publish(2, 1, fmt.Sprintf("t/%s/%d=x", d, i), keep)
				from.ack(packet.PUBREL, 1, 0)
			}
			from.cut()
		}
		for qos := byte(0); qos < 3; qos++ {
			c := b.join("p:a", both(stays(100), takes(5, 0, 0)))
			c.subscribe(qos, "t/+/#")
			var names []string
			for round := 0; ; round++ {
				got := c.took()
				if len(got) == 0 {
					break
				}
				for _, s := range got {
					name, _, isPublish := strings.Cut(s, "=")
					if isPublish && !slices.Contains(names, name) {
						names = append(names, name)
					}
					if _, number, ok := strings.Cut(s, "#"); ok {
						var id uint16
						_, _ = fmt.Sscan(number, &id)
						switch {
						case !isPublish:
							c.ack(packet.PUBCOMP, id, 0)
						case qos == 1:
							c.ack(packet.PUBACK, id, 0)
						default:
							c.ack(packet.PUBREC, id, 0)
						}
					}
				}
				if round%10 == 3 && qos > 0 {
					c.cut()
					c = b.resume("p:a", true, takes(5, 0, 0))
				}
			}
			var want []string
			for _, d := range []string{"p:b", "p:c", "p:d"} {
				for i := range many {
					want = append(want, fmt.Sprintf("t/%s/%d", d, i))
				}
			}
			if !slices.Equal(names, want) {
				t.Errorf("QoS %d: %d names, want %d", qos, len(names), len(want))
			}
			c.cut()
		}
		b.leavesNothing()
	})
}

// UNSUBSCRIBE ends what is owed, too; the same filter again begins it again.
func TestUnsubscribeEndsWhatIsRetained(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		for i := range 99 {
			from.publish(1, 1, fmt.Sprintf("t/%d=x", i), keep)
		}
		other := b.join("p:c", nil)
		for i := range 99 {
			other.publish(1, 1, fmt.Sprintf("t/c%d=x", i), keep)
		}
		c := b.join("p:a", takes(1, 0, 0))
		c.subscribe(1, "t/+")
		c.want("t/0=x q1 #1 retained")
		c.send(packet.AppendUnsubscribe(nil, c.v, &packet.Unsubscribe{ID: 8, Filters: []string{"t/+"}}))
		c.want("unsuback #8 0x0")
		n := 0
		for id := uint16(1); ; id++ {
			c.ack(packet.PUBACK, id, 0)
			got := c.took()
			if n++; len(got) == 0 {
				break
			}
		}
		if n > retainedAtOnce {
			t.Errorf("%d came after UNSUBSCRIBE", n)
		}
	})
}

// Over a planned restart, too, whoever subscribed to many gets what he did not get before, at least once,
// and a will that does not expire is sent after it.
func TestRestartOwesWhatIsRetained(t *testing.T) {
	outlive := func(c *Config) { c.Outlive = true }
	inBubble(t, outlive, func(b *bubble) {
		for _, d := range []string{"p:b", "p:c"} {
			from := b.join(d, nil)
			for i := range 95 {
				from.publish(1, 1, fmt.Sprintf("t/%s/%d=x", d, i), keep)
			}
			from.took()
		}
		c := b.join("p:a", both(stays(1000), takes(1, 0, 0), leaves("t/w", 100)))
		c.subscribe(1, "t/+/#")
		c.want("t/p:b/0=x q1 #1 retained")
		c.cut()
		stop(t, b.fixture)
		saved := records(t, b.Server)
		b = startInBubble(b.t, outlive)
		recall := func(_ context.Context, d ident.Device) (Standing, error) {
			return Standing{Device: d, Permissions: b.gate.grants[d]}, nil
		}
		if n, dropped, err := b.Restore(t.Context(), reading(saved), recall); n != 1 || dropped != 0 || err != nil {
			t.Fatal(n, dropped, err)
		}
		watch := b.join("p:d", nil)
		watch.subscribe(0, "t/w")
		time.Sleep(101 * time.Second)
		watch.want("t/w=gone q0")
		c = b.resume("p:a", true, nil)
		names := map[string]bool{}
		for id := 0; ; {
			got := c.took()
			if len(got) == 0 {
				break
			}
			for _, s := range got {
				name, _, _ := strings.Cut(s, "=")
				names[name] = true
				id++
				c.ack(packet.PUBACK, uint16(id), 0)
			}
		}
		if len(names) != 191 { // with the will, which is for it, too
			t.Errorf("%d messages came", len(names))
		}
	})
}

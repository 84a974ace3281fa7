package mqttd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// A session outlives its connection for as long as was said (MQTT-3.1.2-23, MQTT-4.1.0-2), is gone
// on with where Clean Start is 0 (MQTT-3.1.2-5), begun where there is none (MQTT-3.1.2-6), and dropped
// where Clean Start is 1 (MQTT-3.1.2-4, MQTT-3.1.4-4). Session Present says which (MQTT-3.2.2-2,
// MQTT-3.2.2-3).
func TestSessionExpiry(t *testing.T) {
	for _, tt := range []struct {
		expiry  uint32
		version packet.Version
		after   time.Duration
		present bool
	}{
		{0, packet.V5, 0, false},
		{10, packet.V5, 9 * time.Second, true},
		{10, packet.V5, 11 * time.Second, false},
		{never, packet.V5, 23 * time.Hour, true},
		{never, packet.V5, 25 * time.Hour, false}, // more than the operator gives
		{0, packet.V311, 23 * time.Hour, true},
		{0, packet.V311, 25 * time.Hour, false},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			inBubble(t, nil, func(b *bubble) {
				from := b.join("p:b", nil)
				c := b.join("p:a", both(stays(tt.expiry), func(p *packet.Connect) { p.Version, p.CleanStart = tt.version, false }))
				c.subscribe(1, "t/x")
				c.cut()
				from.publish(1, 1, "t/x=1")
				time.Sleep(tt.after)
				c = b.resume("p:a", tt.present, func(p *packet.Connect) { p.Version = tt.version })
				if tt.present {
					from.want("puback #1")
					c.want("t/x=1 q1 #1")
					c.ack(packet.PUBACK, 1, 0)
					c.cut()
					b.join("p:a", nil).want() // a clean start
				}
				b.leavesNothing()
			})
		})
	}
}

// A session that does not expire: where the operator has no bound.
func TestSessionNeverExpires(t *testing.T) {
	inBubble(t, func(c *Config) { c.SessionExpiry = never * time.Second }, func(b *bubble) {
		b.join("p:a", stays(10)).cut()
		time.Sleep(time.Second)
		c := b.resume("p:a", true, both(stays(never), leaves("t/w", 20)))
		c.cut()
		time.Sleep(time.Hour) // the will's time, and that of the session before
		b.resume("p:a", true, stays(never)).cut()
		b.leavesNothing()
	})
}

// leaves makes a will of QoS 1 with a delay in seconds.
func leaves(name string, delay uint32) func(*packet.Connect) {
	return func(p *packet.Connect) {
		p.Will = &packet.Will{Topic: name, Payload: []byte("gone"), QoS: 1, Delay: delay}
	}
}

// A DISCONNECT changes the expiry, but does not give a session that was to end with its connection
// a longer life (section 3.14.2.2.2).
func TestDisconnectChangesExpiry(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		leave := func(c *client, expiry uint32) {
			c.send(packet.AppendDisconnect(nil, packet.V5, packet.Disconnect{HasExpiry: true, Expiry: expiry}))
			time.Sleep(time.Second)
		}
		c := b.join("p:a", stays(100))
		leave(c, 0)
		c.want("closed")
		c = b.resume("p:a", false, stays(10))
		leave(c, 1000)
		time.Sleep(900 * time.Second)
		b.resume("p:a", true, nil).cut()

		c = b.join("p:a", leaves("t/w", 0))
		watch := b.join("p:b", nil)
		watch.subscribe(0, "t/w")
		leave(c, 5)
		c.want("disconnect 0x82", "closed")
		watch.want("t/w=gone q0") // that was no goodbye
		b.resume("p:a", false, nil)
	})
}

// A session that the server had no room to keep is not a client's fault.
func TestSessionsAreBounded(t *testing.T) {
	inBubble(t, func(c *Config) { c.Sessions = 2 }, func(b *bubble) {
		b.join("p:a", stays(100)).cut()
		b.join("p:b", stays(100)).cut()
		c, got := b.dial("p:c", stays(100))
		if !strings.Contains(got, "expiry=0") {
			t.Error(got)
		}
		c.send(packet.AppendDisconnect(nil, packet.V5, packet.Disconnect{HasExpiry: true, Expiry: 50}))
		c.want("closed")
		b.resume("p:c", false, nil).cut()
		for range 2 { // who has one keeps it
			b.resume("p:a", true, nil).cut()
		}
		b.leavesNothing()
	})
	inBubble(t, func(c *Config) { c.SessionExpiry = -1 }, func(b *bubble) {
		if _, got := b.dial("p:a", stays(100)); !strings.Contains(got, "expiry=0") {
			t.Error(got)
		}
	})
}

// What waits for who is away comes in order, with what is left of its life, and not when that is over
// (MQTT-3.3.2-5, MQTT-3.3.2-6). QoS 0 does not wait.
func TestQueueForWhoIsAway(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		c := b.join("p:a", stays(1000))
		c.subscribe(2, "t/#")
		c.cut()
		from.publish(1, 1, "t/1=a")
		from.publish(2, 2, "t/1=b", lives(10))
		from.ack(packet.PUBREL, 2, 0)
		from.publish(1, 3, "t/1=c", lives(20))
		from.publish(0, 0, "t/1=d")
		from.publish(1, 4, "t/2=e")
		from.want("puback #1", "pubrec #2", "pubcomp #2", "puback #3", "puback #4")
		time.Sleep(10*time.Second + time.Millisecond)
		c = b.resume("p:a", true, nil)
		c.want("t/1=a q1 #1", "t/1=c q1 #2 for=10", "t/2=e q1 #3")
		if n := b.drops(DropExpired); n != 1 {
			t.Errorf("%d messages expired", n)
		}
		c.cut()
		time.Sleep(time.Minute) // what was sent does not expire (MQTT-4.3.3-7)
		b.resume("p:a", true, nil).want("t/1=a q1 #1 dup", "t/1=c q1 #2 dup for=1", "t/2=e q1 #3 dup")
		b.leavesNothing()
	})
}

// A client id is its device's own (MQTT-3.1.3-2, MQTT-3.1.3-5). Another connection of the device takes the session
// over with all that is in flight, whose identifiers stay (MQTT-3.1.4-3, MQTT-4.4.0-1); another device
// has a session of its own. Ids of the protocol's form name their device (MQTT-3.1.3-8).
func TestClientIDs(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:c", nil)
		id := named("0123456789abcdefghijABC")
		a := b.join("p:a", both(stays(100), id))
		a.subscribe(1, "t/a")
		c := b.join("p:b", both(stays(100), id))
		c.subscribe(1, "t/b")
		from.publish(1, 1, "t/a=1")
		from.publish(1, 2, "t/b=2")
		a.want("t/a=1 q1 #1")
		c.want("t/b=2 q1 #1")
		second := b.resume("p:a", true, id)
		a.want("disconnect 0x8e", "closed")
		c.want()
		second.want("t/a=1 q1 #1 dup")
		second.ack(packet.PUBACK, 1, 0)
		second.cut()
		b.resume("p:a", true, id).want()
		for _, other := range []string{"p:b", "p:b/x", "anon-" + strings.Repeat("a1", 16)} {
			if _, got := b.dial("p:a", named(other)); got != "connack 0x85" {
				t.Errorf("client id %q: %s", other, got)
			}
		}
		for _, free := range []string{"x", "mqttjs_1234", "ünï/cödé", "p:b/", strings.Repeat("x", 256)} {
			b.join("p:a", named(free)).cut()
		}
		if _, got := b.dial("p:a", named(strings.Repeat("x", 257))); got != "connack 0x85" {
			t.Error(got)
		}
	})
}

// Who has no client id gets one of its own and is told it (MQTT-3.1.3-6, MQTT-3.1.3-7, MQTT-3.2.2-16); its session can be gone on with.
func TestAssignedClientID(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		ids := map[string]bool{}
		for range 3 {
			c, got := b.dial("p:a", both(stays(100), named("")))
			_, id, ok := strings.Cut(got, " id=")
			if !ok || !strings.HasPrefix(id, "p:a/") || ids[id] {
				t.Fatalf("%s, after %v", got, ids)
			}
			ids[id] = true
			c.cut()
			b.resume("p:a", true, named(id)).cut()
		}
		if _, got := b.dial("p:a", func(p *packet.Connect) { p.Version, p.ClientID, p.CleanStart = packet.V311, "", true }); got != "connack 0x0" {
			t.Error(got)
		}
		b.leavesNothing()
	})
}

// A device has so many sessions without a connection and no more; those that end first go first.
func TestSessionsOfOneDeviceAreBounded(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		for i := range maxAway + 5 {
			c := b.join("p:a", both(stays(uint32(1000-i)), named(fmt.Sprint("c", i))))
			c.subscribe(1, "t/+")
			c.cut()
			if n := b.clients.sessions(); n > maxAway {
				t.Fatalf("%d sessions", n)
			}
		}
		for i := range maxAway - 1 {
			b.resume("p:a", true, named(fmt.Sprint("c", i))).cut()
		}
		b.resume("p:a", false, named(fmt.Sprint("c", maxAway))).cut()
		b.leavesNothing()
	})
}

// End and EndPool end sessions with what waits, with a connection or without.
func TestEndEndsSessions(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		for _, end := range []func(){
			func() { b.End(device(t, "p:a"), ReasonAdministrative) },
			func() { b.EndPool(device(t, "p:a").Pool, ReasonAdministrative, nil) },
		} {
			c := b.join("p:a", both(stays(1000), named("away")))
			c.subscribe(1, "t/#")
			c.cut()
			there := b.join("p:a", both(stays(1000), named("there")))
			there.subscribe(1, "t/#")
			from := b.join("p:b", nil)
			from.publish(1, 1, "t/x=1")
			there.want("t/x=1 q1 #1")
			end()
			there.want("disconnect 0x98", "closed")
			b.resume("p:a", false, named("away")).want()
			b.resume("p:a", false, named("there")).want()
			b.leavesNothing()
		}
	})
}

// A client's own reply and event topics are subscriptions like others: they are in the session that
// is gone on with.
func TestOwnTopicsStay(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		c := b.join("p:a", stays(100))
		c.subscribe(0, "signet/v1/p:a/ev", "signet/v1/p:a/rs")
		c.cut()
		if b.Push("p:a", []byte("missed")) == nil {
			t.Error("pushed to who is away")
		}
		c = b.resume("p:a", true, nil)
		if err := b.Push("p:a", []byte("event")); err != nil {
			t.Error(err)
		}
		c.publish(0, 0, "signet/v1/p:a/rq=q")
		c.want("signet/v1/p:a/ev=event q0", "signet/v1/p:a/rs=re:q q0")
	})
}

// The room of a device is one for all its sessions, also when the last that began had been
// an anonymous client's.
func TestOneRoomOfADevice(t *testing.T) {
	inBubble(t, func(c *Config) { c.SessionMessages = 10 }, func(b *bubble) {
		for i := range 8 {
			c := b.join("p:a", both(stays(1000), named(fmt.Sprint("c", i))))
			c.subscribe(1, fmt.Sprintf("t/%d", i))
			c.cut()
			anon := fmt.Sprintf("anon-%032x", i)
			b.join("p:a", func(p *packet.Connect) {
				*p = packet.Connect{Version: packet.V5, CleanStart: true, ClientID: anon, ReceiveMaximum: 1}
			})
			d := device(t, "p:a")
			if err := b.Upgrade(anon, Standing{Device: d, Permissions: b.gate.grants[d]}); err != nil {
				t.Fatal(err)
			}
		}
		from := b.join("p:b", nil)
		for i := range 8 {
			for j := range 10 {
				from.publish(1, uint16(10*i+j+1), fmt.Sprintf("t/%d=x", i))
			}
		}
		from.took()
		if n, _ := b.room.Taken(); n > 40 {
			t.Errorf("%d messages wait for one device", n)
		}
		b.leavesNothing()
	})
}

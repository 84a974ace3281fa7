package mqttd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/topic"
)

// Whoever was not admitted leaves no will, however it ends.
func TestNoWillWithoutAdmission(t *testing.T) {
	f := start(t, func(c *Config, fx *fixture) { c.Gate = busyGate{fx.gate} })
	f.gate.expires[device(t, "p:late")] = time.Now().Add(-time.Second)
	watcher := f.watch("w:w", "#")
	mine := func(d string, version byte, change func(*connectPacket)) connectPacket {
		c := as(d, version)
		c.will = "devices/" + strings.Replace(d, ":", "/", 1) + "/gone"
		if change != nil {
			change(&c)
		}
		return c
	}
	for _, version := range []byte{4, 5} {
		for name, c := range map[string]connectPacket{
			"wrong password":   mine("p:n", version, func(c *connectPacket) { c.pass = "x" }),
			"no password":      mine("p:n", version, func(c *connectPacket) { c.pass = "" }),
			"another's id":     mine("p:n", version, func(c *connectPacket) { c.id = "p:m" }),
			"anonymous":        mine("p:n", version, func(c *connectPacket) { c.id, c.user = anonA, "" }),
			"store is busy":    mine("p:busy", version, nil),
			"expired":          mine("p:late", version, nil),
			"another's topic":  mine("p:n", version, func(c *connectPacket) { c.will = "devices/p/m/gone" }),
			"everyone's topic": mine("p:n", version, func(c *connectPacket) { c.will = "devices/p/n/#" }),
			"retained":         mine("p:n", version, func(c *connectPacket) { c.willRetain = true }),
			"$SYS":             mine("p:n", version, func(c *connectPacket) { c.will = "$SYS/broker/uptime" }),
			"request topic":    mine("p:n", version, func(c *connectPacket) { c.will = "signet/v1/p:n/rq" }),
			"enhanced":         mine("p:n", version, func(c *connectPacket) { c.method = "SIGNET" }),
		} {
			if c.method != "" && version == 4 {
				continue
			}
			r := f.dial()
			r.send(c.bytes())
			if kind, body, err := r.read(); err == nil && (kind != 0x20 || body[1] == 0) {
				t.Errorf("version %d, %s: packet %#x %x", version, name, kind, body)
			}
			r.nc.Close()
		}
		cut := mine("p:n", version, nil).bytes()
		for n := range len(cut) {
			r := f.dial()
			r.send(cut[:n])
			r.nc.Close()
		}
	}
	eventually(t, "they are gone", func() bool { return f.Count() == 1 })
	watcher.ping()
}

// The will of a connection that was admitted is sent for every end but its own goodbye.
func TestWillIsSent(t *testing.T) {
	f := start(t, func(c *Config, _ *fixture) { c.PacketTimeout = 50 * time.Millisecond })
	watcher := f.watch("w:w", "devices/p/n/gone")
	p := as("p:n", 5)
	p.will = "devices/p/n/gone"
	for name, end := range map[string]func(*raw){
		"cut":              func(c *raw) { c.nc.Close() },
		"malformed":        func(c *raw) { c.send([]byte{0x82, 6, 0, 1, 0, 0, 1, 'a'}) },
		"too large":        func(c *raw) { c.send([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}) },
		"half a packet":    func(c *raw) { c.send([]byte{0x30, 9, 0}) },
		"goodbye, with it": func(c *raw) { c.send([]byte{0xe0, 2, 4, 0}) },
		"taken over":       func(*raw) { f.mustConnect(as("p:n", 5)).nc.Close() },
		"ended":            func(*raw) { f.End(device(t, "p:n"), ReasonAdministrative) },
		"judged":           func(*raw) { f.Review(device(t, "p:n"), over, ReasonAdministrative, nil) },
	} {
		c := f.mustConnect(p)
		end(c)
		if n, got := watcher.message(); n != p.will || got != "last words" {
			t.Errorf("%s: %q %q", name, n, got)
		}
		eventually(t, "it is gone", func() bool { return f.Count() == 1 })
	}
	c := f.mustConnect(p)
	c.send([]byte{0xe0, 0})
	c.closed()
	watcher.ping()
}

// over is a Judge that gives up every session.
func over(s Standing) (Standing, bool) { return s, false }

// With messages in flight, too, a stranger doesn't get at them; the device itself, with its own
// token and id, goes on where it was.
func TestTakeoverInFlight(t *testing.T) {
	f := start(t, nil)
	sender := as("p:n", 5)
	sender.id = "p:n/sender"
	from := f.mustConnect(sender)
	for _, qos := range []byte{1, 2} {
		for _, version := range []byte{4, 5} {
			p := as("p:n", version)
			p.id = fmt.Sprintf("p:n/%d-%d", qos, version)
			p.dirty, p.expiry = true, 3600
			victim := f.mustConnect(p)
			victim.send(frame(0x82, []byte{0, 7}, victim.props(), str("devices/p/n/#"), []byte{qos}))
			victim.next()
			for range 3 {
				from.publish(qos<<1, "devices/p/n/secret", "unacknowledged")
				from.next()
				if qos == 2 {
					from.send([]byte{0x62, 2, 0, 9})
					from.next()
				}
			}
			if kind, _ := victim.next(); kind != 0x30|qos<<1 {
				t.Fatalf("packet %#x, want a message of QoS %d", kind, qos)
			}
			for _, thief := range []connectPacket{
				{version: version, id: p.id, dirty: true, expiry: 3600}, {version: version, id: p.id, user: "p:m", pass: "token-p:m", dirty: true},
				{version: version, id: p.id, user: "p:n", pass: "x", dirty: true},
			} {
				r, code := f.connect(thief)
				if code == 0 {
					t.Errorf("QoS %d: %+v was admitted", qos, thief)
				}
				r.closed()
			}
			victim.next() // still served: the second of the three
			again := f.dial()
			again.v = version
			again.send(p.bytes())
			if kind, body := again.next(); kind != 0x20 || body[0] != 1 || body[1] != 0 {
				t.Fatalf("packet %#x %x, want a CONNACK with the session", kind, body)
			}
			for range 3 {
				if kind, _ := again.next(); kind != 0x38|qos<<1 {
					t.Fatalf("packet %#x, want a message of QoS %d once more", kind, qos)
				}
			}
			again.ping()
			again.nc.Close()
			eventually(t, "it is gone", func() bool { return f.clients.get(p.id) == nil })
		}
	}
}

// Two that fight for a client id leave one of them and nothing else.
func TestTakeoverLoop(t *testing.T) {
	f := start(t, nil)
	for i := range 40 {
		p := as("p:n", 4+byte(i%2))
		p.dirty = i%3 == 0
		f.mustConnect(p).mustSubscribe("devices/p/n/#")
	}
	eventually(t, "one is left", func() bool { return f.Count() == 1 && f.clients.sessions() == 1 })
	if n := f.subscriptions.Len(); n != 1 {
		t.Errorf("%d subscriptions are left", n)
	}
}

// What a grant no longer covers isn't delivered, subscribed or not.
func TestGrantShrinks(t *testing.T) {
	f := start(t, nil)
	d := device(t, "p:n")
	f.gate.grants[d] = topic.Permissions{Subscribe: filters(t, "devices/#")}
	reader := f.mustConnect(as("p:n", 5))
	reader.send(frame(0x82, []byte{0, 7, 0}, str("devices/#"), []byte{1}, str("$share/g/devices/p/m/#"), []byte{0}))
	reader.next()
	from := f.mustConnect(as("p:m", 5))
	from.publish(0, "devices/p/m/x", "before")
	reader.message()
	reader.message() // as a member of the group, too
	ended := f.Review(d, func(s Standing) (Standing, bool) { s.Permissions = topic.Own(s.Device); return s, true }, ReasonAdministrative, nil)
	if ended != 0 {
		t.Errorf("%d connections were ended", ended)
	}
	for _, qos := range []byte{0, 1} {
		from.publish(qos<<1, "devices/p/m/x", "after")
	}
	from.next()
	from.ping()
	reader.ping()
	if code := reader.subscribe("devices/#"); code != 0x87 {
		t.Errorf("subscribing again: code %#x", code)
	}
	// The new grant allows more than the old in one respect, and the old subscription brings it.
	reader.publish(0, "devices/p/n/x", "its own")
	if n, got := reader.message(); n != "devices/p/n/x" || got != "its own" {
		t.Errorf("got %q %q", n, got)
	}
}

// A packet that has begun must come to its end, and a client must be heard of
// within one and a half times what it promised.
func TestSilence(t *testing.T) {
	f := start(t, func(c *Config, _ *fixture) { c.PacketTimeout = 50 * time.Millisecond })
	for _, half := range [][]byte{{0x30}, {0x30, 0x80}, {0x30, 9, 0}, {0x82, 9, 0, 1}, {0xc0}} {
		c := f.mustConnect(as("p:n", 5))
		c.send(half)
		c.ended(ReasonKeepAlive)
	}
	for _, keepAlive := range []uint16{43_691, 65_535} {
		p := as("p:n", 5)
		p.keepAlive = keepAlive
		c := f.mustConnect(p)
		for range 3 {
			c.ping()
		}
		c.nc.Close()
	}
	p := as("p:m", 5)
	p.keepAlive = 1
	c := f.mustConnect(p)
	c.ping()
	c.ended(ReasonKeepAlive)
}

func TestTooManyFilters(t *testing.T) {
	f := start(t, nil)
	for _, first := range []byte{0x82, 0xa2} {
		list := func(n int) []byte {
			parts := [][]byte{{0, 7, 0}}
			for i := range n {
				parts = append(parts, str(fmt.Sprintf("devices/p/n/%d", i)))
				if first == 0x82 {
					parts = append(parts, []byte{0})
				}
			}
			return frame(first, parts...)
		}
		c := f.mustConnect(as("p:n", 5))
		c.send(list(maxFilters))
		if kind, body := c.next(); kind != first&0xf0+0x0e && kind != 0x90 && kind != 0xb0 || len(body) != 3+maxFilters {
			t.Errorf("packet %#x %x, want an answer for each", kind, body)
		}
		c.send(list(maxFilters + 1))
		c.ended(ReasonQuota)
	}
}

// 100,000 hostile messages: no foreign one is delivered, none of theirs arrives.
func TestNothingForeignIsDelivered(t *testing.T) {
	messages := 100_000
	if testing.Short() {
		messages = 10_000
	}
	f := start(t, nil)
	for _, d := range []string{"p:a", "q:v", "p:vv"} {
		f.gate.grants[device(t, d)] = topic.Own(device(t, d))
	}
	victim := f.mustConnect(as("p:v", 5)).mustSubscribe("devices/p/v/#", "signet/v1/p:v/rs", "signet/v1/p:v/ev")
	talker := as("p:v", 5)
	talker.id = "p:v/talker"
	talks := f.mustConnect(talker)
	attackers := []*raw{f.mustConnect(connectPacket{version: 5, id: anonA}), f.mustConnect(as("p:a", 5)), f.mustConnect(as("q:v", 5)), f.mustConnect(as("p:vv", 5))}
	r := rand.New(rand.NewPCG(7, 11))
	levels := []string{"devices", "p", "v", "signet", "v1", "p:v", "rs", "ev", "rq", "#", "+", "$share", "g", "$SYS", "", "vv", "x"}
	target := func() string {
		list := make([]string, 1+r.IntN(6))
		for i := range list {
			list[i] = levels[r.IntN(len(levels))]
		}
		name := strings.Join(list, "/")
		return []string{name, "devices/p/v/" + name, "signet/v1/p:v/" + name, "$share/g/devices/p/v/" + name, "devices/p/v/x", "devices/p/v/#"}[r.IntN(6)]
	}
	for i := range messages {
		if turn := i / len(attackers); i%len(attackers) == 0 && turn > 0 && turn%freePackets == 0 { // who is nobody may say so much
			attackers[0].ping()
			attackers[0] = f.mustConnect(connectPacket{version: 5, id: fmt.Sprintf("anon-%032x", i)})
		}
		a := attackers[i%len(attackers)]
		name := target()
		switch {
		case i%50 == 0:
			if _, err := topic.ParseSubscription(name); err != nil && !errors.Is(err, topic.ErrLimit) { // no filter: that ends the connection
				name = "#"
			}
			a.send(frame(0x82, []byte{0, 7, 0}, str(name), []byte{0}))
			if kind, body := a.next(); kind != 0x90 || body[len(body)-1] < 0x80 {
				t.Fatalf("%q: packet %#x %x, want a refusal", name, kind, body)
			}
		case name == "" || strings.ContainsAny(name, "+#"): // no topic name: that ends the connection, which has tests of its own
			a.publish(0, "devices/p/v/x", "foreign")
		default:
			retain := byte(r.IntN(2))
			if a == attackers[0] {
				retain = 0 // it was told that it may not, which ends the connection
			}
			a.publish(retain, name, "foreign")
		}
		if i%1000 == 0 {
			talks.publish(0, "devices/p/v/x", "secret")
			if n, got := victim.message(); n != "devices/p/v/x" || got != "secret" {
				t.Fatalf("the victim got %q %q", n, got)
			}
		}
	}
	for _, a := range attackers {
		a.ping()
	}
	victim.ping()
}

package mqttd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/topic"
)

// A decoder that indexes past a SUBSCRIBE without its options byte ends the process, in a
// goroutine that nothing recovers.
func TestMalformedSubscribe(t *testing.T) {
	f := start(t, nil)
	for name, b := range map[string][]byte{
		"no options":              {0x82, 6, 0, 1, 0, 0, 1, 'a'},
		"empty filter no options": {0x82, 5, 0, 1, 0, 0, 0},
		"second without options":  {0x82, 10, 0, 1, 0, 0, 1, 'a', 0, 0, 1, 'b'},
		"filter too long":         {0x82, 7, 0, 1, 0, 0, 9, 'a', 0},
		"no filter":               {0x82, 3, 0, 1, 0},
		"no packet id":            {0x82, 1, 0},
		"empty":                   {0x82, 0},
		"properties too long":     {0x82, 7, 0, 1, 0x7f, 0, 1, 'a', 0},
		"properties endless":      {0x82, 7, 0, 1, 0xff, 0xff, 0xff, 0xff, 0},
		"property unknown":        {0x82, 9, 0, 1, 2, 0x01, 0, 0, 1, 'a', 0},
		"unsubscribe empty":       {0xa2, 3, 0, 1, 0},
		"unsubscribe cut":         {0xa2, 6, 0, 1, 0, 0, 2, 'a'},
		"length of five bytes":    {0x82, 0xff, 0xff, 0xff, 0xff, 0x01},
		"server's packet":         {0x90, 3, 0, 1, 0},
		"second connect":          connectPacket{version: 5, id: anonA}.bytes(),
		"reserved type":           {0x00, 0},
		"reserved options":        {0x82, 7, 0, 1, 0, 0, 1, 'a', 0xc0},
		"QoS 3 asked for":         {0x82, 7, 0, 1, 0, 0, 1, 'a', 0x03},
		"retain handling 3":       {0x82, 7, 0, 1, 0, 0, 1, 'a', 0x30},
		"no-local, shared":        frame(0x82, []byte{0, 1, 0}, str("$share/g/devices/p/n/#"), []byte{0x04}),
		"subscribe flags":         {0x80, 7, 0, 1, 0, 0, 1, 'a', 0},
		"unsubscribe flags":       {0xa0, 6, 0, 1, 0, 0, 1, 'a'},
		"ping flags":              {0xc1, 0},
		"publish of QoS 3":        frame(0x36, str("devices/p/n/x"), []byte{0, 9, 0}),
		"publish release flags":   {0x60, 2, 0, 9},
		"alias without a topic":   frame(0x30, str(""), []byte{3, 0x23, 0, 1}),
		"publish to a wildcard":   frame(0x30, str("devices/p/n/#"), []byte{0}),
		"publish without a topic": frame(0x30, str(""), []byte{0}),
		"packet id zero":          frame(0x32, str("devices/p/n/x"), []byte{0, 0, 0}),
	} {
		t.Run(name, func(t *testing.T) {
			c := f.mustConnect(as("p:n", 5))
			c.t = t
			c.send(b)
			kind, body := c.next()
			if kind != 0xe0 || len(body) == 0 || !bytes.Contains([]byte{0x81, 0x82, 0x90, 0x94}, body[:1]) {
				t.Errorf("got packet %#x %x, want a DISCONNECT for a malformed packet, a violation, a topic or an alias", kind, body)
			}
			c.closed()
		})
	}
	eventually(t, "nothing is left of them", func() bool {
		return f.Count() == 0 && f.clients.sessions() == 0
	})
	f.mustConnect(as("p:n", 5)).ping()
}

// CONNECTs that say two things at once, and 3.1.1's own options.
func TestMalformedConnect(t *testing.T) {
	f := start(t, nil)
	for _, version := range []byte{4, 5} {
		p := as("p:n", version)
		p.will = "devices/p/n/gone"
		for name, change := range map[string]func([]byte){
			"reserved flag":             func(b []byte) { b[9] |= 0x01 },
			"will of QoS 3":             func(b []byte) { b[9] |= 0x18 },
			"a will without its flag":   func(b []byte) { b[9] = b[9]&^0x04 | 0x08 },
			"password without the user": func(b []byte) { b[9] &^= 0x80 },
			"another protocol":          func(b []byte) { b[4] = 'X' },
			"level 0":                   func(b []byte) { b[8] = 0 },
			"level 6":                   func(b []byte) { b[8] = 6 },
			"header flags":              func(b []byte) { b[0] |= 2 },
		} {
			b := p.bytes() // its length takes one byte
			change(b)
			r := f.dial()
			r.send(b)
			if kind, body, err := r.read(); err == nil && (kind != 0x20 || body[1] == 0) {
				t.Errorf("version %d, %s: packet %#x %x", version, name, kind, body)
			}
			r.nc.Close()
		}
	}
	for _, flag := range []byte{0x08, 0x10, 0x20} { // a will's QoS or retaining, without a will
		b := as("p:n", 5).bytes()
		b[9] |= flag
		r := f.dial()
		r.send(b)
		if kind, body := r.next(); kind != 0x20 || body[1] != 0x81 {
			t.Errorf("flag %#x: packet %#x %x", flag, kind, body)
		}
		r.closed()
	}
	c := f.mustConnect(as("p:n", 4))
	c.send(frame(0x82, []byte{0, 7}, str("devices/p/n/#"), []byte{0x04})) // no options in 3.1.1
	c.ended(ReasonMalformed)
	eventually(t, "nothing is left", func() bool { return f.Count() == 0 })
}

// A panic that the checks don't know, deep inside the handling of packets or before
// its CONNACK, ends one connection and leaves nothing behind.
func TestPanicIsContained(t *testing.T) {
	f := start(t, func(c *Config, fx *fixture) {
		c.Log = slog.New(panicky{c.Log.Handler()})
		c.Gate = panickyGate{fx.gate}
	})
	c := f.mustConnect(as("p:n", 5)).mustSubscribe("devices/p/n/x")
	c.send([]byte{0x00, 0})
	c.closed()
	early := f.dial()
	early.send(as("p:panic", 5).bytes())
	early.closed()
	eventually(t, "a panic is logged", func() bool { return strings.Contains(f.logs.String(), "panic in the MQTT server") }) // the second is summed
	eventually(t, "nothing is left of them", func() bool { return f.Count() == 0 && f.clients.sessions() == 0 })
	if n := f.subscriptions.Len(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	f.logs.mu.Lock()
	f.logs.b.Reset()
	f.logs.mu.Unlock()
	f.mustConnect(as("p:n", 5)).ping()
}

type panicky struct{ slog.Handler }

func (p panicky) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "mqtt packet refused" {
		panic("as asked")
	}
	return p.Handler.Handle(ctx, r)
}

type panickyGate struct{ Gate }

func (g panickyGate) Admit(ctx context.Context, c Connect) (Standing, error) {
	if c.UserName == "p:panic" {
		panic("as asked")
	}
	return g.Gate.Admit(ctx, c)
}

// No will goes where its device may not publish.
func TestWillIsChecked(t *testing.T) {
	f := start(t, withGenerousGate)
	for _, c := range []struct {
		will   string
		retain bool
		want   byte
	}{
		{"devices/p/n/gone", false, 0}, {"devices/p/m/gone", false, 0x87}, {"devices/p/n/gone", true, 0x9a},
		{"signet/v1/p:n/rq", false, 0x87}, {"signet/v1/p:m/rs", false, 0x87}, {"$SYS/x", false, 0x87}, {"$share/g/x", false, 0x87},
	} {
		p := as("p:n", 5)
		p.will, p.willRetain = c.will, c.retain
		if r, code := f.connect(p); code != c.want {
			t.Errorf("will %q (retain %v): code %#x, want %#x", c.will, c.retain, code, c.want)
		} else if code != 0 {
			r.closed()
		}
	}
	// The protocol's own topics take no will, whatever the grant says.
	f.gate.mu.Lock()
	f.gate.grants[device(t, "p:g")] = topic.Permissions{Publish: filters(t, "#", "signet/#"), Retain: true}
	f.gate.mu.Unlock()
	for will, want := range map[string]byte{"signet/v1/p:g/rq": 0x87, "signet/v1/p:m/rs": 0x87, "signet/x": 0x87, "devices/p/m/gone": 0} {
		p := as("p:g", 5)
		p.will = will
		if _, code := f.connect(p); code != want {
			t.Errorf("will %q with a grant for all: code %#x, want %#x", will, code, want)
		}
	}
	for _, name := range []string{"devices/p/n/x", "signet/v1/" + anonA + "/rq", "signet/v1/" + anonA + "/rs"} {
		for version, want := range map[byte]byte{4: 5, 5: 0x87} {
			if _, code := f.connect(connectPacket{version: version, id: anonA, will: name}); code != want {
				t.Errorf("anonymous will %q: code %#x, want %#x", name, code, want)
			}
		}
	}
}

// A grant that shrank since the CONNECT counts for the will.
func TestWillIsCheckedAgain(t *testing.T) {
	f := start(t, nil)
	watcher := f.watch("w:w", "#")
	p := as("p:n", 5)
	p.will = "devices/p/n/gone"
	c := f.mustConnect(p)
	if err := f.Upgrade("p:n", Standing{Device: device(t, "p:n")}); err != nil {
		t.Fatal(err)
	}
	c.nc.Close()
	eventually(t, "it is gone", func() bool { return f.clients.get("p:n") == nil })
	watcher.ping()
}

// watch connects a device that may read a filter.
func (f *fixture) watch(d, filter string) *raw {
	f.t.Helper()
	f.gate.mu.Lock()
	f.gate.grants[device(f.t, d)] = topic.Permissions{Subscribe: filters(f.t, filter)}
	f.gate.mu.Unlock()
	return f.mustConnect(as(d, 5)).mustSubscribe(filter)
}

// Nobody waits for a CONNECT for ever.
func TestDeadlineBeforeConnect(t *testing.T) {
	inBubble(t, func(c *Config) { c.ConnectTimeout = time.Minute }, func(b *bubble) {
		silent, slow := b.open(packet.V5, nil), b.open(packet.V5, connectPacket{version: 5, id: anonA}.bytes()[:9])
		c := b.join(anonA, stranger) // who came in time stays beyond it
		time.Sleep(time.Minute - time.Millisecond)
		silent.want()
		slow.want()
		time.Sleep(time.Millisecond)
		silent.want("closed")
		slow.want("closed")
		c.want()
	})
}

// Nothing is reserved for what a header announces.
func TestPacketSize(t *testing.T) {
	f := start(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 20 {
		c := f.dial()
		c.send([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
		c.closed()
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("20 headers made the server allocate %d MiB", grown>>20)
	}
	announce := func(n int) []byte { return frame(0x30, make([]byte, n))[:5] }
	anon := f.mustConnect(connectPacket{version: 5, id: anonA})
	anon.send(announce(maxAnonymousPacket + 1))
	anon.ended(ReasonTooLarge)
	c := f.mustConnect(as("p:n", 5))
	c.publish(0, "devices/p/n/x", strings.Repeat("x", 60<<10))
	c.ping()
	c.send(announce(64<<10 + 1))
	c.ended(ReasonTooLarge)
}

// TestConnectSize: a CONNECT that anybody may send has room for a client id, and one with a
// password for a long one; more is cut off as soon as that is seen, with nothing kept for it.
func TestConnectSize(t *testing.T) {
	f := start(t, nil)
	long := func(with byte, n int) []byte {
		return frame(0x10, str("MQTT"), []byte{4, 2 | with, 0, 60}, make([]byte, n-10))
	}
	f.dial().send(long(0xc0, maxConnect)[:20]) // held
	for what, begin := range map[string][]byte{
		"without a password": long(0, maxConnectAlone+1)[:12],
		"with one":           long(0xc0, maxConnect+1)[:4],
	} {
		c := f.dial()
		c.send(begin)
		c.closed()
		t.Log(what)
	}
	alone := connectPacket{version: 4, id: anonA, will: strings.Repeat("w", 900)}
	if n := len(alone.bytes()); n < maxConnectAlone-100 || n > maxConnectAlone {
		t.Fatalf("%d bytes", n)
	}
	f.connect(alone) // is answered
	pass := as("p:n", 5)
	pass.will, pass.expiry = "devices/p/n/x"+strings.Repeat("w", 7<<10), 0
	f.connect(pass)
}

// A session is not for whoever names its client id.
func TestTakeover(t *testing.T) {
	f := start(t, nil)
	victim := f.mustConnect(as("p:n", 5)).mustSubscribe("devices/p/n/#")
	suffixed := as("p:n", 5)
	suffixed.id = "p:n/2"
	second := f.mustConnect(suffixed)
	for _, thief := range []connectPacket{
		{version: 5, id: "p:n"}, {version: 5, id: "p:n/2"}, {version: 5, id: "p:n", user: "p:m", pass: "token-p:m"},
		{version: 5, id: "p:n/3", user: "p:m", pass: "token-p:m"}, {version: 5, id: anonA, user: "p:m", pass: "token-p:m"},
	} {
		if _, code := f.connect(thief); code != 0x85 {
			t.Errorf("as %q with the token of %q: code %#x, want 0x85", thief.id, thief.user, code)
		}
	}
	for _, c := range []connectPacket{{version: 5, id: "p:n", user: "p:n", pass: "x"}, {version: 5, id: ""}, {version: 5, id: "anon-1"}, {version: 5, id: "x"}} {
		if _, code := f.connect(c); code == 0 {
			t.Errorf("admitted %+v", c)
		}
	}
	if _, code := f.connect(connectPacket{version: 4, id: "p:n"}); code != 2 {
		t.Errorf("version 3.1.1: code %#x, want 2", code)
	}
	victim.ping()
	second.ping()

	// The device itself may, and inherits nothing.
	again := as("p:n", 5)
	again.dirty, again.expiry = true, 3600
	r := f.dial()
	r.v = 5
	r.send(again.bytes())
	kind, body := r.next()
	if kind != 0x20 || body[0] != 0 || body[1] != 0 {
		t.Fatalf("got packet %#x %x, want a CONNACK without a session", kind, body)
	}
	victim.ended(ReasonTakenOver)
	second.publish(0, "devices/p/n/x", "for whoever subscribed")
	second.ping()
	r.ping()
	second.ping()
	if n := f.Count(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// What waited for a client that went isn't kept for the next, where the
// session was not to outlive its connection.
func TestNothingOutlivesAConnection(t *testing.T) {
	f := start(t, nil)
	sender := as("p:n", 4)
	sender.id = "p:n/sender"
	from := f.mustConnect(sender)
	for _, version := range []byte{4, 5} {
		p := as("p:n", version)
		c := f.mustConnect(p)
		c.send(frame(0x82, []byte{0, 7}, c.props(), str("devices/p/n/#"), []byte{1}))
		c.next()
		from.publish(2, "devices/p/n/secret", "unacknowledged")
		if kind, _ := from.next(); kind != 0x40 {
			t.Fatalf("packet %#x, want a PUBACK", kind)
		}
		if kind, _ := c.next(); kind != 0x32 {
			t.Fatalf("packet %#x, want a message of QoS 1", kind)
		}
		c.nc.Close()
		eventually(t, "it is gone", func() bool { return f.clients.get("p:n") == nil })
		p.dirty = true
		again := f.mustConnect(p)
		again.ping()
		again.nc.Close()
		eventually(t, "it is gone", func() bool { return f.clients.get("p:n") == nil })
		f.End(device(t, "p:n"), ReasonAdministrative)
		from = f.mustConnect(sender)
	}
}

// Permission is asked for the filter, without "$share/g/", and the prefix is taken in no other case.
func TestSharedFiltersAreStripped(t *testing.T) {
	f := start(t, nil)
	c := f.mustConnect(as("p:n", 5))
	for filter, want := range map[string]byte{
		"$share/g/devices/p/n/#": 0, "$share/g/devices/p/m/#": 0x87, "$share/g/#": 0x87, "$share/g/devices/p/#": 0x87,
		"$share/g/$share/h/devices/p/m/x": 0x8f, "$SHARE/g/devices/p/m/#": 0x8f, "$SHARE/g/devices/p/n/#": 0x8f,
		"$share/g/signet/v1/p:n/rs": 0x87, "$share/g/signet/v1/p:m/rq": 0x87, "$share/devices/p/n/#": 0x87,
	} {
		if code := c.subscribe(filter); code != want {
			t.Errorf("%q: code %#x, want %#x", filter, code, want)
		}
	}
}

// A literal grant does not match what is below it.
func TestLiteralGrant(t *testing.T) {
	f := start(t, nil)
	f.gate.grants[device(t, "p:n")] = topic.Permissions{Publish: filters(t, "allowed"), Subscribe: filters(t, "allowed")}
	c := f.mustConnect(as("p:n", 5))
	if c.subscribe("allowed") != 0 || c.subscribe("allowed/secret") != 0x87 || c.subscribe("allowed/#") != 0x87 {
		t.Error("a literal grant is not literal")
	}
}

// An alias stands for its topic from one message to the next, and each of them needs the
// permission; none is known beyond the connection, and there are no more than was said.
func TestTopicAliases(t *testing.T) {
	f := start(t, nil)
	watcher := f.watch("w:w", "devices/#")
	alias := func(n byte, name, payload string) []byte {
		return frame(0x30, str(name), []byte{3, 0x23, 0, n}, []byte(payload))
	}
	c := f.mustConnect(as("p:n", 5))
	c.send(alias(1, "devices/p/n/x", "1"))
	c.send(alias(2, "devices/p/m/x", "not its own"))
	c.send(alias(2, "", "nor by its alias"))
	c.send(alias(1, "", "2"))
	c.send(alias(1, "devices/p/n/y", "3"))
	c.send(alias(1, "", "4"))
	for i, want := range []string{"x", "x", "y", "y"} {
		if n, got := watcher.message(); n != "devices/p/n/"+want || got != fmt.Sprint(i+1) {
			t.Errorf("got %q %q", n, got)
		}
	}
	c.send(alias(maxAliases, "devices/p/n/x", "5"))
	watcher.message()
	c.send(alias(maxAliases+1, "devices/p/n/x", "6"))
	c.ended(0x94)
	again := f.mustConnect(as("p:n", 5))
	again.send(alias(1, "", "of another connection"))
	again.ended(ReasonProtocol)
	watcher.ping()
}

func TestLogsHoldNoPacket(t *testing.T) {
	f := start(t, nil)
	const secret = "s3cret-payload"
	_, _ = f.connect(connectPacket{version: 5, id: "p:n", user: "p:n", pass: secret})
	p := as("p:n", 5)
	p.will = "devices/p/n/w"
	c := f.mustConnect(p)
	c.publish(2, "devices/p/m/"+secret, secret)
	c.next()
	c.send(frame(0x32, str("devices/p/n/"+secret), []byte{0, 0, 0}, []byte(secret))) // no packet id
	c.ended(ReasonProtocol)
	eventually(t, "it is gone", func() bool { return f.Count() == 0 })
	if logs := f.logs.String(); strings.Contains(logs, secret) || strings.Contains(logs, strings.Trim(fmt.Sprint([]byte(secret)), "[]")) || strings.Contains(logs, "token-p:n") || strings.Contains(logs, "last words") {
		t.Errorf("the log holds a packet:\n%s", logs)
	}
}

func TestTooManySubscriptions(t *testing.T) {
	f := start(t, nil)
	c := f.mustConnect(as("p:n", 5))
	for i := range maxSubscriptions {
		c.mustSubscribe(fmt.Sprintf("devices/p/n/%d", i))
	}
	c.send(frame(0x82, []byte{0, 7, 0}, str("devices/p/n/more"), []byte{0}))
	c.ended(ReasonQuota)
}

func TestTooManyConnections(t *testing.T) {
	f := start(t, func(c *Config, _ *fixture) { c.Limits.Conns = 1 })
	first := f.mustConnect(as("p:n", 5))
	f.dial().closed()
	first.ping()
}

// TestLogNamesTheDevice: a device's client may have any id, so a line about it names the device.
func TestLogNamesTheDevice(t *testing.T) {
	f := start(t, nil)
	of := func(c connectPacket) func() string {
		r := f.mustConnect(c)
		r.send([]byte{0x00, 0})
		r.closed()
		return func() string {
			for line := range strings.Lines(f.logs.String()) {
				if strings.Contains(line, "mqtt connection ended") && strings.Contains(line, "client="+c.id+" ") {
					return line
				}
			}
			return ""
		}
	}
	dashboard := as("p:n", 4)
	dashboard.id = "dashboard"
	line := of(dashboard)
	eventually(t, "the end is logged, with the device", func() bool { return strings.Contains(line(), " device=p:n") })
	if logs := f.logs.String(); !strings.Contains(logs, `msg="mqtt packet refused" client=dashboard remote=127.0.0.1:`) || !strings.Contains(logs, " device=p:n error=") {
		t.Error(logs)
	}
}

// A client that doesn't read must not hold up those that write to it.
func TestStalledSubscriber(t *testing.T) {
	f := start(t, func(c *Config, _ *fixture) { c.WriteTimeout = 100 * time.Millisecond })
	stalled := as("p:n", 5)
	stalled.id = "p:n/stalled"
	s := f.mustConnect(stalled)
	s.send(frame(0x82, []byte{0, 7, 0}, str("devices/p/n/#"), []byte{1}))
	s.next()
	if tcp, ok := s.nc.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10)
	}
	c := f.mustConnect(as("p:n", 5))
	for range 400 {
		c.publish(0, "devices/p/n/x", strings.Repeat("x", 60<<10))
	}
	c.ping()
	f.End(device(t, "p:n"), ReasonAdministrative)
	c.ended(ReasonAdministrative)
	eventually(t, "the stalled one is gone too", func() bool { return f.Count() == 0 })
}

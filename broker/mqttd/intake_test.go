package mqttd

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/signetd/signet/protocol/topic"
)

// An anyAddr is an address by its text.
type anyAddr string

func (anyAddr) Network() string  { return "any" }
func (a anyAddr) String() string { return string(a) }

func TestSourceOf(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7:1234": "192.0.2.7/32", "[::ffff:192.0.2.7]:1": "192.0.2.7/32", "127.0.0.1:9": "127.0.0.1/32",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64", "[2001:db8:1:2::]:80": "2001:db8:1:2::/64", "[fe80::1%eth0]:80": "fe80::/64",
		"pipe": "invalid Prefix", "": "invalid Prefix", "websocket/unknown-addr": "invalid Prefix",
	} {
		if got := sourceOf(anyAddr(in)); got.String() != want {
			t.Errorf("%q: %v, want %s", in, got, want)
		}
	}
	if sourceOf(nil).IsValid() {
		t.Error("no address has a source")
	}
}

func TestLimits(t *testing.T) {
	l, err := Limits{}.withDefaults()
	if want := (Limits{10_000, 5000, 6000, 500, 5000}); err != nil || l != want {
		t.Errorf("the defaults: %+v, %v, want %+v", l, err, want)
	}
	if l, err = (Limits{Conns: 1}).withDefaults(); err != nil || l.Strangers != 1 || l.PerSource != 1 {
		t.Errorf("of one: %+v, %v", l, err)
	}
	for _, bad := range []Limits{{Conns: -1}, {Burst: -1}} {
		if _, err := bad.withDefaults(); err == nil {
			t.Errorf("%+v: accepted", bad)
		}
	}
}

// gates counts connections of made-up addresses in and out.
type gates struct {
	t *testing.T
	intake
	now time.Time
}

func newGates(t *testing.T, l Limits) *gates {
	t.Helper()
	l, err := l.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return &gates{t, intake{Limits: l}, time.Unix(1_000_000, 0)}
}

func (g *gates) from(addr string) (c, out *conn, err error) {
	c = &conn{source: sourceOf(anyAddr(addr + ":1"))}
	out, err = g.enter(c, g.now)
	return c, out, err
}

func (g *gates) must(addr string) *conn {
	g.t.Helper()
	c, out, err := g.from(addr)
	if err != nil || out != nil {
		g.t.Fatalf("from %s: dropped %p, %v", addr, out, err)
	}
	return c
}

func TestRatePerSource(t *testing.T) {
	g := newGates(t, Limits{Rate: 2, Burst: 3})
	refused := func(addr string) {
		t.Helper()
		if _, _, err := g.from(addr); err != errTooFast {
			t.Errorf("from %s: %v, want too fast", addr, err)
		}
	}
	for range 3 {
		g.leave(g.must("192.0.2.1")) // gone again: it counts nevertheless
	}
	refused("192.0.2.1")
	g.must("192.0.2.2")
	g.now = g.now.Add(500 * time.Millisecond)
	g.must("192.0.2.1")
	refused("192.0.2.1")
	g.now = g.now.Add(-time.Hour) // the clock is set back
	refused("192.0.2.1")
	g.now = g.now.Add(24 * time.Hour)
	for i := range 3 {
		g.must(fmt.Sprintf("[2001:db8::%x]", i)) // one line's addresses
		g.must("192.0.2.1")
	}
	refused("[2001:db8::ffff:1]")
	refused("192.0.2.1")
	g.must("[2001:db8:0:1::1]")
}

func TestPerSource(t *testing.T) {
	g := newGates(t, Limits{PerSource: 2})
	first := g.must("192.0.2.1")
	g.admitted(g.must("192.0.2.1")) // a device's counts too
	if _, _, err := g.from("192.0.2.1"); err != errFullSource {
		t.Errorf("the third: %v", err)
	}
	g.must("192.0.2.2")
	g.leave(first)
	g.leave(first) // once
	g.must("192.0.2.1")
	if _, _, err := g.from("192.0.2.1"); err != errFullSource {
		t.Errorf("the third again: %v", err)
	}
	for range 10 { // who knows where from
		if _, _, err := g.from("pipe"); err != nil {
			t.Error(err)
		}
	}
}

// When strangers are too many, the oldest makes room; a device's connection never does.
func TestOldestStrangerMakesRoom(t *testing.T) {
	g := newGates(t, Limits{Conns: 4, Strangers: 2, PerSource: -1})
	dev, a, b := g.must("192.0.2.1"), g.must("192.0.2.1"), (*conn)(nil)
	g.admitted(dev)
	b = g.must("192.0.2.2")
	c, out, err := g.from("192.0.2.3")
	if err != nil || out != a {
		t.Fatalf("dropped %p, %v, want the oldest stranger", out, err)
	}
	g.admitted(a) // too late: it is on its way out
	g.leave(a)
	g.admitted(b)
	g.admitted(c)
	d := g.must("192.0.2.4")
	if _, out, err = g.from("192.0.2.5"); err != nil || out != d {
		t.Errorf("full with one stranger: dropped %p, %v, want it", out, err)
	}
	if g.open != 4 || g.strangers.Len() != 1 {
		t.Errorf("%d open, %d strangers", g.open, g.strangers.Len())
	}
	g.admitted(g.strangers.Front().Value.(*conn))
	if _, _, err = g.from("192.0.2.6"); err != errFull {
		t.Errorf("full of devices: %v", err)
	}
}

// Sources without number cost no memory without bound, and none of those with a
// connection is forgotten.
func TestSourcesAreBounded(t *testing.T) {
	g := newGates(t, Limits{Burst: 2})
	g.must("192.0.2.1")
	for i := range 3 * maxSources {
		c := &conn{source: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
		if _, err := g.enter(c, g.now); err != nil {
			t.Fatal(err)
		}
		g.leave(c)
	}
	if n := len(g.sources); n > maxSources {
		t.Errorf("%d sources are remembered", n)
	}
	if s := g.sources[sourceOf(anyAddr("192.0.2.1:1"))]; s == nil || s.open != 1 {
		t.Errorf("the one with a connection: %+v", s)
	}
}

// T-34: sockets that say nothing, or one byte at a time, keep nobody out: neither
// a device with a token nor a stranger who wants one.
func TestSlowSocketsKeepNobodyOut(t *testing.T) {
	const slow = 500
	f := start(t, func(c *Config, _ *fixture) { c.Limits = Limits{Conns: 200, Strangers: 100, PerSource: -1} })
	before := f.mustConnect(as("p:before", 5))
	half := connectPacket{version: 5, id: anonA}.bytes()[:7]
	var sockets []net.Conn
	defer func() {
		for _, nc := range sockets {
			nc.Close()
		}
	}()
	for i := range slow {
		nc, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, nc)
		if i%2 == 0 {
			_, _ = nc.Write(half[:1+i%len(half)])
		}
	}
	for i := range 20 {
		f.mustConnect(as(fmt.Sprintf("p:good-%d", i), 5)).ping()
		anon := f.mustConnect(connectPacket{version: 5, id: "anon-" + fmt.Sprintf("%032x", i)}).mustSubscribe("signet/v1/" + "anon-" + fmt.Sprintf("%032x", i) + "/rs")
		anon.publish(0, "signet/v1/anon-"+fmt.Sprintf("%032x", i)+"/rq", "x")
		if _, got := anon.message(); got != "re:x" {
			t.Errorf("got %q", got)
		}
	}
	before.ping()
	eventually(t, "the oldest were dropped", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.open) <= 200 && f.intake.strangers.Len() <= 100
	})
	newRaw(t, sockets[0]).closed()
}

// An anonymous connection that makes room hears why; one that was upgraded stays.
func TestAnonymousMakesRoom(t *testing.T) {
	f := start(t, func(c *Config, _ *fixture) { c.Limits.Strangers = 2 })
	own := f.mustConnect(connectPacket{version: 5, id: anonA})
	d := device(t, "p:n")
	if err := f.Upgrade(anonA, Session{Device: d, Grant: topic.DefaultGrant(d)}); err != nil {
		t.Fatal(err)
	}
	oldest := f.mustConnect(connectPacket{version: 5, id: anonB})
	old := f.mustConnect(connectPacket{version: 4, id: "anon-" + strings.Repeat("c3", 16)})
	f.mustConnect(connectPacket{version: 5, id: "anon-" + strings.Repeat("d4", 16)}).ping()
	oldest.ended(ReasonBusy)
	f.mustConnect(as("p:m", 5)).ping() // it was a stranger for a moment
	old.closed()
	own.ping()
}

// A WebSocket's client is its HTTP request's: limited and named like any other.
func TestWebSocketKnowsItsClient(t *testing.T) {
	f := start(t, func(c *Config, _ *fixture) { c.Limits = Limits{PerSource: 1} })
	web := serveWeb(t, f)
	dial := func() *raw {
		t.Helper()
		ws, _, err := websocket.Dial(t.Context(), web.URL, &websocket.DialOptions{HTTPClient: web.Client(), Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Fatal(err)
		}
		return newRaw(t, websocket.NetConn(t.Context(), ws, websocket.MessageBinary))
	}
	c := dial()
	c.send(as("p:n", 4).bytes())
	if kind, body := c.next(); kind != 0x20 || body[1] != 0 {
		t.Fatalf("packet %#x %x", kind, body)
	}
	if got := f.clients.get("p:n").RemoteAddr().String(); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("its address is %q", got)
	}
	dial().closed()
	c.ping()
}

func TestTooFastFromOneSource(t *testing.T) {
	f := start(t, func(c *Config, _ *fixture) { c.Limits = Limits{Rate: 1e-6, Burst: 2} })
	first, second := f.mustConnect(as("p:n", 5)), f.mustConnect(as("p:m", 5))
	f.dial().closed()
	first.ping()
	second.ping()
}

package intake

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestSource(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7:1234": "192.0.2.7/32", "[::ffff:192.0.2.7]:1": "192.0.2.7/32", "127.0.0.1:9": "127.0.0.1/32",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64", "[2001:db8:1:2::]:80": "2001:db8:1:2::/64", "[fe80::1%eth0]:80": "fe80::/64",
		"pipe": "invalid Prefix", "": "invalid Prefix", "websocket/unknown-addr": "invalid Prefix",
	} {
		if got := Source(in); got.String() != want {
			t.Errorf("%q: %v, want %s", in, got, want)
		}
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
	*Intake
	now time.Time
}

func newGates(t *testing.T, l Limits) *gates {
	t.Helper()
	in, err := New(l)
	if err != nil {
		t.Fatal(err)
	}
	return &gates{t, in, time.Unix(1_000_000, 0)}
}

func (g *gates) from(addr string) (c, out *Entry, err error) {
	c = NewEntry(addr+":1", nil)
	out, err = g.Enter(c, g.now)
	return c, out, err
}

func (g *gates) must(addr string) *Entry {
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
		if _, _, err := g.from(addr); err != ErrTooFast {
			t.Errorf("from %s: %v, want too fast", addr, err)
		}
	}
	for range 3 {
		g.Leave(g.must("192.0.2.1")) // gone again: it counts nevertheless
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
	g.Admitted(g.must("192.0.2.1")) // a device's counts too
	if _, _, err := g.from("192.0.2.1"); err != ErrFullSource {
		t.Errorf("the third: %v", err)
	}
	g.must("192.0.2.2")
	g.Leave(first)
	g.Leave(first) // once
	g.must("192.0.2.1")
	if _, _, err := g.from("192.0.2.1"); err != ErrFullSource {
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
	dev, a, b := g.must("192.0.2.1"), g.must("192.0.2.1"), (*Entry)(nil)
	g.Admitted(dev)
	b = g.must("192.0.2.2")
	c, out, err := g.from("192.0.2.3")
	if err != nil || out != a {
		t.Fatalf("dropped %p, %v, want the oldest stranger", out, err)
	}
	g.Admitted(a) // too late: it is on its way out
	g.Leave(a)
	g.Admitted(b)
	g.Admitted(c)
	d := g.must("192.0.2.4")
	if _, out, err = g.from("192.0.2.5"); err != nil || out != d {
		t.Errorf("full with one stranger: dropped %p, %v, want it", out, err)
	}
	if g.open != 4 || g.strangers.Len() != 1 {
		t.Errorf("%d open, %d strangers", g.open, g.strangers.Len())
	}
	g.Admitted(g.strangers.Front().Value.(*Entry))
	if _, _, err = g.from("192.0.2.6"); err != ErrFull {
		t.Errorf("full of devices: %v", err)
	}
}

// Sources without number cost no memory without bound, and none of those with a
// connection is forgotten.
func TestSourcesAreBounded(t *testing.T) {
	g := newGates(t, Limits{Burst: 2})
	g.must("192.0.2.1")
	for i := range 3 * maxSources {
		c := &Entry{source: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
		if _, err := g.Enter(c, g.now); err != nil {
			t.Fatal(err)
		}
		g.Leave(c)
	}
	if n := len(g.sources); n > maxSources {
		t.Errorf("%d sources are remembered", n)
	}
	if s := g.sources[Source("192.0.2.1:1")]; s == nil || s.open != 1 {
		t.Errorf("the one with a connection: %+v", s)
	}
}

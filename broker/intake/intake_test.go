package intake

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/ident"
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
	if want := (Limits{10_000, 5000, 6000, 500, 5000, 8, 9000}); err != nil || l != want {
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
	at  time.Time
	out *Entry // the last that had to make room
}

func newGates(t *testing.T, l Limits) *gates {
	t.Helper()
	in, err := New(l)
	if err != nil {
		t.Fatal(err)
	}
	g := &gates{t: t, Intake: in, at: time.Unix(1_000_000, 0)}
	in.now = func() time.Time { return g.at }
	return g
}

// from counts one in, and gives who had to make room for it.
func (g *gates) from(addr string) (c, out *Entry, err error) {
	g.out = nil
	c, err = g.Enter(addr+":1", func(error) { g.out = c })
	return c, g.out, err
}

// admit makes one a device's.
func (g *gates) admit(e *Entry, device string) {
	g.t.Helper()
	d, err := ident.ParseDevice(device)
	if err != nil {
		g.t.Fatal(err)
	}
	makeRoom, err := e.Admitted(d)
	if err != nil {
		g.t.Fatalf("%s: %v", device, err)
	}
	makeRoom()
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
		g.must("192.0.2.1").Leave() // gone again: it counts nevertheless
	}
	refused("192.0.2.1")
	g.must("192.0.2.2")
	g.at = g.at.Add(500 * time.Millisecond)
	g.must("192.0.2.1")
	refused("192.0.2.1")
	g.at = g.at.Add(-time.Hour) // the clock is set back
	refused("192.0.2.1")
	g.at = g.at.Add(24 * time.Hour)
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
	g.admit(g.must("192.0.2.1"), "p:a") // a device's counts too
	if _, _, err := g.from("192.0.2.1"); err != ErrFullSource {
		t.Errorf("the third: %v", err)
	}
	g.must("192.0.2.2")
	first.Leave()
	first.Leave() // once
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
	g.admit(dev, "p:dev")
	b = g.must("192.0.2.2")
	c, out, err := g.from("192.0.2.3")
	if err != nil || out != a {
		t.Fatalf("dropped %p, %v, want the oldest stranger", out, err)
	}
	g.admit(a, "p:a") // too late: it is on its way out
	a.Leave()
	g.admit(b, "p:b")
	g.admit(c, "p:c")
	d := g.must("192.0.2.4")
	if _, out, err = g.from("192.0.2.5"); err != nil || out != d {
		t.Errorf("full with one stranger: dropped %p, %v, want it", out, err)
	}
	if g.open != 4 || g.strangers.Len() != 1 {
		t.Errorf("%d open, %d strangers", g.open, g.strangers.Len())
	}
	g.admit(g.strangers.Front().Value.(*Entry), "p:d")
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
		c := g.must(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String())
		c.Leave()
	}
	if n := len(g.sources); n > maxSources {
		t.Errorf("%d sources are remembered", n)
	}
	if s := g.sources[Source("192.0.2.1:1")]; s == nil || s.open != 1 {
		t.Errorf("the one with a connection: %+v", s)
	}
}

// TestListener: the limits hold for who comes, who goes makes room once, and one that
// another counts from now on no longer counts here although it is open.
func TestListener(t *testing.T) {
	in, err := New(Limits{Conns: 2, Strangers: -1, PerSource: -1, Rate: -1})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := in.Listen(tcp, ignore)
	defer ln.Close()
	accept := func() (net.Conn, *Conn) {
		t.Helper()
		client, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		return client, server.(*Conn)
	}
	first, a := accept()
	_, b := accept()
	_, _ = accept()
	if n, err := first.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the oldest is still open: %d, %v", n, err)
	}
	if err := errors.Join(b.Close(), b.Conn.Close()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed, and its own connection is not: %v", err)
	}
	a.Close() // counted out already
	last, d := accept()
	if in.open != 2 || in.Strangers() != 2 {
		t.Errorf("%d open, %d strangers, want two of each", in.open, in.Strangers())
	}
	d.Leave()
	accept()
	if in.open != 2 {
		t.Errorf("%d open, want 2", in.open)
	}
	if _, err := d.Write([]byte{1}); err != nil {
		t.Error(err)
	}
	if _, err := last.Read(make([]byte, 1)); err != nil {
		t.Errorf("it left and was ended: %v", err)
	}
}

func ignore(Cause, string, error) {}

// TestRefusedAreClosed: who may not come in is closed without a word, and the
// Listener goes on.
func TestRefusedAreClosed(t *testing.T) {
	in, err := New(Limits{PerSource: 1})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := in.Listen(tcp, ignore)
	var clients []net.Conn
	for range 2 {
		nc, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		clients = append(clients, nc)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	done := make(chan error, 1)
	go func() { _, err := ln.Accept(); done <- err }()
	if n, err := clients[1].Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the second of one source: %d, %v", n, err)
	}
	ln.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the end: %v", err)
	}
}

package hook

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// gated is a gate whose clock stands still, and hooks of pools a and b.
type gated struct {
	*gate
	last byte // of the subject that who gave
	t    *testing.T
	at   time.Time
}

func newGated(t *testing.T) *gated {
	g := &gated{t: t, at: time.Unix(0, 0)}
	g.gate = newGate(Limits{}, func() time.Time { return g.at })
	return g
}

// who gives a further device that has proved itself.
func (g *gated) who() ident.UUID {
	g.last++
	return ident.UUID{0: 1, 15: g.last}
}

func (g *gated) hook(pool, name string) *broker.Hook {
	g.t.Helper()
	p, err := ident.ParsePool(pool)
	if err != nil {
		g.t.Fatal(err)
	}
	return &broker.Hook{Pool: p, Name: name}
}

func (g *gated) in(h *broker.Hook) func(bool) {
	g.t.Helper()
	leave, err := g.enter(h, who{subject: g.who()})
	if err != nil {
		g.t.Fatal(err)
	}
	return leave
}

func (g *gated) busy(h *broker.Hook, what string) {
	g.t.Helper()
	if leave, err := g.enter(h, who{subject: g.who()}); leave != nil || !errors.Is(err, protocol.CodeBusy) {
		g.t.Fatalf("%s: %v, want busy", what, err)
	}
}

// TestPoolsWaitForThemselvesOnly: a pool whose hooks hang turns its own devices
// away, not another's.
func TestPoolsWaitForThemselvesOnly(t *testing.T) {
	g := newGated(t)
	var leave []func(bool)
	for i := range DefaultCalls {
		leave = append(leave, g.in(g.hook("a", string(rune('a'+i%3)))))
	}
	g.busy(g.hook("a", "a"), "one more")
	g.busy(g.hook("a", "z"), "another hook of the pool")
	g.in(g.hook("b", "a"))(false)
	for _, l := range leave {
		l(false)
	}
	g.in(g.hook("a", "a"))(false)
	if len(g.calls) != 0 || len(g.hooks) != 0 {
		t.Errorf("%v and %v are kept of nothing", g.calls, g.hooks)
	}
}

// TestFailingHooksAreLeftAlone: for a while, then tried by one call at a time, and
// back in use after the first that succeeds.
func TestFailingHooksAreLeftAlone(t *testing.T) {
	g := newGated(t)
	h := g.hook("a", "a")
	for range maxFailures - 1 {
		g.in(h)(true)
	}
	g.in(h)(false) // starts anew
	for range maxFailures {
		g.in(h)(true)
	}
	g.busy(h, "after failures in a row")
	g.in(g.hook("a", "b"))(false)
	g.at = g.at.Add(pause)
	probe := g.in(h)
	g.busy(h, "while one tries")
	probe(true)
	g.busy(h, "after it failed again")
	g.at = g.at.Add(pause)
	probe = g.in(h)
	probe(false)
	a, b := g.in(h), g.in(h)
	a(false)
	b(true)
	g.in(h)(false)
}

// TestStrangersDoNotMakeAHookFail: however many of their calls fail, devices that have proved
// themselves are let through. A hook that fails for those is left alone by both, and it is one
// of them who tries it again.
func TestStrangersDoNotMakeAHookFail(t *testing.T) {
	g := newGated(t)
	h := g.hook("a", "door")
	stranger := func(what string, want Cause) func(bool) {
		t.Helper()
		leave, err := g.enter(h, who{})
		var got Cause
		if held, ok := errors.AsType[*heldError](err); ok {
			got = held.cause
		}
		if got != want || want == "" && err != nil {
			t.Fatalf("%s: %v, want cause %q", what, err, want)
		}
		return leave
	}
	var hang []func(bool)
	for range DefaultCalls / 2 {
		hang = append(hang, stranger("at once", ""))
	}
	for _, leave := range hang {
		leave(true)
	}
	stranger("after failures in a row", CauseFailing)
	g.in(h)(false)
	stranger("after a device's call, which says nothing of theirs", CauseFailing)
	g.at = g.at.Add(pause)
	stranger("the one that tries again", "")(false)

	for range maxFailures {
		stranger("between devices' failures", "")(false)
		g.in(h)(true)
	}
	g.busy(h, "after devices' failures in a row, whatever strangers' calls did")
	stranger("then", CauseFailing)
	g.at = g.at.Add(pause)
	slow := stranger("after a while", "")
	probe := g.in(h) // beside that one
	stranger("while a device tries", CauseFailing)
	slow(true)
	probe(false)
	g.in(h)(false)
	stranger("when it works for devices", "")(false)
	if len(g.calls) != 0 || len(g.callers) != 0 || len(g.hooks) != 0 {
		t.Errorf("%v, %v and %v are kept of nothing", g.calls, g.callers, g.hooks)
	}
}

// TestNobodyHoldsAllSlots: one device with any number of connections has two calls at once, those
// that have proved nothing have half of the pool's together, and other devices pass
// beside both.
func TestNobodyHoldsAllSlots(t *testing.T) {
	g := newGated(t)
	h := g.hook("a", "door")
	let := func(by who, times int) (through int, leave []func(bool)) {
		for range times {
			l, err := g.enter(h, by)
			if err == nil {
				through++
				leave = append(leave, l)
			} else if !errors.Is(err, protocol.CodeBusy) {
				t.Fatal(err)
			}
		}
		return through, leave
	}
	greedy := who{subject: g.who()}
	n, held := let(greedy, 48)
	if n != DefaultPerDevice {
		t.Errorf("one device has %d calls at once", n)
	}
	if n, _ := let(who{}, 480); n != DefaultCalls/2 {
		t.Errorf("strangers have %d calls at once", n)
	}
	for i := range DefaultCalls/2 - DefaultPerDevice {
		if n, _ := let(who{subject: g.who()}, 1); n != 1 {
			t.Fatalf("device %d finds no room beside them", i)
		}
	}
	for _, leave := range held {
		leave(false)
	}
	if n, _ := let(greedy, 48); n != DefaultPerDevice {
		t.Errorf("afterwards it has %d", n)
	}
	if len(g.callers) == 0 {
		t.Error("nobody is counted")
	}
}

// TestStrangersDoNotShutOutStrangers: ten sources whose calls hang, as many as each gets, leave
// room for an eleventh that has proved nothing either.
func TestStrangersDoNotShutOutStrangers(t *testing.T) {
	g := newGated(t)
	h := g.hook("a", "door")
	at := func(i int) who {
		return who{source: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)}
	}
	through := 0
	var leave []func(bool)
	for i := range 10 {
		for range 48 {
			l, err := g.enter(h, at(i))
			if held, ok := errors.AsType[*heldError](err); ok && held.cause == CauseSource && errors.Is(err, protocol.CodeBusy) {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			through++
			leave = append(leave, l)
		}
	}
	if through >= DefaultCalls/2 || through < 10 {
		t.Errorf("ten strangers have %d calls", through)
	}
	l, err := g.enter(h, at(10))
	if err != nil {
		t.Fatalf("an eleventh: %v", err)
	}
	if _, err := g.enter(g.hook("b", "door"), at(0)); err != nil {
		t.Errorf("in another pool: %v", err)
	}
	for _, l := range append(leave, l) {
		l(false)
	}
	if len(g.callers) != 2 { // those of pool b
		t.Errorf("%v are kept of nothing", g.callers)
	}
}

// TestLimitsAreSettings: each bound is what was set, and what follows from another follows.
func TestLimitsAreSettings(t *testing.T) {
	for _, c := range []struct{ set, want Limits }{
		{Limits{}, Limits{32, 16, 2, 2}}, {Limits{Calls: 10}, Limits{10, 5, 2, 2}}, {Limits{Calls: 1}, Limits{1, 1, 2, 2}},
		{Limits{Calls: 8, Strangers: 6, PerSource: 4, PerDevice: 3}, Limits{8, 6, 4, 3}},
	} {
		if got := c.set.set(); got != c.want {
			t.Errorf("%+v is %+v, want %+v", c.set, got, c.want)
		}
	}
	g := newGated(t)
	g.gate = newGate(Limits{Calls: 8, Strangers: 6, PerSource: 4, PerDevice: 3}, func() time.Time { return g.at })
	h := g.hook("a", "door")
	through := func(by who) (n int) {
		for range 48 {
			if _, err := g.enter(h, by); err == nil {
				n++
			}
		}
		return n
	}
	source := func(i byte) who { return who{source: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}), 32)} }
	// The first has its third when half of the six are taken, and then it is as the others: two.
	if a, b, c := through(source(1)), through(source(2)), through(source(3)); a != 3 || b != 2 || c != 1 {
		t.Errorf("sources have %d, %d and %d calls", a, b, c)
	}
	if a, b := through(who{subject: g.who()}), through(who{subject: g.who()}); a != 2 || b != 0 {
		t.Errorf("devices have %d and %d calls in what is left of eight", a, b)
	}
}

package wrap

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// A bounded is a core behind a limit of two refusals at once and one each two seconds.
type bounded struct {
	t    *testing.T
	core always
	h    exchange.Handler
	reg  *prometheus.Registry
	said bytes.Buffer
	now  time.Time
}

func newBounded(t *testing.T, l Limit) *bounded {
	b := &bounded{t: t, now: time.Unix(1e9, 0), reg: prometheus.NewRegistry()}
	m, err := newMetrics(b.reg)
	if err != nil {
		t.Fatal(err)
	}
	b.h = limited(&b.core, l, m.limited, slog.New(slog.NewTextHandler(&b.said, nil)), func() time.Time { return b.now })
	return b
}

// callerAt is a caller at an address; in this process if that is empty.
func callerAt(from string) (c exchange.Caller) {
	if from != "" {
		c.Remote = netip.MustParseAddrPort(from)
	}
	return c
}

// ask reports whether a message from an address was looked at.
func (b *bounded) ask(from string, out exchange.Outcome) bool {
	b.t.Helper()
	return b.askAs(callerAt(from), out)
}

func (b *bounded) askAs(from exchange.Caller, out exchange.Outcome) bool {
	b.t.Helper()
	before := b.core.asked
	b.core.Outcome = out
	got := b.h.Handle(b.t.Context(), from, &protocol.Answer{Head: protocol.Head{ID: protocol.CallID{7}}})
	if b.core.asked > before {
		return true
	}
	m, ok := got.Reply.(*protocol.Refusal)
	if !ok || m.Call() != (protocol.CallID{7}) || m.Problem.Signet.Code != protocol.CodeBusy || m.Problem.Signet.RetryAfter == 0 || got.Err == nil {
		b.t.Errorf("answered %+v", got)
	}
	return false
}

var few = Limit{PerSecond: 0.5, Burst: 2}

func TestLimit(t *testing.T) {
	b := newBounded(t, few)
	wrong := refused(ident.Device{}, auth.ErrProof, protocol.CodeDenied)
	const source = "192.0.2.1:1000"
	for range 9 { // none of these counts
		for what, out := range map[string]exchange.Outcome{
			"a grant": granted(ident.Device{}, exchange.Admission{}), "a challenge": {Reply: &protocol.Challenge{}},
			"a full disk": refused(ident.Device{}, broker.ErrFull, protocol.CodeBusy), "a fault": refused(ident.Device{}, broker.ErrFull, protocol.CodeInternal),
		} {
			if !b.ask(source, out) {
				t.Fatalf("%s counted", what)
			}
		}
	}
	first, second := b.ask(source, wrong), b.ask(source, wrong)
	if !first || !second {
		t.Error("limited too early")
	}
	if b.ask(source, wrong) || b.ask("192.0.2.1:1001", wrong) {
		t.Error("a third was looked at")
	}
	if !b.ask("192.0.2.2:1000", wrong) || !b.ask("[2001:db8::1]:1", wrong) {
		t.Error("another source was limited")
	}
	b.now = b.now.Add(2 * time.Second)
	if !b.ask(source, wrong) || b.ask(source, wrong) {
		t.Error("two seconds later there is room for one")
	}
	for range 20 { // in this process
		if !b.ask("", wrong) {
			t.Fatal("a caller without an address was limited")
		}
	}
	if got := scrape(t, b.reg); !strings.Contains(got, "signet_exchange_limited_total 3\n") {
		t.Errorf("counted: %s, want 3", got)
	}
	if n := strings.Count(b.said.String(), "answered busy"); n != 1 {
		t.Errorf("told %d times, want once: %s", n, b.said.String())
	}
}

// TestLimitOfDevices: a device on its own connection is not held up for what others at its address
// were refused, nor they for what it was; its own refusals are bounded over all of its
// connections, to a tenth of a source's.
func TestLimitOfDevices(t *testing.T) {
	b := newBounded(t, Limit{PerSecond: 5, Burst: 20})
	wrong, right := refused(ident.Device{}, auth.ErrProof, protocol.CodeDenied), granted(ident.Device{}, exchange.Admission{})
	const source, elsewhere = "192.0.2.1:1000", "192.0.2.2:1000"
	own := func(device, from string) exchange.Caller {
		d := identtest.Device(t, "demo:"+device)
		c := callerAt(from)
		c.Owner = d
		return c
	}
	for b.ask(source, wrong) {
	}
	if !b.askAs(own("lamp", source), right) {
		t.Error("a device is held up on its own connection for what others were refused")
	}
	looked := 0
	for range 50 {
		if b.askAs(own("lamp", source), wrong) {
			looked++
		}
	}
	if looked != 2 || b.askAs(own("lamp", elsewhere), right) {
		t.Errorf("%d of a device's own flood were looked at, want 2, on whichever connection", looked)
	}
	if !b.askAs(own("heater", source), right) || !b.ask(elsewhere, right) {
		t.Error("others are held up for what a device was refused")
	}
	b.now = b.now.Add(2 * time.Second)
	if !b.askAs(own("lamp", source), wrong) || b.askAs(own("lamp", source), wrong) {
		t.Error("two seconds later there is room for one")
	}
	for _, who := range []string{"its source", "its device"} {
		if n := strings.Count(b.said.String(), "too many refusals of "+who); n != 1 {
			t.Errorf("%s: told %d times, want once: %s", who, n, b.said.String())
		}
	}
}

func TestNoLimit(t *testing.T) {
	b := newBounded(t, Limit{PerSecond: -1})
	for range 2000 {
		if !b.ask("192.0.2.1:1", refused(ident.Device{}, auth.ErrProof, protocol.CodeDenied)) {
			t.Fatal("limited")
		}
	}
}

package mqttd

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/packet"
)

// beginFrom is begin from an address.
func (f *fixture) beginFrom(ip, id, data string) *raw {
	f.t.Helper()
	p := hello(id, data)
	return f.saysFrom(ip, packet.AppendConnect(nil, &p))
}

func (f *fixture) saysFrom(ip string, first []byte) *raw {
	f.t.Helper()
	nc, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	r := newRaw(f.t, nc)
	r.v = 5
	r.send(first)
	return r
}

// TestAuthFloods: strangers who begin to authenticate and never end, or never stop, and a device that does so again and
// again, get what their connection, source and device may have, are counted, and keep nobody else from authenticating.
func TestAuthFloods(t *testing.T) {
	const strangers, perSource = 30, 50
	var mu sync.Mutex
	refused := map[intake.Cause]int{}
	overload := map[Overload]*atomic.Int64{}
	f, s := withMethod(t, func(c *Config) {
		c.Limits = intake.Limits{Conns: 100, Strangers: strangers, PerSource: 40, Rate: -1}
		c.Requests, c.DeviceRequests = RequestLimit{PerSecond: 1e-6, Burst: perSource}, RequestLimit{PerSecond: 1e-6, Burst: 5}
		c.Refused = func(why intake.Cause, _ string, _ error) { mu.Lock(); defer mu.Unlock(); refused[why]++ }
		busy(c, overload)
	})
	n := 0
	honest := func(when string) {
		t.Helper()
		n++
		r := f.beginFrom(fmt.Sprintf("127.0.3.%d", n), "p:n", "a")
		if got := r.said(); got != "AUTH continue authentication script why a" {
			t.Errorf("%s: %s", when, got)
		}
		r.send(goesOn("is p:n"))
		if got := r.said(); got != "CONNACK success script welcome p:n" {
			t.Errorf("%s: %s", when, got)
		}
		r.ping()
	}
	honest("before")

	// Those that never end: the newest remain, as many as strangers may be; none is waited for.
	for i := range 3 * strangers {
		f.beginFrom(fmt.Sprintf("127.0.1.%d", 1+i%9), "p:m", "a").said()
	}
	honest("beside those that never end")
	eventually(t, "the others made room", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return refused[intake.CauseFull] >= 2*strangers
	})
	if strange := f.Intake().Strangers(); strange > strangers {
		t.Errorf("%d strangers are being authenticated, at most %d may be", strange, strangers)
	}

	// Those that never stop, all they have to say at once, from one source: each of its packets is one of its share.
	s.mu.Lock()
	s.steps = 0
	s.mu.Unlock()
	for range 3 * perSource / maxAuthSteps {
		p := hello("p:m", "a")
		all := packet.AppendConnect(nil, &p)
		for range 3 * maxAuthSteps {
			all = append(all, goesOn("a")...)
		}
		r := f.saysFrom("127.0.2.1", all)
		last := ""
		for got := r.said(); got != "closed"; got = r.said() {
			last = got
		}
		if last != "CONNACK protocol error" && last != "CONNACK server busy script busy:a" {
			t.Errorf("its last word was %q", last)
		}
	}
	honest("beside those that never stop")
	s.mu.Lock()
	if s.steps > perSource+2 || s.steps < perSource { // those of the honest one
		t.Errorf("%d steps were done for a source that may have %d", s.steps, perSource)
	}
	s.mu.Unlock()
	if got := overload[OverloadRate].Load(); got == 0 {
		t.Error("none of it was counted")
	}

	// A device that has nothing else to do than to authenticate again, on two connections.
	one, two := f.authenticated("p:d", "is p:d"), f.authenticated("p:d/2", "is p:d")
	granted := 0
	for _, r := range []*raw{one, two, one, two, one, two, one} { // after the last two nothing is read for a while
		r.send(anew("is p:d"))
		switch got := r.said(); got {
		case "AUTH success script welcome p:d":
			granted++
		case "AUTH continue authentication script busy:is p:d":
		default:
			t.Errorf("again: %s", got)
		}
	}
	if granted != 5 || overload[OverloadDevice].Load() != 2 {
		t.Errorf("authenticated again %d times, and was told to wait %d times", granted, overload[OverloadDevice].Load())
	}
	honest("beside a device that authenticates without end")
	if lines := strings.Count(f.logs.String(), "not looked at"); lines == 0 || lines > 4 {
		t.Errorf("%d lines of it", lines)
	}
}

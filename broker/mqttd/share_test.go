package mqttd

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/protocol/topic"
)

// seen counts what a Server tells of, by cause.
type seen struct {
	mu sync.Mutex // guards of
	of map[intake.Cause]int
}

func (s *seen) refused(c intake.Cause, _ string, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[intake.Cause]int{}
	}
	s.of[c]++
}

func (s *seen) count(c intake.Cause) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[c]
}

// from connects from an address of this machine.
func (f *fixture) from(ip string, c connectPacket) *raw {
	f.t.Helper()
	nc, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	r := newRaw(f.t, nc)
	r.v = c.version
	r.send(c.bytes())
	return r
}

func (r *raw) welcome() *raw {
	r.t.Helper()
	if kind, body := r.next(); kind != 0x20 || body[1] != 0 {
		r.t.Fatalf("packet %#x %x, want a CONNACK", kind, body)
	}
	return r
}

// TestOneDeviceKeepsNobodyOut: a device that connects as often as it can, from several
// addresses, by CONNECT and by logging in on anonymous connections, holds its share and no
// more; others come in. Its oldest connections hear why they end.
func TestOneDeviceKeepsNobodyOut(t *testing.T) {
	var told seen
	f := start(t, func(c *Config, _ *fixture) {
		c.Limits, c.Refused = intake.Limits{Conns: 40, PerDevice: 3, PerSource: -1}, told.refused
	})
	var mine []*raw
	for i := range 60 {
		c := as("p:greedy", 4+byte(i%2))
		c.id = fmt.Sprintf("p:greedy/%d", i)
		if i%3 > 0 {
			mine = append(mine, f.from(fmt.Sprintf("127.0.0.%d", 1+i%2), c).welcome())
			continue
		}
		anon := fmt.Sprintf("anon-%032x", i)
		mine = append(mine, f.mustConnect(connectPacket{version: 5, id: anon}))
		d := device(t, "p:greedy")
		if err := f.Upgrade(anon, Standing{Device: d, Permissions: topic.Own(d)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range mine[:57] {
		r.ended(ReasonQuota)
	}
	for _, r := range mine[57:] {
		r.ping()
	}
	for i := range 30 {
		f.mustConnect(as(fmt.Sprintf("p:good-%d", i), 5)).ping()
	}
	if n := told.count(intake.CauseDevice); n != 57 {
		t.Errorf("told of %d connections that made room, want 57", n)
	}
}

// TestFullPoolSaysSo: devices of a pool that has all its connections hear so, by CONNECT
// and by logging in; those of another pool come in.
func TestFullPoolSaysSo(t *testing.T) {
	var told seen
	f := start(t, func(c *Config, _ *fixture) { c.Limits, c.Refused = intake.Limits{PerPool: 2}, told.refused })
	first := f.mustConnect(as("p:a", 5))
	second := as("p:a", 5)
	second.id = "p:a/2"
	f.mustConnect(second).ping()
	b := f.mustConnect(as("p:b", 5)) // a has two
	first.ended(ReasonQuota)
	for version, want := range map[byte]byte{4: 3, 5: 0x97} {
		if r, code := f.connect(as("p:c", version)); code != want {
			t.Errorf("version %d: code %#x, want %#x", version, code, want)
		} else {
			r.closed()
		}
	}
	anon := f.mustConnect(connectPacket{version: 5, id: anonA})
	d := device(t, "p:c")
	if err := f.Upgrade(anonA, Standing{Device: d, Permissions: topic.Own(d)}); !errors.Is(err, intake.ErrFullPool) {
		t.Errorf("upgraded: %v", err)
	}
	anon.ping() // what it is answered it gets
	f.mustConnect(as("q:c", 5)).ping()
	b.ping()
	if n := told.count(intake.CausePool); n != 4 {
		t.Errorf("told of %d, want 4", n)
	}
}

// TestTurnedAwayHearWhy: a client that may not come in hears the reason as the answer to its
// CONNECT while that is cheap; of a flood most are closed without a word.
func TestTurnedAwayHearWhy(t *testing.T) {
	for name, c := range map[string]struct {
		limits      intake.Limits
		cause       intake.Cause
		code, code4 byte
	}{
		"source": {intake.Limits{PerSource: 1}, intake.CauseSource, 0x97, 3},
		"rate":   {intake.Limits{Rate: 1e-6, Burst: 1}, intake.CauseRate, 0x9f, 3},
		"full":   {intake.Limits{Conns: 1, PerSource: -1}, intake.CauseFull, 0x89, 3},
	} {
		t.Run(name, func(t *testing.T) {
			var told seen
			f := start(t, func(cfg *Config, _ *fixture) { cfg.Limits, cfg.Refused = c.limits, told.refused })
			own := f.mustConnect(as("p:own", 5))
			for version, want := range map[byte]byte{4: c.code4, 5: c.code} {
				r, code := f.connect(as("p:n", version))
				if code != want {
					t.Errorf("version %d: code %#x, want %#x", version, code, want)
				}
				r.closed()
			}
			heard := 0
			for range 200 {
				r := f.dial()
				if _, err := r.nc.Write(as("p:n", 5).bytes()); err != nil {
					continue
				}
				if kind, _, err := r.read(); err == nil && kind == 0x20 {
					heard++
				}
				r.nc.Close()
			}
			if heard == 200 || told.count(c.cause) != 202 {
				t.Errorf("%d of a flood of 200 heard why, told of %d", heard, told.count(c.cause))
			}
			own.ping()
		})
	}
}

// TestSilentClientsAreCounted: who sends no CONNECT in time, or none that is one, is told of.
func TestSilentClientsAreCounted(t *testing.T) {
	var told seen
	f := start(t, func(c *Config, _ *fixture) { c.ConnectTimeout, c.Refused = patience/50, told.refused })
	f.dial().closed()
	r := f.dial()
	r.send([]byte{0xc0, 0})
	r.closed()
	bad := as("p:n", 5)
	bad.pass = "wrong"
	if _, code := f.connect(bad); code != 0x87 {
		t.Errorf("code %#x", code)
	}
	eventually(t, "each is told of", func() bool { return told.count(intake.CauseSilent) == 1 && told.count(intake.CauseConnect) == 2 })
}

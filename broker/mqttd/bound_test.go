package mqttd

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/packet"
)

// met counts meetings with bounds.
type met struct {
	mu sync.Mutex
	of map[Bound]int
}

func (m *met) bound(b Bound) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[Bound]int{}
	}
	m.of[b]++
}

func (m *met) count(b Bound) int {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of[b]
}

// TestBoundsAreTold: each bound that refuses neither a connection nor a message is told of once
// when it is met, and logged.
func TestBoundsAreTold(t *testing.T) {
	var told met
	inBubble(t, func(c *Config) {
		c.OnBound, c.Subscriptions, c.Sessions, c.WriteTimeout = told.bound, 2, 3, time.Second
	}, func(b *bubble) {
		a := b.join("p:a", stays(100))
		a.subscribe(0, "t/1", "t/2")
		if n := told.count(BoundSubscriptions); n != 0 {
			t.Errorf("%d subscriptions refused where there is room", n)
		}
		a.ask(packet.Subscribe{ID: 7, Filters: []packet.Filter{{Text: "t/3"}}}, "suback #7 0x97")
		if n := told.count(BoundSubscriptions); n != 1 || !strings.Contains(b.logs.String(), "mqtt subscription refused") {
			t.Errorf("told of %d subscriptions: %s", n, b.logs)
		}
		b.join("p:b", stays(100))
		b.join("p:c", stays(100))
		if n := told.count(BoundSessions); n != 0 {
			t.Errorf("%d sessions too many where there is room", n)
		}
		b.join("p:d", stays(100))
		if n := told.count(BoundSessions); n != 1 || !strings.Contains(b.logs.String(), "mqtt session ends with its connection") {
			t.Errorf("told of %d sessions: %s", n, b.logs)
		}
	})
	told = met{}
	inBubble(t, func(c *Config) { c.OnBound = told.bound }, func(b *bubble) {
		for i := range maxAway + 2 {
			b.join("p:a", both(stays(100), named(fmt.Sprint("c", i)))).cut()
		}
		if n := told.count(BoundAway); n != 2 || !strings.Contains(b.logs.String(), "too many without a connection") {
			t.Errorf("told of %d sessions of one device: %s", n, b.logs)
		}
	})
}

// TestStalledIsTold: who does not read is counted when he is cut.
func TestStalledIsTold(t *testing.T) {
	var told met
	inBubble(t, func(c *Config) { c.OnBound, c.WriteTimeout = told.bound, time.Second }, func(b *bubble) {
		p := connectOf("p:a", nil)
		ours, theirs := net.Pipe() // nobody reads from it
		defer ours.Close()
		b.at.conns <- pipe{theirs}
		for _, packet := range [][]byte{
			packet.AppendConnect(nil, &p), packet.AppendSubscribe(nil, p.Version, &packet.Subscribe{ID: 1, Filters: []packet.Filter{{Text: "t/#"}}}),
		} {
			if _, err := ours.Write(packet); err != nil {
				t.Fatal(err)
			}
		}
		from := b.join("p:b", nil)
		for range 10 {
			from.publish(0, 0, "t/x="+strings.Repeat("x", 10_000))
		}
		time.Sleep(3 * time.Second)
		if n := told.count(BoundStalled); n != 1 || !strings.Contains(b.logs.String(), "does not read") {
			t.Errorf("told of %d that do not read: %s", n, b.logs)
		}
	})
}

// TestLongConnectsAreCounted: of one source so many long CONNECTs are read at once as is set; one
// more is refused, and told of as nothing else; another source does not feel it.
func TestLongConnectsAreCounted(t *testing.T) {
	var told seen
	f := start(t, func(c *Config, _ *fixture) { c.Refused, c.LongConnects = told.refused, 3 })
	long := as("p:n", 5)
	long.pass = strings.Repeat("x", 4<<10)
	half := long.bytes()[:2<<10]
	var open []*raw
	for range 3 {
		r := f.dial()
		r.send(half)
		open = append(open, r)
	}
	reading := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprint(n, " are being read"), func() bool {
			f.reading.mu.Lock()
			defer f.reading.mu.Unlock()
			return f.reading.all == n
		})
	}
	reading(3)
	last := f.dial()
	last.send(half)
	last.closed()
	eventually(t, "it is told of", func() bool { return told.count(intake.CauseLong) == 1 })
	f.mustConnect(as("p:n", 5)).ping() // a short one has nothing to do with it
	open[0].nc.Close()
	reading(2)
	again := f.dial()
	again.send(half)
	reading(3)
	for _, r := range append(open, again) {
		r.nc.Close()
	}
	reading(0)
	if n := told.count(intake.CauseLong); n != 1 {
		t.Errorf("%d told of", n)
	}
	if !f.reading.take(intake.Source("192.0.2.1:1"), -1) {
		t.Error("refused without a bound")
	}
}

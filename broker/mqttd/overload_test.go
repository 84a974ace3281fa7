package mqttd

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/topic"
)

// An anon is an anonymous client that listens to its answers.
type anon struct {
	*raw
	id string
}

func (f *fixture) anon(ip string, n int) *anon {
	f.t.Helper()
	id := fmt.Sprintf("anon-%032x", n)
	return &anon{f.from(ip, connectPacket{version: 5, id: id}).welcome().mustSubscribe("signet/v1/" + id + "/rs"), id}
}

func (a *anon) ask(payload string) {
	a.t.Helper()
	a.publish(0, "signet/v1/"+a.id+"/rq", payload)
}

// busy makes a Config answer what it does not look at.
func busy(c *Config, counts map[Overload]*atomic.Int64) {
	for _, o := range Overloads {
		counts[o] = &atomic.Int64{}
	}
	c.Busy = func(r Request, why Overload, retry time.Duration) []byte {
		counts[why].Add(1)
		if retry <= 0 {
			return []byte("busy without a time")
		}
		return append([]byte("busy:"), r.Payload...)
	}
}

// TestStrangersAreBoundedBySource: strangers at one source get as many answers as they may
// have, and "busy" beyond it; those at another, and devices at the same one, all of theirs.
func TestStrangersAreBoundedBySource(t *testing.T) {
	counts := map[Overload]*atomic.Int64{}
	f := start(t, func(c *Config, _ *fixture) {
		c.Requests = RequestLimit{PerSecond: 1e-6, Burst: 50}
		busy(c, counts)
	})
	var floods []*anon // each of which may say so much
	for i := range 4 {
		floods = append(floods, f.anon("127.0.0.1", 100+i))
	}
	honest := f.anon("127.0.0.2", 2)
	dev := f.mustConnect(as("p:n", 5)).mustSubscribe("signet/v1/p:n/rs")
	answered, refused := 0, 0
	for i := range 200 {
		flood := floods[i/50]
		flood.ask(fmt.Sprint(i))
		switch _, got := flood.message(); got {
		case fmt.Sprint("re:", i):
			answered++
		case fmt.Sprint("busy:", i):
			refused++
		}
		if i%5 == 0 {
			honest.ask("x")
			if _, got := honest.message(); got != "re:x" {
				t.Errorf("honest: %q", got)
			}
		}
		dev.publish(0, "signet/v1/p:n/rq", "y")
		if _, got := dev.message(); got != "re:y" {
			t.Errorf("device: %q", got)
		}
	}
	if answered != 50 || refused != 150 || counts[OverloadRate].Load() != 150 {
		t.Errorf("%d answered, %d busy, %d counted; want 50 and 150", answered, refused, counts[OverloadRate].Load())
	}
}

// TestOneDeviceAsksItsShare: what a device asks beyond its rate, on all of its connections, is
// answered busy and keeps nobody else waiting; its connection is read the slower for it.
func TestOneDeviceAsksItsShare(t *testing.T) {
	counts := map[Overload]*atomic.Int64{}
	f := start(t, func(c *Config, _ *fixture) {
		c.DeviceRequests = RequestLimit{PerSecond: 0.001, Burst: 5}
		busy(c, counts)
	})
	second := as("p:n", 5)
	second.id = "p:n/2"
	greedy, again := f.mustConnect(as("p:n", 5)).mustSubscribe("signet/v1/p:n/rs"), f.mustConnect(second).mustSubscribe("signet/v1/p:n/2/rs")
	other := f.mustConnect(as("p:m", 5)).mustSubscribe("signet/v1/p:m/rs")
	for i := range 5 {
		greedy.publish(0, "signet/v1/p:n/rq", fmt.Sprint(i))
		if _, got := greedy.message(); got != fmt.Sprint("re:", i) {
			t.Fatalf("%d: %q", i, got)
		}
	}
	for i := range 50 {
		greedy.publish(0, "signet/v1/p:n/rq", fmt.Sprint("more ", i))
	}
	if _, got := greedy.message(); got != "busy:more 0" {
		t.Errorf("beyond its share: %q", got)
	}
	again.publish(0, "signet/v1/p:n/2/rq", "x")
	if _, got := again.message(); got != "busy:x" {
		t.Errorf("on another connection: %q", got)
	}
	other.publish(0, "signet/v1/p:m/rq", "y")
	if _, got := other.message(); got != "re:y" {
		t.Errorf("another device: %q", got)
	}
	if !strings.Contains(f.logs.String(), "not looked at\" client=p:n remote=127.0.0.1:") || !strings.Contains(f.logs.String(), " device=p:n cause=device") {
		t.Errorf("the log does not say who asks too much: %s", f.logs.String())
	}
	if told := counts[OverloadDevice].Load(); told < 2 || told > 10 { // a second each, and the test took no fifty
		t.Errorf("%d of 50 were read and answered at once", told)
	}
}

// TestDevicesGoFirst: while strangers' requests wait, a device's is answered before all of
// them; and where strangers occupy what they may of the workers, there is one left for it.
func TestDevicesGoFirst(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{}, 100)
	var mu sync.Mutex
	var order []string
	f := start(t, func(c *Config, _ *fixture) {
		c.Workers = 4
		c.Respond = func(_ context.Context, q Request) []byte {
			mu.Lock()
			order = append(order, string(q.Payload))
			mu.Unlock()
			if strings.HasPrefix(string(q.Payload), "slow") {
				entered <- struct{}{}
				<-hold
			}
			return q.Payload
		}
	})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	dev := f.mustConnect(as("p:n", 5)).mustSubscribe("signet/v1/p:n/rs")
	var strangers []*anon
	for i := range 5 {
		a := f.anon("127.0.0.1", i)
		strangers = append(strangers, a)
		for range 4 {
			a.ask("slow")
		}
		a.ping()
	}
	for range 3 {
		<-entered
	}
	for range 10 { // a quarter of the workers is theirs
		dev.publish(0, "signet/v1/p:n/rq", "mine")
		if _, got := dev.message(); got != "mine" {
			t.Fatalf("got %q", got)
		}
	}
	mu.Lock()
	if n := len(order); n != 13 {
		t.Errorf("%d begun while strangers are slow: %q", n, order)
	}
	mu.Unlock()
	release()
	for _, a := range strangers {
		for range 4 {
			if _, got := a.message(); got != "slow" {
				t.Errorf("a stranger got %q", got)
			}
		}
	}
}

// TestSourcesTakeTurns: in the queue each source has its turn, and when it is full the one
// with most of them makes room.
func TestSourcesTakeTurns(t *testing.T) {
	at := func(i int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32) }
	var l lanes
	add := func(source int, what string) string {
		if lost := l.add(request{lane: at(source), payload: []byte(what)}, 10); lost != nil {
			return string(lost.payload)
		}
		return ""
	}
	for i := range 10 {
		if lost := add(1, fmt.Sprint("flood ", i)); lost != "" {
			t.Errorf("lost %q", lost)
		}
	}
	if lost := add(1, "flood 10"); lost != "flood 10" {
		t.Errorf("lost %q, want its own", lost)
	}
	for source, want := range []string{2: "flood 9", 3: "flood 8"} {
		if want == "" {
			continue
		}
		if lost := add(source, fmt.Sprint("honest ", source)); lost != want {
			t.Errorf("lost %q, want %q", lost, want)
		}
	}
	var got []string
	for {
		r, ok := l.next()
		if !ok {
			break
		}
		got = append(got, string(r.payload))
	}
	if want := []string{"flood 0", "honest 2", "honest 3", "flood 1"}; len(got) != 10 || strings.Join(got[:4], ",") != strings.Join(want, ",") {
		t.Errorf("in the order %q", got)
	}
	if l.waiting != 0 || len(l.of) != 0 || len(l.turn) != 0 {
		t.Errorf("left: %+v", l)
	}
	for i := range 10 {
		add(i, "one each")
	}
	if lost := add(99, "an eleventh"); lost != "an eleventh" {
		t.Errorf("lost %q", lost)
	}
}

// TestHonestLoginsSucceedInAFlood: ten times as many strangers as there is room for ask
// without pause from other sources; each honest client's requests are all answered, and so
// are those of devices, and the flood hears "busy".
func TestHonestLoginsSucceedInAFlood(t *testing.T) {
	counts := map[Overload]*atomic.Int64{}
	f := start(t, func(c *Config, _ *fixture) {
		c.Workers, c.Queue = 4, 64
		c.Requests = RequestLimit{PerSecond: 1e-3, Burst: 50}
		c.Limits.Rate = -1
		busy(c, counts)
		c.Respond = func(_ context.Context, q Request) []byte {
			time.Sleep(time.Millisecond)
			return append([]byte("re:"), q.Payload...)
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	var floods sync.WaitGroup
	for i := range 40 {
		a := f.anon(fmt.Sprintf("127.0.1.%d", 1+i%4), 1000+i)
		floods.Go(func() {
			for ctx.Err() == nil {
				if _, err := a.nc.Write(frame(0x30, str("signet/v1/"+a.id+"/rq"), []byte{0}, []byte("flood"))); err != nil {
					return
				}
				if _, _, err := a.read(); err != nil {
					return
				}
			}
		})
	}
	eventually(t, "the flood hears busy", func() bool { return counts[OverloadRate].Load() > 0 })
	dev := f.mustConnect(as("p:dev", 5)).mustSubscribe("signet/v1/p:dev/rs")
	for i := range 60 {
		honest := f.anon(fmt.Sprintf("127.0.2.%d", i+1), i)
		for _, step := range []string{"start", "answer"} {
			honest.ask(step)
			if _, got := honest.message(); got != "re:"+step {
				t.Errorf("honest client %d heard %q", i, got)
			}
		}
		d := device(t, fmt.Sprintf("p:n%d", i))
		if err := f.Upgrade(honest.id, Standing{Device: d, Permissions: topic.Own(d)}); err != nil {
			t.Error(err)
		}
		dev.publish(0, "signet/v1/p:dev/rq", "renew")
		if _, got := dev.message(); got != "re:renew" {
			t.Errorf("device heard %q", got)
		}
	}
	stop()
	floods.Wait()
	t.Logf("answered busy: %d for their rate, %d for the queue", counts[OverloadRate].Load(), counts[OverloadQueue].Load())
	if n := strings.Count(f.logs.String(), "not looked at"); n > 3 {
		t.Errorf("%d lines of it", n)
	}
}

// TestStrangersAreReadSlowly: who is no device and says more than a login needs, of whatever kind,
// is not read until its turn comes; nobody else feels it, and it can be ended meanwhile.
func TestStrangersAreReadSlowly(t *testing.T) {
	var held atomic.Int64
	f := start(t, func(c *Config, _ *fixture) {
		c.AnonymousFor = 30 * time.Second
		c.OnThrottle = func() { held.Add(1) }
	})
	f.slow.SetLimit(1e-6) // and its burst of one
	f.slow.Allow()
	dev := f.mustConnect(as("p:n", 5)).mustSubscribe("signet/v1/p:n/rs")
	loud, other := f.anon("127.0.0.1", 1), f.anon("127.0.0.1", 2)
	kinds := map[string]func(*anon){
		"pings": func(a *anon) { a.send(frame(0xc0)) },
		"publishes to where it may not": func(a *anon) {
			a.send(frame(0x30, str("elsewhere"), []byte{0}, []byte("x")))
		},
		"unsubscribes": func(a *anon) { a.send(frame(0xa2, []byte{0, 9, 0}, str("signet/v1/x/rs"))) },
		"requests":     func(a *anon) { a.ask("x") },
	}
	for range freePackets - 1 { // to subscribe was one
		loud.ping()
	}
	if held.Load() != 0 {
		t.Fatalf("%d held up of %d packets", held.Load(), freePackets)
	}
	n := 0
	for what, say := range kinds {
		n++
		a := f.anon("127.0.0.1", 100+n)
		for range freePackets + 10 {
			say(a)
		}
		eventually(t, what+" are held up", func() bool { return held.Load() == int64(n) }) // one at a time of each
	}
	for range 3 * freePackets {
		dev.ping()
	}
	other.ask("mine")
	if _, got := other.message(); got != "re:mine" {
		t.Errorf("another heard %q", got)
	}
	if got := held.Load(); got != int64(n) {
		t.Errorf("%d held up, want %d", got, n)
	}
	if c := strings.Count(f.logs.String(), "read slowly"); c != 1 {
		t.Errorf("%d lines of it", c)
	}
}

// TestStrangersAreCutOff: one that goes on talking is told that it was too much; a device says
// what it likes.
func TestStrangersAreCutOff(t *testing.T) {
	f := start(t, nil)
	f.slow.SetLimit(1e9)
	loud, dev := f.anon("127.0.0.1", 1), f.mustConnect(as("p:n", 5))
	for range maxPackets - 1 { // to subscribe was one
		loud.ping()
		dev.ping()
	}
	loud.send(frame(0xc0))
	loud.ended(ReasonQuota)
	for range maxPackets {
		dev.ping()
	}
}

package mqttd

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

func TestEnd(t *testing.T) {
	f := start(t, nil)
	d := device(t, "p:n")
	watcher := f.watch("w:w", "devices/#")
	for _, version := range []byte{4, 5} {
		p := as("p:n", version)
		p.will = "devices/p/n/gone"
		c := f.mustConnect(p).mustSubscribe("signet/v1/p:n/ev", "devices/p/n/#")
		suffixed := as("p:n", version)
		suffixed.id = "p:n/2"
		second := f.mustConnect(suffixed)
		bystander := f.mustConnect(as("p:nn", version))

		// What was pushed before still comes, then the reason, then the will.
		if n := f.PushDevice(d, []byte("you are disabled")); n != 1 {
			t.Errorf("pushed to %d connections, want the one that listens", n)
		}
		f.End(d, ReasonAdministrative)
		if _, got := c.message(); got != "you are disabled" {
			t.Errorf("got %q", got)
		}
		c.ended(ReasonAdministrative)
		second.ended(ReasonAdministrative)
		if n, got := watcher.message(); n != "devices/p/n/gone" || got != "last words" {
			t.Errorf("the will: %q %q", n, got)
		}
		bystander.ping()
		bystander.nc.Close()
		eventually(t, "they are gone", func() bool { return f.Count() == 1 })
		if err := f.Push("p:n", nil); !errors.Is(err, ErrNotConnected) {
			t.Errorf("pushing after the end: %v", err)
		}
	}
}

// What was pushed comes before the reason even to a client that is slow to read, and from the
// return of End on the connection may do nothing.
func TestEndAfterPush(t *testing.T) {
	f := start(t, nil)
	c := f.mustConnect(as("p:n", 5)).mustSubscribe("signet/v1/p:n/ev")
	server := f.clients.get("p:n")
	for range 100 {
		if err := f.Push("p:n", make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Push("p:n", []byte("you are disabled")); err != nil {
		t.Error(err)
	}
	f.End(device(t, "p:n"), ReasonAdministrative)
	if _, err := server.Feed(frame(0x82, []byte{0, 7, 0}, str("devices/p/n/x"), []byte{0})); err != nil || f.subscriptions.Len() != 0 {
		t.Errorf("still served: %v", err)
	}
	if err := f.Upgrade("p:n", Standing{Device: device(t, "p:n")}); !errors.Is(err, ErrNotConnected) {
		t.Errorf("upgrade after the end: %v", err)
	}
	for range 100 {
		c.message()
	}
	if _, got := c.message(); got != "you are disabled" {
		t.Errorf("got %q", got)
	}
	c.ended(ReasonAdministrative)
}

// A device that goes on sending is told why nevertheless, what it sends counts
// for nothing, and its will is sent, whatever the server was at.
func TestEndWhileSending(t *testing.T) {
	f := start(t, nil)
	watcher := f.watch("w:w", "devices/p/n/gone")
	for range 50 {
		p := as("p:n", 5)
		p.will = "devices/p/n/gone"
		c := f.mustConnect(p)
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for msg := frame(0x30, str("devices/p/n/x"), []byte{0}, make([]byte, 200)); ; {
				if _, err := c.nc.Write(msg); err != nil {
					return
				}
			}
		}()
		f.End(device(t, "p:n"), ReasonAdministrative)
		c.ended(ReasonAdministrative)
		if n, got := watcher.message(); n != "devices/p/n/gone" || got != "last words" {
			t.Errorf("the will: %q %q", n, got)
		}
		c.nc.Close()
		<-stop
	}
}

// An End between a decision to admit and its effect counts.
func TestEndDuringAdmission(t *testing.T) {
	f := start(t, func(_ *Config, fx *fixture) { fx.gate.hold, fx.gate.held = make(chan struct{}), make(chan struct{}) })
	c := f.dial()
	c.v = 5
	c.send(as("p:n", 5).bytes())
	<-f.gate.held
	f.End(device(t, "p:n"), ReasonAdministrative)
	close(f.gate.hold)
	if kind, body := c.next(); kind != 0x20 || body[1] != 0x87 {
		t.Errorf("got packet %#x %x, want a refusing CONNACK", kind, body)
	}
	c.closed()
	f.gate.mu.Lock()
	f.gate.hold = nil
	f.gate.mu.Unlock()
	f.mustConnect(as("p:n", 5)).ping()
}

func TestEndDuringUpgrade(t *testing.T) {
	upgraded := make(chan error, 1)
	f := start(t, func(c *Config, fx *fixture) {
		c.Respond = func(_ context.Context, q Request) []byte {
			d := device(t, "p:n")
			fx.End(d, ReasonAdministrative)
			upgraded <- fx.Upgrade(q.ClientID, Standing{Device: d})
			return []byte("granted")
		}
	})
	c := f.mustConnect(connectPacket{version: 5, id: anonA})
	c.publish(0, "signet/v1/"+anonA+"/rq", "x")
	if err := <-upgraded; !errors.Is(err, ErrEnded) {
		t.Errorf("upgrade: %v, want ErrEnded", err)
	}
	if code := c.subscribe("devices/p/n/#"); code != 0x87 {
		t.Errorf("code %#x, want 0x87", code)
	}
}

func TestExpiry(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		watch := b.join("p:b", nil)
		watch.subscribe(0, "t/#")
		expires := func(in time.Duration) {
			b.gate.mu.Lock()
			defer b.gate.mu.Unlock()
			b.gate.expires[device(t, "p:a")] = time.Now().Add(in)
		}
		for version, said := range map[packet.Version][]string{packet.V311: {"closed"}, packet.V5: {"disconnect 0xa0", "closed"}} {
			expires(time.Minute)
			c := b.join("p:a", both(leaves("t/gone", 0), func(p *packet.Connect) { p.Version = version }))
			time.Sleep(time.Minute - time.Millisecond)
			c.want()
			time.Sleep(time.Millisecond)
			c.want(said...)
			watch.want("t/gone=gone q0")
		}
		expires(-time.Second)
		if _, got := b.dial("p:a", nil); got != "connack 0x87" {
			t.Errorf("expired before it came: %s", got)
		}
	})
}

func TestAnonymousExpiry(t *testing.T) {
	inBubble(t, func(c *Config) { c.AnonymousFor = time.Minute }, func(b *bubble) {
		c, upgraded := b.join(anonA, stranger), b.join(anonB, stranger)
		d := device(t, "p:n")
		if err := b.Upgrade(anonB, Standing{Device: d, Permissions: topic.Own(d)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - time.Millisecond)
		c.want()
		time.Sleep(time.Hour)
		c.want("disconnect 0xa0", "closed")
		upgraded.want()
	})
}

func TestUpgrade(t *testing.T) {
	d := device(t, "p:n")
	var f *fixture
	named, upgraded := make(chan []byte, 9), make(chan error, 9)
	f = start(t, func(c *Config, fx *fixture) {
		c.Respond = func(_ context.Context, q Request) []byte {
			named <- q.Channel
			upgraded <- fx.Upgrade(q.ClientID, Standing{Device: d, Permissions: topic.Own(d)})
			return []byte("granted")
		}
	})
	own := "signet/v1/" + anonA
	c := f.mustConnect(connectPacket{version: 5, id: anonA}).mustSubscribe(own+"/rs", own+"/ev")
	if code := c.subscribe("devices/p/n/#"); code != 0x87 {
		t.Fatalf("before: code %#x", code)
	}
	c.publish(2, own+"/rq", "let me in") // QoS 1
	for acked, replied := false, false; !acked || !replied; {
		switch kind, body := c.next(); kind {
		case 0x40:
			acked = len(body) == 2 || body[2] <= 1
		case 0x30:
			replied = true
		default:
			t.Fatalf("packet %#x %x", kind, body)
		}
	}
	if <-named != nil {
		t.Error("a plain connection has a name")
	}
	if err := <-upgraded; err != nil {
		t.Fatal(err)
	}
	c.mustSubscribe("devices/p/n/#")
	c.publish(0, "devices/p/n/x", "mine")
	if n, got := c.message(); n != "devices/p/n/x" || got != "mine" {
		t.Errorf("got %q %q", n, got)
	}
	if code := c.subscribe("devices/p/m/#"); code != 0x87 {
		t.Errorf("another's: code %#x", code)
	}
	c.publish(0, own+"/rq", "renew")
	if n, _ := c.message(); n != own+"/rs" {
		t.Errorf("a reply on %q", n)
	}
	if err := <-upgraded; err != nil {
		t.Error(err)
	}

	f.isNowTheDevices(c, d)
	f.End(d, ReasonAdministrative)
	c.ended(ReasonAdministrative)
}

// isNowTheDevices checks what an upgraded connection of anonA is to others.
func (f *fixture) isNowTheDevices(c *raw, d ident.Device) {
	t := f.t
	t.Helper()
	if _, code := f.connect(connectPacket{version: 5, id: anonA}); code != 0x85 {
		t.Errorf("taking over an upgraded connection: code %#x, want 0x85", code)
	}
	if err := f.Upgrade(anonA, Standing{Device: device(t, "p:m")}); !errors.Is(err, ErrOtherDevice) {
		t.Errorf("upgrade to another device: %v", err)
	}
	if err := f.Upgrade(anonB, Standing{Device: d}); !errors.Is(err, ErrNotConnected) {
		t.Errorf("upgrade of nobody: %v", err)
	}
	if err := f.Upgrade(anonA, Standing{}); err == nil {
		t.Error("upgrade to no device")
	}
	f.PushDevice(d, []byte("event"))
	if n, got := c.message(); n != "signet/v1/"+anonA+"/ev" || got != "event" {
		t.Errorf("got %q %q", n, got)
	}
}

// An anonymous client whose connection is half dead comes back with its id, but
// not while a request of the old one might still upgrade it.
func TestAnonymousComesBack(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	f := start(t, func(c *Config, _ *fixture) {
		c.Respond = func(context.Context, Request) []byte {
			close(asked)
			<-answer
			return nil
		}
	})
	first := f.mustConnect(connectPacket{version: 5, id: anonA})
	second := f.mustConnect(connectPacket{version: 5, id: anonA})
	first.ended(ReasonTakenOver)
	second.publish(0, "signet/v1/"+anonA+"/rq", "x")
	<-asked
	third := f.dial()
	third.v = 5
	third.send(connectPacket{version: 5, id: anonA}.bytes())
	second.ended(ReasonTakenOver)
	eventually(t, "the client id is kept for a request in work", func() bool {
		f.clients.mu.Lock()
		defer f.clients.mu.Unlock()
		return f.clients.byKey[stateKey{id: anonA}].owner.gone
	})
	close(answer)
	if kind, body := third.next(); kind != 0x20 || body[1] != 0 {
		t.Errorf("packet %#x %x, want a CONNACK", kind, body)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	var calls atomic.Int32
	answer := make(chan struct{})
	f := start(t, func(c *Config, _ *fixture) {
		c.Workers, c.Queue = 1, 2
		c.Respond = func(_ context.Context, q Request) []byte {
			calls.Add(1)
			<-answer
			if string(q.Payload) == "panic" {
				panic("as asked")
			}
			return q.Payload
		}
	})
	own := "signet/v1/" + anonA
	c := f.mustConnect(connectPacket{version: 5, id: anonA}).mustSubscribe(own + "/rs")
	d := f.mustConnect(as("p:n", 5))
	d.publish(0, "signet/v1/p:n/rq", string(make([]byte, maxRequest+1)))
	d.ping()
	c.publish(0, own+"/rq", "panic")
	eventually(t, "the worker is busy", func() bool { return calls.Load() == 1 })
	for _, s := range []string{"1", "2", "3", "4", "5"} {
		c.publish(0, own+"/rq", s)
	}
	c.ping()
	close(answer)
	for _, want := range []string{"1", "2"} {
		if _, got := c.message(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	c.ping()
	eventually(t, "all are done", f.noRequests)
	if n := calls.Load(); n != 3 {
		t.Errorf("%d calls, want 3: one at work and two in the queue", n)
	}
	c.publish(0, own+"/rq", "again")
	if _, got := c.message(); got != "again" {
		t.Errorf("got %q", got)
	}
	f.logs.mu.Lock()
	f.logs.b.Reset() // the panic asked for
	f.logs.mu.Unlock()
}

// One client can't fill the queue: what it asks beyond its share is dropped.
func TestRequestsOfOneClient(t *testing.T) {
	var calls atomic.Int32
	answer := make(chan struct{})
	f := start(t, func(c *Config, _ *fixture) {
		c.Workers = 1
		c.Respond = func(context.Context, Request) []byte {
			calls.Add(1)
			<-answer
			return nil
		}
	})
	greedy := f.mustConnect(connectPacket{version: 5, id: anonA})
	for range 5 * maxJobsPerConn {
		greedy.publish(0, "signet/v1/"+anonA+"/rq", "x")
	}
	greedy.ping()
	other := f.mustConnect(connectPacket{version: 5, id: anonB})
	other.publish(0, "signet/v1/"+anonB+"/rq", "x")
	other.ping()
	close(answer)
	eventually(t, "all are done", f.noRequests)
	if n := calls.Load(); n != maxJobsPerConn+1 {
		t.Errorf("%d calls, want %d and the other's", n, maxJobsPerConn)
	}
}

func (f *fixture) noRequests() bool {
	f.requests.mu.Lock()
	defer f.requests.mu.Unlock()
	return f.requests.workers == 0
}

func TestClose(t *testing.T) {
	f := start(t, nil)
	c := f.mustConnect(as("p:n", 5))
	silent := f.dial()
	old := f.mustConnect(as("p:m", 4))
	c.ping()
	old.ping()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
	c.ended(ReasonShutdown)
	old.ended(ReasonShutdown)
	silent.closed()
	if err := f.Close(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("closing again: %v", err)
	}
	if nc, err := net.Dial("tcp", f.addr); err == nil {
		nc.Close()
		t.Error("still listening")
	}
	f.serveConn(c.nc) // closes it
}

func TestConfig(t *testing.T) {
	ok := Config{Gate: &testGate{}, Respond: func(context.Context, Request) []byte { return nil }}
	for name, change := range map[string]func(*Config){
		"no gate":      func(c *Config) { c.Gate = nil },
		"no responder": func(c *Config) { c.Respond = nil },
		"negative":     func(c *Config) { c.Workers = -1 },
		"tiny packets": func(c *Config) { c.MaxPacket = 100 },
		"huge packets": func(c *Config) { c.MaxPacket = 1 << 30 },
	} {
		c := ok
		if change(&c); c.Log != nil {
			continue
		}
		if s, err := New(c); err == nil {
			_ = s.Close(context.Background())
			t.Errorf("%s: accepted", name)
		}
	}
}

package mqttd

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/protocol/topic"
)

// Sockets that say nothing, or one byte at a time, keep nobody out: neither
// a device with a token nor a stranger who wants one.
func TestSlowSocketsKeepNobodyOut(t *testing.T) {
	const slow = 500
	f := start(t, func(c *Config, _ *fixture) { c.Limits = intake.Limits{Conns: 200, Strangers: 100, PerSource: -1} })
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
		return len(f.open) <= 200 && f.intake.Strangers() <= 100
	})
	newRaw(t, sockets[0]).closed()
}

// An anonymous connection that makes room hears why; one that was upgraded stays.
func TestAnonymousMakesRoom(t *testing.T) {
	f := start(t, func(c *Config, _ *fixture) { c.Limits.Strangers = 2 })
	own := f.mustConnect(connectPacket{version: 5, id: anonA})
	d := device(t, "p:n")
	if err := f.Upgrade(anonA, Standing{Device: d, Permissions: topic.Own(d)}); err != nil {
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
	f := start(t, func(c *Config, _ *fixture) { c.Limits = intake.Limits{PerSource: 1} })
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
	if got := f.clients.get("p:n").remote(); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("its address is %q", got)
	}
	dial().closed()
	c.ping()
}

func TestTooFastFromOneSource(t *testing.T) {
	f := start(t, func(c *Config, _ *fixture) { c.Limits = intake.Limits{Rate: 1e-6, Burst: 2} })
	first, second := f.mustConnect(as("p:n", 5)), f.mustConnect(as("p:m", 5))
	f.dial().closed()
	first.ping()
	second.ping()
}

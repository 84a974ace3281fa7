package adminapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// fakeMQTT is an MQTT server whose connections are what a test says.
type fakeMQTT struct {
	mu     sync.Mutex // guards the rest
	conns  []broker.Connection
	asked  broker.ConnectionQuery
	kicked []uint64

	traced   []string
	packets  []broker.TracedPacket
	traceErr error
	closed   int
}

// Trace gives the packets that a test says, then waits.
func (f *fakeMQTT) Trace(d ident.Device, payloads bool) (broker.PacketTrace, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.traceErr != nil {
		return nil, f.traceErr
	}
	f.traced = append(f.traced, fmt.Sprint(d, payloads))
	return &fakeTrace{f, f.packets}, nil
}

type fakeTrace struct {
	of   *fakeMQTT
	left []broker.TracedPacket
}

func (t *fakeTrace) Next(ctx context.Context) (p broker.TracedPacket, ok bool) {
	if len(t.left) == 0 {
		<-ctx.Done()
		return p, false
	}
	p, t.left = t.left[0], t.left[1:]
	return p, true
}

func (t *fakeTrace) Lost() uint64 { return 7 }

func (t *fakeTrace) Close() {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.of.closed++
}

func (f *fakeMQTT) List(q broker.ConnectionQuery) (some []broker.Connection, next string, err error) {
	if err := q.Validate(); err != nil {
		return nil, "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = q
	for _, c := range f.conns {
		if q.Reach != nil && !q.Reach(c.Device.Pool) || fmt.Sprint(c.Number) <= q.After {
			continue
		}
		if len(some) == q.Limit {
			return some, fmt.Sprint(some[len(some)-1].Number), nil
		}
		some = append(some, c)
	}
	return some, "", nil
}

func (f *fakeMQTT) Find(numbers ...uint64) (found []broker.Connection) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		if slices.Contains(numbers, c.Number) {
			found = append(found, c)
		}
	}
	return found
}

func (f *fakeMQTT) Kick(numbers ...uint64) []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kicked = append(f.kicked, numbers...)
	f.conns = slices.DeleteFunc(f.conns, func(c broker.Connection) bool { return slices.Contains(numbers, c.Number) })
	return numbers
}

func connected(t *testing.T, number uint64, name string) broker.Connection {
	c := broker.Connection{Number: number, ClientID: name, Remote: "192.0.2.7:1000", MQTT: "5", Began: time.Unix(1e9, 0), Admitted: broker.AdmittedToken, KeepAlive: time.Minute, Filters: []string{"t/#"}}
	if !strings.HasPrefix(name, "anon-") {
		c.Device = identtest.Device(t, name)
	}
	return c
}

// TestConnectionsAreTheirPools: an operator sees and ends connections of his pools' devices, and
// those of others are none for him.
func TestConnectionsAreTheirPools(t *testing.T) {
	a := serve(t)
	a.mqtt.conns = []broker.Connection{connected(t, 1, "mine:lamp"), connected(t, 2, "other:lamp"), connected(t, 3, "anon-1"), connected(t, 4, "mine:lamp"), connected(t, 5, "mine:away")}
	a.mqtt.conns[4].Away = true
	for _, name := range []string{"mine", "other"} {
		if _, err := a.client(t).CreatePool(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	bob := a.operator(t, "bob", broker.OperatorWrite, poolOf(t, "mine"))
	reader := a.operator(t, "eve", broker.OperatorRead)
	has := func(auth, method, path, body, want string) {
		t.Helper()
		res, got := a.ask(t, method, "/api/v1"+path, auth, body)
		if got = fmt.Sprint(res.StatusCode, " ", got); !strings.Contains(got, want) {
			t.Errorf("%s %s: %.300s, want %s", method, path, got, want)
		}
	}
	c, err := adminapi.NewClient(a.server.URL, strings.TrimPrefix(bob, "Bearer "), a.server.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	some, from, err := c.Connections(t.Context(), adminapi.ConnectionQuery{}, 0)
	if err != nil || from != "here" || len(some) != 3 || some[0].ID != "run1-1" || some[0].FullName() != "mine:lamp" || some[1].ID != "run1-4" {
		t.Errorf("bob sees %+v of %q, %v", some, from, err)
	}
	for _, id := range []string{"run1-2", "run1-3", "run1-99", "run2-1", "1", "run1-01", "run1-"} {
		has(bob, "GET", "/connections/"+id, "", "404")
	}
	has(bob, "GET", "/connections/run1-1", "", `200 {"id":"run1-1","pool":"mine","device":"lamp"`)
	has(bob, "GET", "/connections?strangers=true", "", "403")
	has(bob, "GET", "/connections?pool=other", "", "403")
	has(reader, "GET", "/connections/run1-2", "", "200")
	has(reader, "POST", "/connections/kick", `{"ids":["run1-1"]}`, "403")
	ended, err := c.Because("it hangs").Kick(t.Context(), []string{"run1-1", "run1-2", "run1-3", "run1-4", "run1-5", "run2-1"})
	if err != nil || !slices.Equal(ended, []string{"run1-1", "run1-4"}) || !slices.Equal(a.mqtt.kicked, []uint64{1, 4}) {
		t.Errorf("bob ended %v, %v; the server %v", ended, err, a.mqtt.kicked)
	}
	trail, err := a.client(t).LatestAudit(t.Context(), adminapi.AuditQuery{Device: "mine:lamp", Kind: "connection"}, 0, 10)
	if err != nil || len(trail.Items) != 1 {
		t.Fatal(trail, err)
	}
	if r := trail.Items[0]; r.Actor != "operator:bob" || r.Action != "kick" || r.Name != "lamp" || r.Count != 2 || r.Reason != "it hangs" || r.Request == "" {
		t.Errorf("the journal has %+v", r)
	}
	ended, err = a.client(t).Kick(t.Context(), []string{"run1-2", "run1-3"})
	if err != nil || len(ended) != 2 {
		t.Errorf("the admin ended %v, %v", ended, err)
	}
}

// TestConnectionsAreAskedFor: the query that the server gets is the one that was asked.
func TestConnectionsAreAskedFor(t *testing.T) {
	a := serve(t)
	for i := range 1200 {
		a.mqtt.conns = append(a.mqtt.conns, connected(t, uint64(10_000+i), "mine:lamp"))
	}
	c := a.client(t)
	for limit, want := range map[int]int{0: 1200, 7: 7, 700: 700, 5000: 1200} {
		if some, _, err := c.Connections(t.Context(), adminapi.ConnectionQuery{}, limit); err != nil || len(some) != want {
			t.Errorf("up to %d: %d, %v", limit, len(some), err)
		}
	}
	q := adminapi.ConnectionQuery{Pool: "mine", Device: "lamp", Source: "192.0.2.0/24", Older: adminapi.Duration(time.Hour), Queued: 5, Away: true, Sort: "queued"}
	if _, _, err := c.Connections(t.Context(), q, 7); err != nil {
		t.Fatal(err)
	}
	got := a.mqtt.asked
	want := broker.ConnectionQuery{Pool: poolOf(t, "mine"), Device: identtest.Device(t, "mine:lamp"), Source: netip.MustParsePrefix("192.0.2.0/24"), Older: time.Hour, Queued: 5, Away: true, Order: "queued", Limit: 7}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for text, want := range map[string]string{"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8::1": "2001:db8::1/128", "2001:db8::/32": "2001:db8::/32"} {
		if _, _, err := c.Connections(t.Context(), adminapi.ConnectionQuery{Source: text}, 1); err != nil || a.mqtt.asked.Source.String() != want {
			t.Errorf("source %s: %v, %v, want %s", text, a.mqtt.asked.Source, err, want)
		}
	}
	for _, bad := range []adminapi.ConnectionQuery{
		{Device: "lamp"}, {Source: "x"}, {Source: "192.0.2.7/24"}, {Source: "fe80::1%eth0"}, {Sort: "name"}, {Pool: "NO"}, {Pool: "mine", Strangers: true}, {Queued: -1, Sort: "x"},
	} {
		if _, _, err := c.Connections(t.Context(), bad, 1); err == nil {
			t.Errorf("%+v: answered", bad)
		}
	}
	if res, _ := a.ask(t, "POST", "/api/v1/connections/kick", "Bearer "+a.token, `{"ids":[]}`); res.StatusCode != 422 {
		t.Errorf("none to kick: %d", res.StatusCode)
	}
	if _, err := c.Connection(t.Context(), "run1-1"); err == nil {
		t.Error("one that there is not: shown")
	}
}

// TestTrace: who may trace what for how long, and that the journal has it before a packet is shown. The lines
// are what the server tells, and the last says that it is over.
func TestTrace(t *testing.T) {
	a := serve(t)
	for _, name := range []string{"mine", "other"} {
		if _, err := a.client(t).CreatePool(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if _, err := a.client(t).In(name).CreateDevice(t.Context(), adminapi.NewDevice{Name: "lamp"}); err != nil {
			t.Fatal(err)
		}
	}
	a.mqtt.packets = []broker.TracedPacket{
		{Connection: 3, ClientID: "x", Type: "PUBLISH", QoS: 1, ID: 9, Topic: "t/x", Size: 12, Length: 2, Payload: []byte("hi"), Lost: 5},
		{Connection: 3, Sent: true, Type: "PUBACK", ID: 9, Codes: []string{"0x00 success"}},
	}
	bob := a.operator(t, "bob", broker.OperatorWrite, poolOf(t, "mine"))
	c, err := adminapi.NewClient(a.server.URL, strings.TrimPrefix(bob, "Bearer "), a.server.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	var lines []adminapi.TracedPacket
	keep := func(l adminapi.TracedPacket) error { lines = append(lines, l); return nil }
	if err := c.In("mine").Trace(t.Context(), "lamp", adminapi.TraceQuery{For: adminapi.Duration(time.Second)}, keep); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 3 || lines[0].Connection != "run1-3" || *lines[0].QoS != 1 || string(lines[0].Payload) != "hi" || lines[0].Lost != 5 || lines[0].From != "device" ||
		lines[1].From != "broker" || lines[1].QoS != nil || lines[2].Type != "end" || lines[2].Lost != 7 {
		t.Errorf("%+v", lines)
	}
	denied := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	second := adminapi.Duration(time.Second)
	denied("payloads", c.In("mine").Trace(t.Context(), "lamp", adminapi.TraceQuery{For: second, Payload: true}, keep), "this needs scope admin")
	denied("another pool", c.In("other").Trace(t.Context(), "lamp", adminapi.TraceQuery{For: second}, keep), "another pool")
	denied("no such device", c.In("mine").Trace(t.Context(), "none", adminapi.TraceQuery{For: second}, keep), "not found")
	denied("too long", c.In("mine").Trace(t.Context(), "lamp", adminapi.TraceQuery{For: adminapi.Duration(time.Hour)}, keep), "1s to 10m")
	if len(a.mqtt.traced) != 1 || strings.Contains(a.log.String(), "WARN") {
		t.Errorf("traced %v: %s", a.mqtt.traced, a.log)
	}
	enough := errors.New("enough")
	if err := a.client(t).Because("ticket 7").In("mine").Trace(t.Context(), "lamp", adminapi.TraceQuery{Payload: true}, func(adminapi.TracedPacket) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("who has seen enough: %v", err)
	}
	if !strings.Contains(a.log.String(), "level=WARN msg=\"an operator traces a device's packets with their payloads\"") {
		t.Error(a.log)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // he is gone, which the broker notices
		a.mqtt.mu.Lock()
		closed := a.mqtt.closed
		a.mqtt.mu.Unlock()
		if closed == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d traces are closed, want both", closed)
		}
	}
	trail, err := a.client(t).LatestAudit(t.Context(), adminapi.AuditQuery{Device: "mine:lamp", Kind: "connection"}, 0, 10)
	if err != nil || len(trail.Items) != 2 {
		t.Fatal(trail, err)
	}
	if one, two := trail.Items[0], trail.Items[1]; one.Actor != "operator:bob" || one.Action != "trace" || two.Actor != "operator:ada" || two.Action != "trace-payloads" || two.Reason != "ticket 7" {
		t.Errorf("the journal has %+v", trail.Items)
	}
	a.mqtt.mu.Lock()
	a.mqtt.traceErr = fmt.Errorf("%w: 4 traces run already", broker.ErrConflict)
	a.mqtt.mu.Unlock()
	denied("one too many", c.In("mine").Trace(t.Context(), "lamp", adminapi.TraceQuery{For: second}, keep), "4 traces run already")
}

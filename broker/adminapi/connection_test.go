package adminapi_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// fakeMQTT is an MQTT server whose connections are what a test says.
type fakeMQTT struct {
	mu     sync.Mutex // guards the rest
	conns  []broker.Connection
	asked  broker.ConnectionQuery
	kicked []uint64
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

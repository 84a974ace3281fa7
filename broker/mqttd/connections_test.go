package mqttd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// listed gives the client ids of a list, in order.
func (b *bubble) listed(q Query) string {
	b.t.Helper()
	synctest.Wait()
	if q.Limit == 0 {
		q.Limit = 100
	}
	some, next, err := b.Connections(q)
	if err != nil || next != "" {
		b.t.Errorf("%v, next %q", err, next)
	}
	var ids []string
	for _, c := range some {
		ids = append(ids, c.ClientID)
	}
	return strings.Join(ids, " ")
}

// TestConnectionsAreListed: a list has what its filters ask for, in its order, page by page, each
// connection once.
func TestConnectionsAreListed(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		a := b.join("p:a", stays(1000))
		a.subscribe(1, "t/#")
		time.Sleep(time.Minute)
		b.join("p:b", named("second"))
		away := b.join("p:c", stays(500))
		away.subscribe(1, "t/#")
		away.cut()
		time.Sleep(time.Minute)
		from := b.join("p:d", nil)
		for i := range 3 {
			from.publish(1, uint16(i+1), "t/x=1")
		}
		anon := packet.Connect{Version: packet.V311, CleanStart: true, ClientID: anonA}
		b.open(packet.V311, packet.AppendConnect(nil, &anon))
		pool := device(t, "p:a").Pool
		for name, c := range map[string]struct {
			Query
			want string
		}{
			"all":                {Query{}, "p:a second p:d"},
			"by device":          {Query{Order: OrderDevice}, "p:a second p:d"},
			"longest silent":     {Query{Order: OrderSilent}, "second p:a p:d"}, // p:a acknowledges nothing, but has subscribed
			"fullest":            {Query{Order: OrderQueue, Away: true, Queued: 1}, "p:c"},
			"with absent":        {Query{Away: true, Order: OrderDevice}, "p:a second p:c p:d"},
			"strangers":          {Query{Strangers: true}, anonA},
			"of one device":      {Query{Device: device(t, "p:b")}, "second"},
			"of a pool":          {Query{Pool: pool}, "p:a second p:d"},
			"of another pool":    {Query{Pool: device(t, "q:a").Pool}, ""},
			"in reach":           {Query{Reach: func(p ident.Pool) bool { return p == pool }}, "p:a second p:d"},
			"out of reach":       {Query{Reach: func(ident.Pool) bool { return false }}, ""},
			"strangers in reach": {Query{Strangers: true, Reach: func(ident.Pool) bool { return true }}, ""},
			"older":              {Query{Older: 90 * time.Second}, "p:a"},
			"from there":         {Query{Source: netip.MustParsePrefix("127.0.0.0/8"), Away: true}, "p:a second p:d"},
			"from elsewhere":     {Query{Source: netip.MustParsePrefix("192.0.2.0/24")}, ""},
		} {
			if c.Order == OrderSilent {
				a.send(packet.AppendPingreq(nil))
				synctest.Wait()
			}
			if got := b.listed(c.Query); got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
		for _, o := range []string{OrderAge, OrderDevice, OrderSource, OrderQueue, OrderSilent} {
			var got []string
			q := Query{Order: o, Limit: 1, Away: true}
			for {
				some, next, err := b.Connections(q)
				if err != nil || len(some) != 1 {
					t.Fatalf("%s: %v, %v", o, some, err)
				}
				got = append(got, some[0].ClientID)
				if q.After = next; next == "" {
					break
				}
			}
			if q.Limit, q.After = 100, ""; strings.Join(got, " ") != b.listed(q) || len(got) != 4 {
				t.Errorf("%s, one by one: %v, want %s", o, got, b.listed(q))
			}
		}
		if _, _, err := b.Connections(Query{After: "x", Limit: 1}); err == nil {
			t.Error("an after that is none: accepted")
		}
	})
}

// TestConnectionIsDescribed: what is told of a connection is what it is.
func TestConnectionIsDescribed(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxKeepAlive = 40 * time.Second }, func(b *bubble) {
		until := time.Now().Add(time.Hour)
		b.gate.expires[device(t, "p:a")] = until
		began := time.Now()
		a := b.join("p:a", both(stays(1000), func(p *packet.Connect) { p.KeepAlive, p.ReceiveMaximum = 30, 2 }))
		a.subscribe(1, "t/#", "$share/g/t/x")
		a.send(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{ID: 9, Filters: []packet.Filter{{Text: "signet/v1/p:a/ev"}}}))
		from := b.join("p:b", nil)
		for i := range 5 {
			from.publish(1, uint16(i+1), "t/y=0123456789")
		}
		synctest.Wait()
		time.Sleep(10 * time.Second)
		a.send(packet.AppendPingreq(nil))
		synctest.Wait()
		some, _, err := b.Connections(Query{Device: device(t, "p:a"), Limit: 1})
		if err != nil || len(some) != 1 || some[0].Filters != nil {
			t.Fatal(some, err)
		}
		got := b.Find(some[0].Number)[0]
		bytes := got.Bytes
		got.Bytes = 0
		filters := slices.Sorted(slices.Values(got.Filters))
		got.Filters = nil
		want := Connection{
			Number: some[0].Number, Device: device(t, "p:a"), ClientID: "p:a", Remote: "127.0.0.1:40000", MQTT: "5", Began: began, Heard: began.Add(10 * time.Second),
			KeepAlive: 30 * time.Second, Admitted: AdmittedToken, Until: until, Subscriptions: 3, Queued: 3, Inflight: 2, Expiry: 1000 * time.Second,
		}
		if got.Heard.Sub(want.Heard).Abs() < time.Millisecond {
			got.Heard = want.Heard // counted from another moment
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if bytes < 50 {
			t.Errorf("%d bytes", bytes)
		}
		if want := []string{"$share/g/t/x", "signet/v1/p:a/ev", "t/#"}; !slices.Equal(filters, want) {
			t.Errorf("subscribed to %v", filters)
		}
		a.cut()
		gone := b.Find(some[0].Number)
		if len(gone) != 1 || !gone[0].Away || gone[0].Remote != "" || time.Until(gone[0].Ends) != 1000*time.Second || gone[0].Queued+gone[0].Inflight != 5 {
			t.Errorf("its session, without it: %+v", gone)
		}
		b.resume("p:a", true, nil)
		if old := b.Find(some[0].Number); len(old) != 0 {
			t.Errorf("its number is another's: %+v", old)
		}
	})
}

// TestKick: connections end with their reason, their wills are sent, their sessions stay; one that is gone is not another.
func TestKick(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		a := b.join("p:a", stays(1000))
		a.subscribe(1, "t/#")
		other := b.join("p:b", nil)
		all, _, err := b.Connections(Query{Device: device(t, "p:a"), Limit: 10})
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		number := all[0].Number
		if ended := b.Kick(ReasonAdministrative, number, number+100); !slices.Equal(ended, []uint64{number}) {
			t.Errorf("ended %v", ended)
		}
		if got := a.took(); !slices.Equal(got, []string{"disconnect 0x98", "closed"}) {
			t.Errorf("it heard %q", got)
		}
		if n := b.ended(ReasonAdministrative); n != 1 {
			t.Errorf("%d counted", n)
		}
		if ended := b.Kick(ReasonAdministrative, number); len(ended) != 0 {
			t.Errorf("a session without a connection: ended %v", ended)
		}
		b.resume("p:a", true, nil).want()
		if ended := b.Kick(ReasonAdministrative, number); len(ended) != 0 {
			t.Errorf("by a number that is no more: ended %v", ended)
		}
		other.want()
	})
}

// TestConnectionsOverWhat: a list tells WebSocket and login.
func TestConnectionsOverWhat(t *testing.T) {
	f := start(t, nil)
	web := serveWeb(t, f)
	ws, _, err := websocket.Dial(t.Context(), web.URL, &websocket.DialOptions{HTTPClient: web.Client(), Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	c := newRaw(t, websocket.NetConn(t.Context(), ws, websocket.MessageBinary))
	c.send(as("p:n", 4).bytes())
	if kind, body := c.next(); kind != 0x20 || body[1] != 0 {
		t.Fatalf("packet %#x %x", kind, body)
	}
	d := device(t, "p:m")
	f.mustConnect(connectPacket{version: 5, id: anonA})
	if err := f.Upgrade(anonA, Standing{Device: d, Permissions: topic.Own(d)}); err != nil {
		t.Fatal(err)
	}
	some, _, err := f.Connections(Query{Order: OrderDevice, Limit: 10})
	if err != nil || len(some) < 2 {
		t.Fatal(some, err)
	}
	for _, got := range some {
		switch got.Device.Name.String() {
		case "m":
			if got.Admitted != AdmittedLogin || got.WebSocket || got.MQTT != "5" {
				t.Errorf("%+v", got)
			}
		case "n":
			if got.Admitted != AdmittedToken || !got.WebSocket || got.MQTT != "3.1.1" || !strings.HasPrefix(got.TLS, "TLS 1.") || got.Cipher == "" {
				t.Errorf("%+v", got)
			}
		}
	}
}

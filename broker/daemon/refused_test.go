package daemon_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/localapi"
)

// metric reads one line of /metrics.
func (s *site) metric(t *testing.T, health net.Addr, line string) string {
	t.Helper()
	res, err := http.Get("http://" + health.String() + "/metrics") //nolint:noctx // a test's
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(text, line+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return "nowhere"
}

// TestRefusedConnectionsAreSeen: nothing that a listener turns away is turned away in
// silence: each cause is counted, and logged with the address and why, a flood in sums.
func TestRefusedConnectionsAreSeen(t *testing.T) {
	s := newSite(t)
	s.cfg.Limits = config.Limits{Rate: 1e-9, Burst: 40}
	s.cfg.Balancer.HTTPSProxy = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // not from here
	s.cfg.MQTT.WebOrigins = []string{"https://dashboard.example"}
	d, _ := s.serve(t)
	plain := func(addr net.Addr, head string) {
		t.Helper()
		nc, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, head); err != nil {
			t.Fatal(err)
		}
		closes(t, nc)
	}
	web := func(change func(*http.Request)) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost:"+fmt.Sprint(d.Addrs.HTTPS.(*net.TCPAddr).Port)+"/mqtt", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(req)
		res, err := s.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	distrusts := func(addr net.Addr) {
		t.Helper()
		if _, err := tls.Dial("tcp", addr.String(), &tls.Config{ServerName: "localhost"}); err == nil {
			t.Fatal("the certificate was believed")
		}
	}
	const upgrade = "Upgrade"
	elsewhere := func(r *http.Request) {
		r.URL.Path, r.Header = "/ws", http.Header{"Connection": {upgrade}, upgrade: {"websocket"}}
	}
	for _, c := range []struct {
		listener, cause, why string
		do                   func()
	}{
		{"mqtt", "proxy", "not listed as a balancer's", func() { plain(d.Addrs.MQTT, "PROXY TCP4 203.0.113.9 192.0.2.1 4711 8883\r\n") }},
		{"https", "proxy", "not listed as a balancer's", func() { plain(d.Addrs.HTTPS, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c") }},
		{"mqtt", "tls", "does not look like a TLS handshake", func() { plain(d.Addrs.MQTT, "GET / HTTP/1.1\r\n\r\n") }},
		{"https", "tls", "does not look like a TLS handshake", func() { plain(d.Addrs.HTTPS, "GET / HTTP/1.1\r\n\r\n") }},
		{"mqtt", "tls", "bad certificate", func() { distrusts(d.Addrs.MQTT) }},
		{"https", "tls", "bad certificate", func() { distrusts(d.Addrs.HTTPS) }},
		{"https", "websocket", "does not contain Upgrade", func() { web(func(*http.Request) {}) }},
		{"https", "websocket", "unsupported WebSocket protocol version", func() {
			web(func(r *http.Request) { r.Header = http.Header{"Connection": {upgrade}, upgrade: {"websocket"}} })
		}},
		{"https", "websocket", "MQTT is spoken at /mqtt", func() { web(elsewhere) }},
		{"https", "websocket", "the subprotocol must be", func() {
			if ws, _, err := websocket.Dial(t.Context(), "https://localhost:"+fmt.Sprint(d.Addrs.HTTPS.(*net.TCPAddr).Port)+"/mqtt", &websocket.DialOptions{HTTPClient: s.client(), Subprotocols: []string{"chat"}}); err == nil {
				_, _, _ = ws.Read(t.Context())
			}
		}},
		{"https", "origin", "is not listed as an origin", func() {
			if ws, res, err := websocket.Dial(t.Context(), "https://localhost:"+fmt.Sprint(d.Addrs.HTTPS.(*net.TCPAddr).Port)+"/mqtt", &websocket.DialOptions{
				HTTPClient: s.client(), Subprotocols: []string{"mqtt"}, HTTPHeader: http.Header{"Origin": {"https://other.example"}},
			}); err == nil {
				t.Error("a page of an origin that is not listed connected")
				_ = ws.CloseNow()
			} else if res == nil || res.StatusCode != http.StatusForbidden {
				t.Error(err)
			}
		}},
		{"mqtt", "connect", "no valid token", func() { // why is said, however long the client id is
			id, user := strings.Repeat("\u0378", 120), "demo:lamp-1"
			text := func(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }
			rest := text("MQTT") + "\x04\xc2\x00\x3c" + text(id) + text(user) + text("none")
			trusting := s.client().Transport.(*http.Transport).TLSClientConfig
			trusting.ServerName = "localhost"
			nc, err := tls.Dial("tcp", d.Addrs.MQTT.String(), trusting)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := nc.Write(append(binary.AppendUvarint([]byte{0x10}, uint64(len(rest))), rest...)); err != nil {
				t.Fatal(err)
			}
			closes(t, nc)
		}},
		{"mqtt", "rate", "come too fast", func() {
			for range 50 {
				if nc, err := net.Dial("tcp", d.Addrs.MQTT.String()); err == nil {
					_ = nc.Close()
				}
			}
		}},
	} {
		line := fmt.Sprintf("signet_connections_refused_total{cause=%q,listener=%q}", c.cause, c.listener)
		before := s.metric(t, d.Addrs.Health, line)
		c.do()
		for n := 0; s.metric(t, d.Addrs.Health, line) == before; n++ {
			if n > 1000 {
				t.Fatalf("%s is still %s: %s", line, before, c.why)
			}
			time.Sleep(5 * time.Millisecond)
		}
		seen := fmt.Sprintf("listener=%s cause=%s remote=127.0.0.1:", c.listener, c.cause)
		if before == "0" && (!strings.Contains(s.log.String(), seen) || !strings.Contains(s.log.String(), c.why)) {
			t.Errorf("%s, %s: not in the log:\n%s", seen, c.why, s.log.String())
		}
	}
	if n := strings.Count(s.log.String(), "connection refused"); n > 10 {
		t.Errorf("%d lines of a flood", n)
	}
}

// TestSumsAreToldAtTheEnd: what is summed up is in the log when the broker stops, before it says so.
func TestSumsAreToldAtTheEnd(t *testing.T) {
	s := newSite(t)
	d, stop := s.serve(t)
	ready(t, d)
	for range 5 {
		get(t, s.client(), "GET", d.Issuer()+"/api/v1/pools")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	said := s.log.String()
	if sum, end := strings.Index(said, "more=4"), strings.Index(said, "msg=stopped"); sum < 0 || end < sum {
		t.Errorf("of five refused requests it says %s", said)
	}
}

// TestPortThatIsLookedAtIsNotRefused: who only looks whether somebody listens fills no log.
func TestPortThatIsLookedAtIsNotRefused(t *testing.T) {
	s := newSite(t)
	s.cfg.Balancer.MQTTProxy = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	d, stop := s.serve(t)
	for _, addr := range []net.Addr{d.Addrs.MQTT, d.Addrs.HTTPS} {
		nc, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		closes(t, nc)
		_ = nc.Close()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if strings.Contains(s.log.String(), "connection refused") {
		t.Errorf("logged:\n%s", s.log.String())
	}
}

// TestSourcesBehindBalancers: limits count the client of whom the balancer tells, by a PROXY
// header of either version or by X-Forwarded-For, and not the balancer; a client cannot tell it himself.
func TestSourcesBehindBalancers(t *testing.T) {
	here := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	for name, c := range map[string]struct {
		balancer config.Balancer
		head     string // before TLS, with a place for the source
		header   string // of the request
		own      bool   // each source has a limit of its own
	}{
		"PROXY":               {config.Balancer{HTTPSProxy: here}, "PROXY TCP4 %s 192.0.2.1 4711 8443\r\n", "", true},
		"PROXY, version 2":    {config.Balancer{HTTPSProxy: here}, proxied, "", true},
		"X-Forwarded-For":     {config.Balancer{HTTPSEndsTLS: here}, "", "192.0.2.66, %s", true},
		"both, one is a lie":  {config.Balancer{HTTPSProxy: here, HTTPSEndsTLS: here}, "PROXY TCP4 203.0.113.1 192.0.2.1 4711 8443\r\n", "%s", false},
		"a client's own lie":  {config.Balancer{}, "", "%s", false},
		"no word of a source": {config.Balancer{HTTPSEndsTLS: here}, "", "", false},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			s := newSite(t)
			s.cfg.Limits, s.cfg.Balancer = config.Limits{Rate: 1e-9, Burst: 2}, c.balancer
			d, _ := s.serve(t)
			come := func(source string) error {
				client := s.client()
				client.Transport.(*http.Transport).DialContext = through(d.Addrs.HTTPS.String(), fill(c.head, source))
				header := http.Header{}
				if c.header != "" {
					header.Set("X-Forwarded-For", fill(c.header, source))
				}
				ws, _, err := websocket.Dial(t.Context(), "https://localhost/mqtt", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"mqtt"}, HTTPHeader: header})
				if err != nil {
					return err
				}
				defer ws.CloseNow() //nolint:errcheck // done with it
				nc := websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
				if _, err := io.WriteString(nc, "\x10\x31\x00\x04MQTT\x04\x02\x00\x3c\x00\x25anon-"+strings.Repeat("0f", 16)); err != nil {
					return err
				}
				answer := make([]byte, 4)
				if _, err = io.ReadFull(nc, answer); err == nil && answer[3] != 0 {
					err = fmt.Errorf("CONNACK with code %d", answer[3])
				}
				return err
			}
			for _, source := range []string{"203.0.113.1", "203.0.113.1"} {
				if err := come(source); err != nil {
					t.Fatal(err)
				}
			}
			if come("203.0.113.1") == nil {
				t.Error("a third connection of one source came in")
			}
			if err := come("203.0.113.2"); (err == nil) != c.own {
				t.Errorf("another source: %v", err)
			}
		})
	}
}

// through dials an address, whichever is asked for, and begins with head.
func through(addr, head string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			_, err = io.WriteString(nc, head)
		}
		return nc, err
	}
}

// proxied begins a PROXY header of version 2, over TCP and IPv4, and has a place for the source.
const proxied = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c%s"

// fill puts a source in its place, if there is one.
func fill(text, source string) string {
	if head, ok := strings.CutSuffix(text, "%s"); ok && strings.HasPrefix(text, "\r\n") {
		at := netip.MustParseAddr(source).As4()
		return head + string(at[:]) + "\xc0\x00\x02\x01\x12\x67\x20\xfb"
	}
	return strings.Replace(text, "%s", source, 1)
}

// TestForbiddenRequestsAreSeen: what an operator may not do is counted by what is lacking, and summed up
// in the journal as the operator's.
func TestForbiddenRequestsAreSeen(t *testing.T) {
	s := newSite(t)
	d, stop := s.serve(t)
	ready(t, d)
	local := localapi.Client(s.cfg.Data)
	if _, err := local.CreatePool(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	bob, err := local.CreateOperator(t.Context(), adminapi.NewOperator{Name: "bob", Scope: "read", Pools: []string{"demo"}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := adminapi.NewClient(d.Issuer(), bob.Token, s.client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := c.CreatePool(t.Context(), "other"); err == nil {
			t.Error("he may")
		}
	}
	for range 2 {
		if _, err := c.Pool(t.Context(), "other"); err == nil {
			t.Error("he may")
		}
	}
	for cause, want := range map[string]string{"scope": "3", "pool": "2"} {
		if got := s.metric(t, d.Addrs.Health, fmt.Sprintf("signet_operator_refused_total{cause=%q}", cause)); got != want {
			t.Errorf("%s: %s, want %s", cause, got, want)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	parts, err := s.hold(t)
	if err != nil {
		t.Fatal(err)
	}
	defer s.store.Close()
	all, err := parts.Store.Since(t.Context(), 0, broker.MaxList)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[broker.What]uint32{}
	for _, r := range all {
		if r.Kind == broker.RecordRefusal && r.By.Actor == broker.OperatorActor("bob") {
			sums[r.What] += r.Count
		}
	}
	if sums["forbidden-scope"] != 3 || sums["forbidden-pool"] != 2 {
		t.Errorf("the journal has %v", sums)
	}
}

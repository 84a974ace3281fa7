package mqttd

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/signetd/signet/broker/intake"
)

// Each version over each transport: TLS, and WebSocket on an HTTPS server, whose
// own timeouts must not end a connection that is handed over.
func TestTransports(t *testing.T) {
	server, client := selfSigned(t)
	f := startOn(t, nil, func(ln net.Listener) net.Listener { return tls.NewListener(ln, server) })
	web := httptest.NewUnstartedServer(f.Handler())
	web.Config.ReadHeaderTimeout, web.Config.ReadTimeout, web.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	web.Config.IdleTimeout = 100 * time.Millisecond
	web.TLS = server
	web.StartTLS()
	t.Cleanup(web.Close)
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: client}}
	t.Cleanup(trusting.CloseIdleConnections)

	for name, dial := range map[string]func(*testing.T) *raw{
		"TLS": func(t *testing.T) *raw {
			conf := client.Clone()
			conf.ServerName = "127.0.0.1"
			nc, err := tls.Dial("tcp", f.addr, conf)
			if err != nil {
				t.Fatal(err)
			}
			return newRaw(t, nc)
		},
		"WebSocket": func(t *testing.T) *raw {
			var ws *websocket.Conn
			eventually(t, "it connects", func() bool { // on a busy machine a handshake may take longer than the server allows
				var err error
				ws, _, err = websocket.Dial(t.Context(), web.URL, &websocket.DialOptions{HTTPClient: trusting, Subprotocols: []string{"mqtt"}})
				return err == nil
			})
			return newRaw(t, websocket.NetConn(t.Context(), ws, websocket.MessageBinary))
		},
	} {
		for version, called := range map[byte]string{4: "3.1.1", 5: "5"} {
			t.Run(name+" "+called, func(t *testing.T) { f.throughLife(t, version, dial) })
		}
	}
}

// throughLife takes an anonymous client and a device through all that they may do.
func (f *fixture) throughLife(t *testing.T, version byte, dial func(*testing.T) *raw) {
	connect := func(p connectPacket) *raw {
		t.Helper()
		p.version = version
		c := dial(t)
		c.v = version
		c.send(p.bytes())
		if kind, body := c.next(); kind != 0x20 || body[1] != 0 {
			t.Fatalf("%q: packet %#x %x", p.id, kind, body)
		}
		return c
	}
	refused := byte(0x80)
	if version == 5 {
		refused = 0x87
	}
	anon := connect(connectPacket{id: anonA}).mustSubscribe("signet/v1/"+anonA+"/rs", "signet/v1/"+anonA+"/ev")
	time.Sleep(250 * time.Millisecond) // beyond what the HTTP server gives a request
	anon.publish(0, "signet/v1/"+anonA+"/rq", "hello")
	if n, got := anon.message(); n != "signet/v1/"+anonA+"/rs" || got != "re:hello" {
		t.Errorf("got %q %q", n, got)
	}
	dev := connect(as("p:n", version)).mustSubscribe("devices/p/n/#")
	dev.publish(0, "devices/p/n/x", "mine")
	if n, got := dev.message(); n != "devices/p/n/x" || got != "mine" {
		t.Errorf("got %q %q", n, got)
	}
	for _, c := range []*raw{anon, dev} {
		for _, filter := range []string{"#", "devices/p/m/#", "$SYS/#", "$share/g/#"} {
			if code := c.subscribe(filter); code != refused {
				t.Errorf("%q: code %#x, want %#x", filter, code, refused)
			}
		}
	}
	wrong := dial(t)
	p := as("p:n", version)
	p.pass = "forged"
	wrong.send(p.bytes())
	if kind, body := wrong.next(); kind != 0x20 || body[1] == 0 {
		t.Errorf("a forged token: packet %#x %x", kind, body)
	}
	dev.send([]byte{0x82, 6, 0, 1, 0, 0, 1, 'a'}) // no options in 5, a filter too long in 3.1.1
	dev.ended(ReasonMalformed)
	anon.nc.Close()
	eventually(t, "they are gone", func() bool { return f.Count() == 0 })
}

// TLS and WebSocket connections are strangers too, from their first byte on.
func TestTransportsAreLimited(t *testing.T) {
	server, client := selfSigned(t)
	f := startOn(t, func(c *Config, _ *fixture) { c.Limits = intake.Limits{Strangers: 1, PerSource: 2} },
		func(ln net.Listener) net.Listener { return tls.NewListener(ln, server) })
	silent, err := net.Dial("tcp", f.addr) // no handshake
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	conf := client.Clone()
	conf.ServerName = "127.0.0.1"
	nc, err := tls.Dial("tcp", f.addr, conf)
	if err != nil {
		t.Fatal(err)
	}
	newRaw(t, silent).closed()
	c := newRaw(t, nc)
	c.send(as("p:n", 4).bytes())
	if kind, body := c.next(); kind != 0x20 || body[1] != 0 {
		t.Fatalf("packet %#x %x", kind, body)
	}
	web := serveWeb(t, f)
	dial := func() *raw {
		t.Helper()
		ws, _, err := websocket.Dial(t.Context(), web.URL, &websocket.DialOptions{HTTPClient: web.Client(), Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Fatal(err)
		}
		return newRaw(t, websocket.NetConn(t.Context(), ws, websocket.MessageBinary))
	}
	second := dial()
	second.send(as("p:m", 4).bytes())
	if kind, body := second.next(); kind != 0x20 || body[1] != 0 {
		t.Fatalf("packet %#x %x", kind, body)
	}
	dial().closed() // the third of one source
	c.ping()
	second.ping()
}

package mqttlink_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/protocol/channel"
)

// A site is a real MQTT server behind WebSocket on an HTTPS port.
type site struct {
	*server
	web   *httptest.Server
	trust mqttlink.Trust
	mu    sync.Mutex // guards heard
	heard []byte     // the name of the last connection
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{server: newServer(t, nil)}
	from := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	ca := newAuthority(t, from)
	s.trust = mqttlink.Trust{Roots: []*x509.Certificate{ca.cert}}
	s.web = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/mqtt", "/elsewhere/mqtt":
		case "/silent":
			ws, err := websocket.Accept(w, r, nil)
			if err == nil {
				_, _, _ = ws.Read(r.Context())
			}
			return
		case "/forbidden":
			http.Error(w, "\x1b[31mno", http.StatusForbidden)
			return
		case "/endless":
			for i := range 1000 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 100))
			}
			w.WriteHeader(http.StatusOK)
			return
		default:
			http.NotFound(w, r)
			return
		}
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			return
		}
		s.mu.Lock()
		s.heard = channel.Name(r.TLS)
		s.mu.Unlock()
		s.ServeConn(websocket.NetConn(context.WithoutCancel(r.Context()), ws, websocket.MessageBinary))
	}))
	s.web.TLS = ca.serve(t, from, "127.0.0.1")
	s.web.Config.ErrorLog = nil
	s.web.StartTLS()
	t.Cleanup(s.web.Close)
	return s
}

func (s *site) at(path string) string { return "wss://" + s.web.Listener.Addr().String() + path }

// TestWebSocket: an agent speaks MQTT over WebSocket as it does over TLS, through messages
// of any length, and knows its TLS connection by the same name as the other end.
func TestWebSocket(t *testing.T) {
	s := newSite(t)
	for _, broker := range []string{s.at(""), s.at("/mqtt"), s.at("/elsewhere/mqtt")} {
		l := dial(t, mqttlink.Options{Broker: broker, Trust: s.trust})
		if _, err := l.RoundTrip(t.Context(), request(t, 7)); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		if s.heard == nil || !bytes.Equal(l.End().Channel, s.heard) {
			t.Errorf("%s: the connection is %x here and %x there", broker, l.End().Channel, s.heard)
		}
		s.mu.Unlock()
	}
	l := dial(t, mqttlink.Options{Broker: s.at(""), Trust: s.trust, Credential: login("token")})
	got := make(chan []byte, 1)
	if err := l.Subscribe(t.Context(), "devices/demo/lamp-1/#", 1, func(_ string, b []byte) { got <- b }); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 1000, 40_000} {
		sent := bytes.Repeat([]byte{byte(size)}, size)
		if err := l.Publish(t.Context(), "devices/demo/lamp-1/up", 1, sent); err != nil || !bytes.Equal(<-got, sent) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if err := s.Publish("signet/v1/demo:lamp-1/ev", bytes.Repeat([]byte{1}, 70_000), false, 0); err != nil {
		t.Fatal(err)
	}
	<-l.Done() // too large here as well
}

// TestWebSocketRefused: what answers and speaks no MQTT is told of by its cause, in words
// that nobody else chose.
func TestWebSocketRefused(t *testing.T) {
	s := newSite(t)
	for path, want := range map[string]string{
		"/nowhere": "there is none at", "/forbidden": "answers 403 Forbidden", "/silent": "speaks something else", "/endless": "too long",
	} {
		_, err := mqttlink.Dial(t.Context(), mqttlink.Options{Broker: s.at(path), Trust: s.trust})
		if !errors.Is(err, mqttlink.ErrWebSocket) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := mqttlink.Dial(t.Context(), mqttlink.Options{Broker: s.at("")}); !errors.Is(err, mqttlink.ErrCertificate) {
		t.Errorf("a certificate of who knows: %v", err)
	}
}

// A proxy passes bytes on for who has its password, and keeps what it was asked for.
type proxy struct {
	*httptest.Server
	asked  chan string
	answer atomic.Pointer[string] // in place of passing on
}

const secret = "p%40ss&word" // in a URL

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{asked: make(chan string, 100)}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked <- r.Method + " " + r.Host
		nc, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		if a := p.answer.Load(); a != nil {
			_, _ = io.WriteString(nc, *a)
			return
		}
		if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("lamp:p@ss&word")) {
			_, _ = io.WriteString(nc, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 502 No\r\n\r\n")
			return
		}
		defer to.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, nc); _ = to.Close() }()
		_, _ = io.Copy(nc, to)
	}))
	t.Cleanup(p.Close)
	return p
}

// as names the proxy by a URL with that user, or none.
func (p *proxy) as(user string) func(*http.Request) (*url.URL, error) {
	u, err := url.Parse(strings.Replace(p.URL, "http://", "http://"+user, 1))
	return func(*http.Request) (*url.URL, error) { return u, err }
}

// TestProxy: both ways to a broker go through an HTTP proxy, which sees no more than
// where to.
func TestProxy(t *testing.T) {
	s, p := newSite(t), newProxy(t)
	from := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	ca := newAuthority(t, from)
	secure := newServer(t, ca.serve(t, from, "127.0.0.1"))
	for broker, trust := range map[string]mqttlink.Trust{s.at("/mqtt"): s.trust, secure.url: {Roots: []*x509.Certificate{ca.cert}}} {
		l := dial(t, mqttlink.Options{Broker: broker, Trust: trust, Proxy: p.as("lamp:" + secret + "@")})
		if _, err := l.RoundTrip(t.Context(), request(t, 7)); err != nil || l.End().Channel == nil {
			t.Errorf("%s: %v, connection %x", broker, err, l.End().Channel)
		}
		u, err := url.Parse(broker)
		if err != nil {
			t.Fatal(err)
		}
		if got := <-p.asked; got != "CONNECT "+u.Host {
			t.Errorf("%s: asked %q", broker, got)
		}
	}
	if _, err := mqttlink.Dial(t.Context(), mqttlink.Options{Broker: s.url, Proxy: p.as("")}); err != nil {
		t.Errorf("on this machine there is no proxy in between: %v", err)
	}
}

// TestProxyRefuses: each cause has words of its own, and none the password.
func TestProxyRefuses(t *testing.T) {
	s, p := newSite(t), newProxy(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	none := func(text string) func(*http.Request) (*url.URL, error) {
		return func(*http.Request) (*url.URL, error) { return url.Parse(text) }
	}
	mine := p.as("lamp:" + secret + "@")
	for name, c := range map[string]struct {
		proxy  func(*http.Request) (*url.URL, error)
		answer string
		want   string
	}{
		"without password": {p.as(""), "", "wants a user name and a password"},
		"another password": {p.as("lamp:other" + secret + "@"), "", "does not take this user name and password"},
		"forbidden":        {mine, "HTTP/1.1 403 \x1b[31m\r\n\r\n", "lets nobody through to 127.0.0.1"},
		"no way":           {mine, "HTTP/1.1 503 Service Unavailable\r\n\r\n", "does not reach 127.0.0.1"},
		"odd":              {mine, "HTTP/1.1 799 odd\r\n\r\n", "answers 799"},
		"no proxy":         {mine, "220 mail.example ESMTP\r\n", "no HTTP proxy"},
		"endless":          {mine, "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("x", 200)+"\r\n", 100), "no HTTP proxy"},
		"talkative":        {mine, "HTTP/1.1 200 OK\r\n\r\nand more", "more than it was asked"},
		"closed":           {none("http://lamp:" + secret + "@" + closed.Addr().String()), "", "connection refused"},
		"no URL":           {none("http://lamp:" + secret + "@bad host"), "", "is no URL"},
		"SOCKS":            {none("socks5://lamp:" + secret + "@" + closed.Addr().String()), "", "is no http://host:port"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			p.answer.Store(nil)
			if c.answer != "" {
				p.answer.Store(&c.answer)
			}
			_, err := mqttlink.Dial(t.Context(), mqttlink.Options{Broker: s.at(""), Trust: s.trust, Proxy: c.proxy})
			if !errors.Is(err, mqttlink.ErrProxy) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if text := fmt.Sprint(err); strings.Contains(text, "ss&word") || strings.Contains(text, "ss%26word") || strings.Contains(text, "\x1b") {
				t.Errorf("it tells too much: %v", err)
			}
		})
	}
	slow, err := net.Listen("tcp", "127.0.0.1:0") // accepts, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := mqttlink.Dial(ctx, mqttlink.Options{Broker: s.at(""), Trust: s.trust, Proxy: none("http://" + slow.Addr().String())}); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, mqttlink.ErrProxy) {
		t.Errorf("a proxy that says nothing: %v", err)
	}
}

// TestProxyOf: who asks what is on the way is told no password.
func TestProxyOf(t *testing.T) {
	with := func(text string) func(*http.Request) (*url.URL, error) {
		return func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme != "https" || r.URL.Host != "broker.example:443" && r.URL.Host != "broker.example:8883" {
				t.Errorf("asked about %v", r.URL)
			}
			return url.Parse(text)
		}
	}
	for broker, want := range map[string]string{"wss://broker.example/mqtt": "proxy.example:80", "mqtts://broker.example": "proxy.example:80", "mqtt://127.0.0.1": ""} {
		if got, err := mqttlink.ProxyOf(broker, with("http://lamp:"+secret+"@proxy.example")); err != nil || got != want {
			t.Errorf("%s: %q, %v", broker, got, err)
		}
	}
	if got, err := mqttlink.ProxyOf("wss://broker.example", nil); err != nil || got != "" {
		t.Errorf("without proxies: %q, %v", got, err)
	}
}

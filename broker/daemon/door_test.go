package daemon_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/signetd/signet/broker/config"
)

// patience bounds every wait of these tests; none measures time.
const patience = 10 * time.Second

// closes wants the other side to close nc, whatever it says before.
func closes(t *testing.T, nc net.Conn) {
	t.Helper()
	if err := nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

// A request whose rest never comes holds no connection: neither one that needs an
// operator nor one that anyone may make, nor at the health port.
func TestRequestThatNeverComes(t *testing.T) {
	d, trust := serve(t, func(c *config.Config) { c.HTTPTimeout = 100 * time.Millisecond })
	for name, head := range map[string]string{
		"operators' API": "POST /api/v1/pools HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n",
		"public":         "GET /pools/demo/jwks.json HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n",
		"nowhere":        "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"half a head":    "POST /x HTTP/1.1\r\nHo",
	} {
		t.Run(name, func(t *testing.T) {
			secure, err := tls.Dial("tcp", d.Addrs.HTTPS.String(), &tls.Config{RootCAs: trust})
			if err != nil {
				t.Fatal(err)
			}
			plain, err := net.Dial("tcp", d.Addrs.Health.String())
			if err != nil {
				t.Fatal(err)
			}
			for _, nc := range []net.Conn{secure, plain} {
				defer nc.Close()
				_, _ = io.WriteString(nc, head) // it may be closed already
				closes(t, nc)
			}
		})
	}
}

// dialWeb connects as a stranger over WebSocket and stays.
func dialWeb(t *testing.T, https string, trust *x509.CertPool) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "https://"+https+"/mqtt", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}}}, Subprotocols: []string{"mqtt"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

// One source holds no more HTTPS connections than the limit, handshake or not. A
// WebSocket counts with MQTT's.
func TestHTTPSLimits(t *testing.T) {
	d, trust := serve(t, func(c *config.Config) { c.Limits.PerSource = 2 })
	https := d.Addrs.HTTPS.String()
	for range 2 {
		dialWeb(t, https, trust)
	}
	held := []net.Conn{dialEventually(t, https, trust), dialEventually(t, https, trust)}
	third, err := net.Dial("tcp", https)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	closes(t, third)
	held[0].Close()
	dialEventually(t, https, trust)
}

// dialEventually connects once there is room, before the MQTT server's 10 seconds
// for a CONNECT make some.
func dialEventually(t *testing.T, https string, trust *x509.CertPool) net.Conn {
	t.Helper()
	for end := time.Now().Add(patience / 2); ; time.Sleep(2 * time.Millisecond) {
		nc, err := tls.Dial("tcp", https, &tls.Config{RootCAs: trust})
		if err == nil {
			t.Cleanup(func() { _ = nc.Close() })
			return nc
		}
		if time.Now().After(end) {
			t.Fatalf("there is no room: %v", err)
		}
	}
}

// When there are too many, the oldest makes room, so that nobody is kept out.
func TestHTTPSOldestMakesRoom(t *testing.T) {
	d, trust := serve(t, func(c *config.Config) { c.Limits.Strangers, c.Limits.PerSource = 2, -1 })
	first, err := net.Dial("tcp", d.Addrs.HTTPS.String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for range 2 {
		nc, err := tls.Dial("tcp", d.Addrs.HTTPS.String(), &tls.Config{RootCAs: trust})
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, "GET /ca/roots.pem HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 12)
		if _, err := io.ReadFull(nc, answer); err != nil || !strings.HasSuffix(string(answer), " 200") {
			t.Errorf("%q, %v", answer, err)
		}
	}
	closes(t, first)
}

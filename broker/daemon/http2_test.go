package daemon_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/signetd/signet/broker/config"
)

// both is an HTTP client that speaks HTTP/2 where it may.
func (s *site) both(t *testing.T) *http.Client {
	c := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: s.trust()}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// TestHTTP2AndWebSocket: requests over HTTP/2 and WebSockets over HTTP/1.1 share the port and its
// certificate, of one client that speaks both and of clients that speak one; each chooses by ALPN.
func TestHTTP2AndWebSocket(t *testing.T) {
	s := newSite(t)
	d, stop := s.serve(t)
	ready(t, d)
	c := s.both(t)
	port := fmt.Sprint(d.Addrs.HTTPS.(*net.TCPAddr).Port)
	at := "https://localhost:" + port
	for path, want := range map[string]int{"/ca/roots.pem": 200, "/api/v1/pools": 401, "/nowhere": 404, "/mqtt": 426} {
		if res, _ := get(t, c, "GET", at+path); res.ProtoMajor != 2 || res.StatusCode != want {
			t.Errorf("%s: %s %d, want HTTP/2 and %d", path, res.Proto, res.StatusCode, want)
		}
	}
	ws, res, err := websocket.Dial(t.Context(), at+"/mqtt", &websocket.DialOptions{HTTPClient: c, Subprotocols: []string{"mqtt"}})
	if err != nil || res.ProtoMajor != 1 {
		t.Fatalf("the same client's WebSocket: %v", err)
	}
	nc := websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
	if _, err := nc.Write(frame(0x10, text("MQTT"), []byte{4, 2, 0, 60}, text("anon-"+strings.Repeat("0f", 16)))); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(nc, answer); err != nil || !bytes.Equal(answer, []byte{0x20, 2, 0, 0}) {
		t.Errorf("its CONNACK: % x, %v", answer, err)
	}
	if res, _ := get(t, c, "GET", at+"/ca/roots.pem"); res.ProtoMajor != 2 {
		t.Errorf("beside it: %s", res.Proto)
	}
	_ = ws.CloseNow()
	old := paho.NewClient(paho.NewClientOptions().AddBroker("wss://localhost:" + port + "/mqtt").SetClientID("anon-" + strings.Repeat("0e", 16)).SetProtocolVersion(4).
		SetAutoReconnect(false).SetConnectTimeout(patience).SetTLSConfig(s.trust()))
	if tok := old.Connect(); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Errorf("a client that speaks HTTP/1.1 only: %v", tok.Error())
	}
	old.Disconnect(0)

	curl, err := exec.LookPath("curl")
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Error("curl is not installed")
	case err == nil:
		for flag, want := range map[string]string{"--http2": "2 200", "--http1.1": "1.1 200"} {
			cmd := exec.CommandContext(t.Context(), curl, flag, "-sk", "-o", os.DevNull, "-w", "%{http_version} %{http_code}", at+"/ca/roots.pem")
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
				t.Errorf("curl %s: %q, %v", flag, out, err)
			}
		}
	}
	c.CloseIdleConnections()
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A framed is a connection of HTTP/2 that is spoken frame by frame (RFC 9113, section 4.1).
type framed struct {
	t *testing.T
	net.Conn
}

// frames begins a connection of HTTP/2 that takes windows bytes of each answer.
func (s *site) frames(t *testing.T, to net.Addr, windows uint32) *framed {
	t.Helper()
	conf := s.trust()
	conf.NextProtos = []string{"h2"}
	nc, err := tls.Dial("tcp", to.String(), conf)
	for end := time.Now().Add(patience); err != nil && time.Now().Before(end); { // on a busy machine a handshake may take longer than the broker allows
		nc, err = tls.Dial("tcp", to.String(), conf)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if p := nc.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Fatalf("the protocol is %q", p)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	f := &framed{t, nc}
	if _, err := io.WriteString(nc, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	f.send(4, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 4}, windows)) // SETTINGS_INITIAL_WINDOW_SIZE
	return f
}

func (f *framed) send(kind, flags byte, stream uint32, payload []byte) {
	head := append(binary.BigEndian.AppendUint32(nil, uint32(len(payload)))[1:], kind, flags)
	_, _ = f.Write(append(binary.BigEndian.AppendUint32(head, stream), payload...)) // fails on one that was closed
}

func (f *framed) next() (kind, flags byte, stream uint32, payload []byte, err error) {
	var head [9]byte
	if _, err = io.ReadFull(f, head[:]); err != nil {
		return 0, 0, 0, nil, err
	}
	payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	_, err = io.ReadFull(f, payload)
	return head[3], head[4], binary.BigEndian.Uint32(head[5:]), payload, err
}

// request is a header block (RFC 7541) of a GET.
func request(path string) []byte {
	return append(append([]byte{0x82, 0x87, 0x01, 9}, "localhost"...), append([]byte{0x04, byte(len(path))}, path...)...)
}

// TestHTTP2Offers: it offers no WebSocket over HTTP/2 (RFC 8441), so that browsers open one over
// HTTP/1.1, and says its bounds.
func TestHTTP2Offers(t *testing.T) {
	s := newSite(t)
	d, _ := s.serve(t)
	kind, _, _, payload, err := s.frames(t, d.Addrs.HTTPS, 65535).next()
	if err != nil || kind != 4 {
		t.Fatalf("frame %d, %v, want SETTINGS", kind, err)
	}
	said := map[uint16]uint32{}
	for ; len(payload) >= 6; payload = payload[6:] {
		said[binary.BigEndian.Uint16(payload)] = binary.BigEndian.Uint32(payload[2:])
	}
	if said[8] != 0 || said[3] != 32 || said[5] > 16<<10 || said[6] == 0 || said[6] > 9<<10 {
		t.Errorf("SETTINGS %v", said)
	}
}

// TestHTTP2HeadersAreBounded: over HTTP/2 4 KiB of a header are read and no more, and those that never
// end hold 2 MiB together, as over HTTP/1.1.
func TestHTTP2HeadersAreBounded(t *testing.T) {
	s := newSite(t)
	s.cfg.Limits = config.Limits{PerSource: -1}
	d, _ := s.serve(t)
	at := "https://localhost:" + fmt.Sprint(d.Addrs.HTTPS.(*net.TCPAddr).Port) + "/ca/roots.pem"
	for size, want := range map[int]int{3 << 10: 200, 5 << 10: 431} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i*40 < size; i++ {
			req.Header.Set(fmt.Sprintf("X-%06d", i), "1") // 32 bytes are counted for each, beside its own
		}
		c := s.both(t)
		get(t, c, "GET", at)
		res, err := c.Do(req)
		if want == 431 && err != nil && strings.Contains(err.Error(), "advertised limit") {
			continue // the client knows
		}
		if err != nil || res.StatusCode != want || res.ProtoMajor != 2 {
			t.Errorf("a header of %d bytes: %+v, %v, want %d", size, res, err, want)
			continue
		}
		_ = res.Body.Close()
	}
	const conns = 160 // of 15 KiB each: 0.3 MiB too many
	ended := make(chan struct{}, conns)
	for range conns {
		f := s.frames(t, d.Addrs.HTTPS, 65535)
		_, _ = f.Write(append([]byte{0, 0x40, 0, 1, 5, 0, 0, 0, 1}, make([]byte, 15<<10)...)) // HEADERS of 16 KiB, whose end never comes
		go func() {
			_, _ = io.Copy(io.Discard, f)
			ended <- struct{}{}
		}()
	}
	for range 20 {
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatal("they are all held")
		}
	}
	if res, _ := get(t, s.both(t), "GET", at); res.StatusCode != http.StatusOK {
		t.Errorf("an honest request: %d", res.StatusCode)
	}
	if n := s.metric(t, d.Addrs.Health, `signet_connections_refused_total{cause="header",listener="https"}`); n == "0" || n == "nowhere" {
		t.Errorf("%s counted", n)
	}
}

// TestRequestsAreBounded: many requests of few connections whose answers nobody takes are no more
// than there may be connections; the one whose request is answered for longest is closed, honest
// requests are answered meanwhile, and the operator sees it.
func TestRequestsAreBounded(t *testing.T) {
	s := newSite(t)
	s.cfg.Limits = config.Limits{HTTPSConnections: 8, PerSource: -1}
	d, _ := s.serve(t)
	at := "https://localhost:" + fmt.Sprint(d.Addrs.HTTPS.(*net.TCPAddr).Port)
	c := s.both(t)
	get(t, c, "GET", at+"/ca/roots.pem") // and it stays connected
	const full = `signet_connections_refused_total{cause="full",listener="https"}`
	var all []*framed
	for range 3 {
		f := s.frames(t, d.Addrs.HTTPS, 0)
		for i := range uint32(5) {
			f.send(1, 5, 1+2*i, request("/ca/roots.pem")) // END_STREAM, END_HEADERS
		}
		for answers := 0; answers < 5; { // their headers, and no more
			kind, _, _, _, err := f.next()
			if err != nil {
				t.Fatal(err)
			}
			if kind == 1 {
				answers++
			}
		}
		all = append(all, f)
		if res, body := get(t, c, "GET", at+"/ca/roots.pem"); res.StatusCode != 200 || body == "" {
			t.Errorf("an honest request: %d", res.StatusCode)
		}
	}
	for i, f := range all {
		f.send(6, 0, 0, make([]byte, 8)) // PING
		_, _, _, _, err := f.next()
		if over := err != nil; over != (i < 2) {
			t.Errorf("connection %d of three with five requests each: %v", i, err)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it is open")
		}
	}
	if n := s.metric(t, d.Addrs.Health, full); n != "2" {
		t.Errorf("%s counted, want 2", n)
	}
}

// TestHTTP2RequestThatNeverComes: a body that nobody wants is not waited for over HTTP/2 either, and
// a connection on which nothing comes ends.
func TestHTTP2RequestThatNeverComes(t *testing.T) {
	s := newSite(t)
	s.cfg.HTTPTimeout = 10 * patience
	d, stop := s.serve(t)
	at := "https://localhost:" + fmt.Sprint(d.Addrs.HTTPS.(*net.TCPAddr).Port)
	body, feeds := io.Pipe()
	defer feeds.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/api/v1/pools", body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.both(t).Do(req)
	if err != nil || res.StatusCode != http.StatusUnauthorized || res.ProtoMajor != 2 {
		t.Errorf("%+v, %v", res, err)
	} else {
		_ = res.Body.Close()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	s = newSite(t)
	s.cfg.HTTPTimeout = 500 * time.Millisecond
	d, _ = s.serve(t)
	half, idle := s.frames(t, d.Addrs.HTTPS, 65535), s.frames(t, d.Addrs.HTTPS, 65535)
	half.send(1, 0, 1, request("/")) // no END_HEADERS
	closes(t, half)
	closes(t, idle)
}

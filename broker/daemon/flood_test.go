package daemon_test

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// trust is what makes clients believe the site's certificate.
func (s *site) trust() *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.certs.Roots())
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// A stranger speaks MQTT 3.1.1 byte by byte.
type stranger struct {
	nc net.Conn
	r  *bufio.Reader
	id topic.ClientID
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func frame(first byte, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

// dialFrom connects from an address of this machine; "" for any.
func (s *site) dialFrom(ip string, to net.Addr) (net.Conn, error) {
	d := &net.Dialer{}
	if ip != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(ip)}
	}
	nc, err := tls.DialWithDialer(d, "tcp", to.String(), s.trust())
	if err != nil {
		return nil, err
	}
	return nc, nc.SetDeadline(time.Now().Add(6 * patience))
}

// connect sends a CONNECT and gives the answer's code.
func (s *site) connect(ip string, to net.Addr, clientID, user, password string) (*stranger, byte, error) {
	nc, err := s.dialFrom(ip, to)
	if err != nil {
		return nil, 0, err
	}
	flags, payload := byte(2), text(clientID)
	if user != "" {
		flags |= 0xc0
		payload = append(append(payload, text(user)...), text(password)...)
	}
	x := &stranger{nc: nc, r: bufio.NewReader(nc)}
	if _, err := nc.Write(frame(0x10, text("MQTT"), []byte{4, flags, 0, 60}, payload)); err != nil {
		return nil, 0, errors.Join(err, nc.Close())
	}
	kind, body, err := x.next()
	if err == nil && (kind != 0x20 || len(body) != 2) {
		err = fmt.Errorf("packet %#x in place of a CONNACK", kind)
	}
	if err != nil {
		return nil, 0, errors.Join(err, nc.Close())
	}
	return x, body[1], nil
}

// stranger connects as nobody, and listens to answers.
func (s *site) stranger(t *testing.T, ip string, to net.Addr) *stranger {
	t.Helper()
	var b [16]byte
	rand.Read(b[:])
	name := "anon-" + hex.EncodeToString(b[:])
	x, code, err := s.connect(ip, to, name, "", "")
	if err != nil || code != 0 {
		t.Fatalf("anonymous: code %d, %v", code, err)
	}
	t.Cleanup(func() { _ = x.nc.Close() })
	if x.id, err = topic.ParseClientID(name); err != nil {
		t.Fatal(err)
	}
	if _, err := x.nc.Write(frame(0x82, []byte{0, 1}, text(x.id.Reply().String()), []byte{0})); err != nil {
		t.Fatal(err)
	}
	if kind, _, err := x.next(); err != nil || kind != 0x90 {
		t.Fatalf("subscribing: packet %#x, %v", kind, err)
	}
	return x
}

func (x *stranger) next() (kind byte, body []byte, err error) {
	if kind, err = x.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(x.r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(x.r, body)
	return kind, body, err
}

// ask publishes a request.
func (x *stranger) ask(payload []byte) error {
	_, err := x.nc.Write(frame(0x30, text(x.id.Request().String()), payload))
	return err
}

// answer waits for a reply.
func (x *stranger) answer() (protocol.Message, error) {
	for {
		kind, body, err := x.next()
		if err != nil {
			return nil, err
		}
		if kind>>4 == 3 {
			return protocol.Decode(body[2+binary.BigEndian.Uint16(body):])
		}
	}
}

// opening is a fresh request of a device that may not exist.
func opening(t testing.TB, d ident.Device) []byte {
	t.Helper()
	m := &protocol.Start{Request: protocol.Request{Pool: d.Pool, Name: d.Name, Nonce: make([]byte, protocol.NonceLen), SealTo: make([]byte, 32)}}
	rand.Read(m.ID[:])
	rand.Read(m.Nonce)
	rand.Read(m.SealTo)
	raw, err := protocol.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestStrangersFillNoLog: whatever strangers do, at whichever door and level, the log grows
// by a line for each kind of it in each while for which kinds are summed up, and not for each time.
func TestStrangersFillNoLog(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		t.Run(level.String(), func(t *testing.T) {
			s := newSite(t)
			s.level = level
			d, stop := s.serve(t)
			before, began := strings.Count(s.log.String(), "\n"), time.Now()
			did := s.annoy(t, d.Addrs.MQTT, d.Addrs.HTTPS)
			if err := stop(); err != nil {
				t.Error(err)
			}
			grown := strings.Count(s.log.String(), "\n") - before
			t.Logf("%d lines for %d attempts", grown, did)
			if most := 30 * (2 + int(time.Since(began)/tally.Every)); grown > most { // the first line of a kind, and the sums
				t.Errorf("%d lines for %d attempts, at most %d:\n%s", grown, did, most, s.log.String())
			}
		})
	}
}

// annoy does what strangers can at every door, and gives how often.
func (s *site) annoy(t *testing.T, mqtt, https net.Addr) (did int) {
	const each = 60
	client := s.client()
	client.Transport.(*http.Transport).DisableKeepAlives = false
	base := "https://localhost:" + fmt.Sprint(https.(*net.TCPAddr).Port)
	pool, err := ident.ParsePool("demo")
	if err != nil {
		t.Fatal(err)
	}
	x := s.stranger(t, "", mqtt)
	for i := range each {
		name, err := ident.ParseName(fmt.Sprintf("made-up-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range []net.Addr{mqtt, https} {
			if nc, err := net.Dial("tcp", addr.String()); err == nil {
				_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\n\r\n")
				_, _ = io.Copy(io.Discard, nc)
				_ = nc.Close()
			}
			if nc, err := s.dialFrom("", addr); err == nil {
				_, _ = io.WriteString(nc, "\x00nonsense\r\n\r\n")
				_, _ = io.Copy(io.Discard, nc)
				_ = nc.Close()
			}
		}
		for _, user := range []string{"demo:" + name.String(), "nobody", "\x1b[31m"} {
			if c, code, err := s.connect("", mqtt, user, user, "guess"); err == nil {
				if code == 0 {
					t.Errorf("%q came in", user)
				}
				_ = c.nc.Close()
			}
		}
		if i%4 == 3 { // each connection may say so much
			x.hear(t, 15)
			x = s.stranger(t, "", mqtt)
		}
		for range 5 {
			for _, raw := range [][]byte{opening(t, ident.Device{Pool: pool, Name: name}), []byte("nonsense"), nil} {
				if err := x.ask(raw); err != nil {
					t.Fatal(err)
				}
				did++
			}
		}
		for path, header := range map[string]string{
			"/api/v1/pools": "Bearer sgnt_" + name.String(), "/api/v1/x" + name.String(): "", "/api/docs": "", "/pools/" + name.String() + "/.well-known/jwks.json": "",
			"/mqtt": "", "/x": "Basic " + name.String(), "/api/v1/pools/%1b": "Bearer",
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if header != "" {
				req.Header.Set("Authorization", header)
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			did++
		}
		did += 7
	}
	return did
}

// hear waits until n answers have come: all of it was handled then.
func (x *stranger) hear(t *testing.T, n int) {
	t.Helper()
	for range n {
		if _, err := x.answer(); err != nil {
			t.Fatal(err)
		}
	}
}

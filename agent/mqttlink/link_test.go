package mqttlink_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/agent/mqttlink/mqtttest"
	"github.com/signetd/signet/protocol"
)

// login is a credential with a fixed password.
func login(password string) *agent.Credential {
	return &agent.Credential{Username: "demo:lamp-1", Password: func(agent.End, string) ([]byte, error) { return []byte(password), nil }}
}

// A server is a real MQTT server that answers each request with a refusal. It lets anyone in
// whose password is not "wrong".
type server struct {
	mqtttest.Server
	url  string
	drop atomic.Int32 // requests to lose
	seen atomic.Int32
	more atomic.Int32 // further replies to each request
}

func newServer(t *testing.T, conf *tls.Config) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{url: "mqtt://" + ln.Addr().String()}
	if conf != nil {
		ln, s.url = tls.NewListener(ln, conf), "mqtts://"+ln.Addr().String()
	}
	s.Admit = func(_, password string) bool { return password != "wrong" }
	s.Allow = func(filter string) bool { return filter != "forbidden" }
	s.Received = s.answer
	s.Serve(ln)
	t.Cleanup(s.Close)
	return s
}

func (s *server) answer(topic string, payload []byte) {
	own, ok := strings.CutSuffix(topic, "/rq")
	if !ok {
		return
	}
	s.seen.Add(1)
	if s.drop.Add(-1) >= 0 {
		return
	}
	m, err := protocol.Decode(payload)
	if err != nil {
		return
	}
	for i := range 1 + s.more.Load() {
		raw, err := protocol.Encode(protocol.Refuse(m.Call(), protocol.ProblemDetail{Code: protocol.CodeBusy, RetryAfter: uint32(i)}))
		if err == nil {
			_ = s.Publish(own+"/rs", raw, false, 0)
		}
	}
}

func request(t *testing.T, id byte) []byte {
	t.Helper()
	raw, err := protocol.Encode(&protocol.Refresh{Head: protocol.Head{ID: protocol.CallID{id}}, Body: []byte{1}, Proof: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func dial(t *testing.T, o mqttlink.Options) *mqttlink.Link {
	t.Helper()
	l, err := mqttlink.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestRoundTrip(t *testing.T) {
	s := newServer(t, nil)
	l := dial(t, mqttlink.Options{Broker: s.url, Resend: 20 * time.Millisecond})
	if !strings.HasPrefix(l.ClientID(), "anon-") || len(l.ClientID()) != 37 {
		t.Errorf("client id %q", l.ClientID())
	}
	s.drop.Store(2)
	reply, err := l.RoundTrip(t.Context(), request(t, 7))
	if err != nil {
		t.Fatal(err)
	}
	m, err := protocol.Decode(reply)
	if err != nil || m.Call() != (protocol.CallID{7}) || s.seen.Load() < 3 {
		t.Errorf("got %v, %v after %d requests", m, err, s.seen.Load())
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s.drop.Store(1000)
	if _, err := l.RoundTrip(short, request(t, 8)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestEventsAndLoss(t *testing.T) {
	s := newServer(t, nil)
	l := dial(t, mqttlink.Options{Broker: s.url, Credential: login("token")})
	raw, err := protocol.Encode(&protocol.Event{Name: protocol.EventDisabled})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Publish("signet/v1/demo:lamp-1/ev", raw, false, 1); err != nil {
		t.Fatal(err)
	}
	if ev := <-l.Events(); ev.Name != protocol.EventDisabled {
		t.Errorf("event %q", ev.Name)
	}
	got := make(chan string, 1)
	if err := l.Subscribe(t.Context(), "devices/demo/lamp-1/#", 1, func(_ string, b []byte) { got <- string(b) }); err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(t.Context(), "devices/demo/lamp-1/up", 1, []byte("hello")); err != nil || <-got != "hello" {
		t.Error(err)
	}
	if err := l.Subscribe(t.Context(), "forbidden", 1, func(string, []byte) {}); err == nil {
		t.Error("a refused subscription passed for a good one")
	}
	s.Close()
	<-l.Done()
	if _, err := l.RoundTrip(t.Context(), request(t, 1)); !errors.Is(err, mqttlink.ErrClosed) {
		t.Error(err)
	}
}

func TestCredentialRefused(t *testing.T) {
	s := newServer(t, nil)
	_, err := mqttlink.Dial(t.Context(), mqttlink.Options{Broker: s.url, Credential: login("wrong")})
	if !errors.Is(err, agent.ErrCredential) {
		t.Error(err)
	}
}

func TestRetainedReplyIsIgnored(t *testing.T) {
	s := newServer(t, nil)
	cred := login("token")
	raw, _ := protocol.Encode(&protocol.Event{Name: protocol.EventRenew})
	_ = s.Publish("signet/v1/demo:lamp-1/ev", raw, true, 1)
	l := dial(t, mqttlink.Options{Broker: s.url, Credential: cred})
	raw, _ = protocol.Encode(&protocol.Event{Name: protocol.EventDisabled})
	_ = s.Publish("signet/v1/demo:lamp-1/ev", raw, false, 1)
	if ev := <-l.Events(); ev.Name != protocol.EventDisabled {
		t.Errorf("took the retained %q", ev.Name)
	}
}

func TestLargePacketEndsTheConnection(t *testing.T) {
	s := newServer(t, nil)
	l := dial(t, mqttlink.Options{Broker: s.url, Credential: login(""), MaxPacket: 4096})
	if err := s.Publish("signet/v1/demo:lamp-1/ev", bytes.Repeat([]byte{1}, 5000), false, 0); err != nil {
		t.Fatal(err)
	}
	<-l.Done()
}

func TestAddresses(t *testing.T) {
	for _, url := range []string{"mqtt://broker.example:1883", "http://localhost", "localhost:1883", "mqtts://", "mqtts://u:p@host", "mqtts://host/path", "wss://u:p@host/mqtt", "wss://host/mqtt?a=b", "wss://", "ws://localhost/mqtt", "https://host/mqtt", ""} {
		if _, err := mqttlink.Dial(t.Context(), mqttlink.Options{Broker: url}); !errors.Is(err, mqttlink.ErrURL) {
			t.Errorf("%q: %v", url, err)
		}
	}
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, from time.Time) authority {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: from, NotAfter: from.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return authority{issue(t, tmpl, tmpl, &key.PublicKey, key), key}
}

func issue(t *testing.T, tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a authority) serve(t *testing.T, from time.Time, name string) *tls.Config {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: from.AddDate(0, 1, 0), DNSNames: []string{name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if name == "127.0.0.1" {
		tmpl.DNSNames, tmpl.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	leaf := issue(t, tmpl, a.cert, &key.PublicKey, a.key)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key}}}
}

func TestTLSAgainstTheFloor(t *testing.T) {
	era := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	ca := newAuthority(t, era.AddDate(-1, 0, 0))
	other := newAuthority(t, era.AddDate(-1, 0, 0))
	sum := sha256.Sum256(ca.cert.Raw)
	pinned := []*x509.Certificate{ca.cert}
	for name, tt := range map[string]struct {
		floor time.Time
		name  string
		trust mqttlink.Trust
		ok    bool
	}{
		"in date":                       {era.AddDate(0, 0, 9), "127.0.0.1", mqttlink.Trust{Roots: pinned}, true},
		"begins after floor":            {era.AddDate(-2, 0, 0), "127.0.0.1", mqttlink.Trust{Roots: pinned}, true},
		"floor of 1970":                 {time.Unix(0, 0), "127.0.0.1", mqttlink.Trust{Roots: pinned}, true},
		"ended before floor":            {era.AddDate(0, 2, 0), "127.0.0.1", mqttlink.Trust{Roots: pinned, Built: era.AddDate(0, 2, 0)}, false},
		"ended since built, other name": {era.AddDate(0, 2, 0), "broker.example", mqttlink.Trust{Roots: pinned}, false},
		"ended since built, other root": {era.AddDate(0, 2, 0), "127.0.0.1", mqttlink.Trust{Roots: []*x509.Certificate{other.cert}}, false},
		"other root":                    {era, "127.0.0.1", mqttlink.Trust{Roots: []*x509.Certificate{other.cert}}, false},
		"one of two roots":              {era, "127.0.0.1", mqttlink.Trust{Roots: []*x509.Certificate{other.cert, ca.cert}}, true},
		"other name":                    {era, "broker.example", mqttlink.Trust{Roots: pinned}, false},
		"fingerprint":                   {era, "127.0.0.1", mqttlink.Trust{Fingerprint: sum[:]}, true},
		"other fingerprint":             {era, "127.0.0.1", mqttlink.Trust{Fingerprint: make([]byte, 32)}, false},
		"system does not trust":         {era, "127.0.0.1", mqttlink.Trust{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, ca.serve(t, era, tt.name))
			tt.trust.Floor = func() time.Time { return tt.floor }
			l, err := mqttlink.Dial(t.Context(), mqttlink.Options{Broker: s.url, Trust: tt.trust})
			if tt.ok != (err == nil) || err != nil && !errors.Is(err, mqttlink.ErrCertificate) {
				t.Fatalf("got %v", err)
			}
			if err != nil {
				return
			}
			defer l.Close()
			if l.Root() == nil || !l.Root().Equal(ca.cert) {
				t.Error("does not know which root vouched")
			}
			if _, err := l.RoundTrip(t.Context(), request(t, 1)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDoubt: a certificate that has ended by the time last heard, and not by any that has
// certainly passed, is good for strangers, in doubt, until the time is heard anew. No
// credential is shown to it.
func TestDoubt(t *testing.T) {
	era := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	ca := newAuthority(t, era.AddDate(-1, 0, 0))
	s := newServer(t, ca.serve(t, era, "127.0.0.1"))
	floor := era.AddDate(10, 0, 0)
	trust := mqttlink.Trust{Roots: []*x509.Certificate{ca.cert}, Built: era, Floor: func() time.Time { return floor }}
	l := dial(t, mqttlink.Options{Broker: s.url, Trust: trust})
	if err := l.Doubt(); !errors.Is(err, mqttlink.ErrCertificate) || !strings.Contains(err.Error(), "2036-06-01T00:00:00Z") {
		t.Errorf("in doubt: %v", err)
	}
	if _, err := l.RoundTrip(t.Context(), request(t, 1)); err != nil {
		t.Error(err)
	}
	cred := login("secret")
	if _, err := mqttlink.Dial(t.Context(), mqttlink.Options{Broker: s.url, Trust: trust, Credential: cred}); !errors.Is(err, agent.ErrStale) || !errors.Is(err, mqttlink.ErrCertificate) {
		t.Errorf("with a credential: %v", err)
	}
	floor = era
	if err := l.Doubt(); err != nil {
		t.Errorf("when the time was heard anew: %v", err)
	}
	plain := newServer(t, nil)
	if err := dial(t, mqttlink.Options{Broker: plain.url, Trust: trust}).Doubt(); err != nil {
		t.Errorf("without TLS: %v", err)
	}
}

// TestListen: a further reply is waited for without a further request, for a while,
// and one that came close behind the first is not lost.
func TestListen(t *testing.T) {
	s := newServer(t, nil)
	s.more.Store(2)
	l := dial(t, mqttlink.Options{Broker: s.url, Resend: time.Hour})
	for id := byte(1); id <= 3; id++ {
		ask := l.RoundTrip
		heard := map[uint32]bool{} // in whatever order the server sent them
		for range 3 {
			reply, err := ask(t.Context(), request(t, id))
			if err != nil {
				t.Fatal(err)
			}
			m, err := protocol.Decode(reply)
			r, ok := m.(*protocol.Refusal)
			if err != nil || !ok || m.Call() != (protocol.CallID{id}) {
				t.Fatalf("call %d: %+v, %v", id, m, err)
			}
			heard[r.Problem.Signet.RetryAfter] = true
			ask = l.Listen
		}
		if len(heard) != 3 {
			t.Errorf("call %d: heard %v, want three replies", id, heard)
		}
	}
	if n := s.seen.Load(); n != 3 {
		t.Errorf("%d requests for 3 calls", n)
	}
	s.more.Store(0)
	impatient := dial(t, mqttlink.Options{Broker: s.url, Resend: 10 * time.Millisecond})
	if _, err := impatient.Listen(t.Context(), request(t, 8)); err != nil || s.seen.Load() < 4 {
		t.Errorf("%v after %d requests, want it repeated when nothing comes", err, s.seen.Load())
	}
}

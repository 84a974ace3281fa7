package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func names() ServerNames {
	return ServerNames{DNS: []string{"mqtt.acme.example", "localhost"}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
}

func newServer(t *testing.T, a *Authority, life time.Duration) *ServerCertificate {
	t.Helper()
	s, err := a.NewServerCertificate(t.Context(), names(), life)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// handshake runs one TLS connection over loopback and gives both sides' outcome.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		conn := tls.Server(raw, server)
		defer conn.Close()
		err = conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("ok"))
		}
		done <- err
	}()
	conn, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err != nil {
		<-done
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	_, readErr := io.ReadAll(conn)
	return conn.ConnectionState(), errors.Join(readErr, <-done)
}

func TestClientWithPinnedRootConnects(t *testing.T) {
	c := newClock()
	a, stranger := newTestAuthority(t, c), newTestAuthority(t, c)
	server := &tls.Config{GetCertificate: newServer(t, a, 0).GetCertificate}
	pinned := x509.NewCertPool()
	if !pinned.AppendCertsFromPEM(a.Roots()) {
		t.Fatal("Roots is no PEM")
	}
	for _, host := range []string{"mqtt.acme.example", "localhost", "127.0.0.1"} {
		state, err := handshake(t, server, &tls.Config{RootCAs: pinned, ServerName: host, Time: c.now})
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		root := state.VerifiedChains[0][2]
		if sent := state.PeerCertificates; len(sent) != 3 || !sent[2].Equal(root) {
			t.Errorf("%d certificates sent, want the root to be the third: devices may know its fingerprint only", len(sent))
		}
		if got := fmt.Sprintf("%x", sha256Sum(root.Raw)); got != a.Fingerprint() {
			t.Errorf("chain ends at %s, fingerprint is %s", got, a.Fingerprint())
		}
	}
	if _, err := handshake(t, server, &tls.Config{RootCAs: pinned, ServerName: "evil.example", Time: c.now}); err == nil {
		t.Error("connected under a name that the certificate does not hold")
	}
	if _, err := handshake(t, server, &tls.Config{RootCAs: stranger.Pool(), ServerName: "localhost", Time: c.now}); err == nil {
		t.Error("connected with another authority pinned")
	}
}

func TestDeviceCertificateIsForClientsOnly(t *testing.T) {
	c := newClock()
	a := newTestAuthority(t, c)
	key := newKey(t)
	chain, err := a.IssueDevice(t.Context(), key.Public(), device(t, "lab:pump-1"), subject(t), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{PrivateKey: key, Certificate: [][]byte{chain[0].Raw, chain[1].Raw}}
	server := &tls.Config{GetCertificate: newServer(t, a, 0).GetCertificate, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool(), Time: c.now}
	client := &tls.Config{RootCAs: a.Pool(), ServerName: "localhost", Time: c.now, Certificates: []tls.Certificate{cert}}
	if _, err := handshake(t, server, client); err != nil {
		t.Errorf("as a client: %v", err)
	}
	if _, err := handshake(t, &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: a.Pool(), ServerName: "localhost", Time: c.now}); err == nil {
		t.Error("a device's certificate served")
	}
}

func TestServerLeaf(t *testing.T) {
	c := newClock()
	a := newTestAuthority(t, c)
	key := newKey(t).Public()
	chain, err := a.IssueServer(t.Context(), key, names(), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := wantLeaf(t, a, c, key)
	want.Subject = pkix.Name{CommonName: "mqtt.acme.example", Names: []pkix.AttributeTypeAndValue{{Type: oid(2, 5, 4, 3), Value: "mqtt.acme.example"}}}
	want.NotAfter = c.now().Add(DefaultServerLife)
	want.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	want.URIs = nil
	want.DNSNames, want.IPAddresses = names().DNS, []net.IP{{127, 0, 0, 1}}
	if diff := cmp.Diff(*want, *chain[0], leafFields()); diff != "" {
		t.Errorf("leaf (-want +got):\n%s", diff)
	}
}

func TestServerNamesRefused(t *testing.T) {
	a := newTestAuthority(t, newClock())
	for name, n := range map[string]ServerNames{
		"none":          {},
		"empty":         {DNS: []string{""}},
		"space":         {DNS: []string{"a b"}},
		"address":       {DNS: []string{"127.0.0.1"}},
		"port":          {DNS: []string{"localhost:8883"}},
		"NUL":           {DNS: []string{"good.example\x00.evil.example"}},
		"bare wildcard": {DNS: []string{"*."}},
		"inner star":    {DNS: []string{"a.*.example"}},
		"long label":    {DNS: []string{strings.Repeat("a", 64) + ".example"}},
		"zero address":  {IPs: []netip.Addr{{}}},
		"unspecified":   {IPs: []netip.Addr{netip.IPv4Unspecified()}},
		"zone":          {IPs: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}},
		"too many":      {DNS: make([]string, MaxServerNames+1)},
	} {
		if _, err := a.NewServerCertificate(t.Context(), n, 0); !errors.Is(err, ErrName) {
			t.Errorf("%s: %v, want ErrName", name, err)
		}
	}
	for _, life := range []time.Duration{-1, time.Second, MaxServerLife + 1} {
		if _, err := a.NewServerCertificate(t.Context(), names(), life); !errors.Is(err, ErrLifetime) {
			t.Errorf("life %s: %v, want ErrLifetime", life, err)
		}
	}
}

func TestServerCertificateRenewsItself(t *testing.T) {
	c := newClock()
	a := newTestAuthority(t, c)
	s := newServer(t, a, 30*time.Hour)
	get := func() *tls.Certificate {
		t.Helper()
		cert, err := s.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !validAt(cert.Leaf, c.now()) {
			t.Fatalf("served a certificate of %s to %s at %s", cert.Leaf.NotBefore, cert.Leaf.NotAfter, c.now())
		}
		return cert
	}
	first := get()
	c.set(Due(s.Leaf()).Add(-time.Second))
	if get() != first {
		t.Error("renewed before two thirds of its life")
	}
	c.add(time.Second)
	second := get()
	if second == first || second.Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) == 0 {
		t.Error("not renewed at two thirds of its life")
	}
	if samePublic(first.Leaf.PublicKey, second.Leaf.PublicKey) {
		t.Error("renewed with the old key")
	}
	if get() != second || s.Leaf() != second.Leaf {
		t.Error("renewed twice")
	}
	c.add(90 * time.Hour) // nobody connected for long: it has expired
	third := get()
	c.add(-90 * time.Hour) // the clock was wrong
	if fourth := get(); third == second || fourth == third {
		t.Error("a clock that jumps leaves a certificate that is not valid")
	}
	if diff := cmp.Diff(first.Leaf.DNSNames, get().Leaf.DNSNames); diff != "" {
		t.Error("names changed at renewal:", diff)
	}
}

// A flaky ledger stands for a store that is down.
type flakyLedger struct {
	mu    sync.Mutex
	fail  error
	calls int
}

func (l *flakyLedger) Record(Issued) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	return l.fail
}

func (l *flakyLedger) answer(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail, l.calls = err, 0
}

func TestServerCertificateOutlivesFailedRenewals(t *testing.T) {
	c := newClock()
	ledger := &flakyLedger{}
	a := openTest(t, newDir(t, Options{Now: c.now}), Config{Now: c.now, Ledger: ledger})
	s := newServer(t, a, 30*time.Hour)
	first := s.Leaf()
	down := errors.New("store is down")
	ledger.answer(down)
	c.set(Due(s.Leaf()))
	for range 5 {
		cert, err := s.GetCertificate(nil)
		if err != nil || cert.Leaf != first {
			t.Fatalf("while the old one is good: %v", err)
		}
	}
	if ledger.calls != 1 {
		t.Errorf("%d tries within a minute, want 1", ledger.calls)
	}
	c.add(retryAfter)
	if _, err := s.GetCertificate(nil); err != nil || ledger.calls != 2 {
		t.Errorf("after a minute: %d tries, error %v", ledger.calls, err)
	}
	c.set(first.NotAfter)
	if _, err := s.GetCertificate(nil); !errors.Is(err, down) {
		t.Errorf("expired: got %v, want the ledger's error", err)
	}
	ledger.answer(nil)
	if cert, err := s.GetCertificate(nil); err != nil || !validAt(cert.Leaf, c.now()) {
		t.Errorf("store is back: %v", err)
	}
}

// TestFailedRenewalsFillNoLog: while there is no certificate to serve, strangers' handshakes try again
// and again, and the log has a line a minute; a clock that was ahead meanwhile keeps none back.
func TestFailedRenewalsFillNoLog(t *testing.T) {
	c := newClock()
	ledger, said := &flakyLedger{}, &bytes.Buffer{}
	a := openTest(t, newDir(t, Options{Now: c.now}), Config{Now: c.now, Ledger: ledger, Log: slog.New(slog.NewTextHandler(said, nil))})
	s := newServer(t, a, 30*time.Hour)
	said.Reset()
	ledger.answer(errors.New("store is down"))
	good, lines := Due(s.Leaf()), func() int { return strings.Count(said.String(), "server certificate not renewed") }
	c.set(s.Leaf().NotAfter)
	for range 50 {
		if _, err := s.GetCertificate(nil); err == nil {
			t.Fatal("an expired certificate is served")
		}
	}
	if lines() != 1 || ledger.calls != 50 {
		t.Errorf("%d lines of %d tries, want 1 of 50", lines(), ledger.calls)
	}
	c.add(retryAfter)
	if _, err := s.GetCertificate(nil); err == nil || lines() != 2 {
		t.Errorf("after a minute: %d lines, %v", lines(), err)
	}
	c.set(good) // back, by more than an hour
	ledger.answer(nil)
	if cert, err := s.GetCertificate(nil); err != nil || cert.Leaf == nil || cert.Leaf.NotAfter.Before(good.Add(29*time.Hour)) {
		t.Errorf("the clock is right again, and no new certificate is made: %v", err)
	}
}

func TestConcurrentRenewalIsOne(t *testing.T) {
	c := newClock()
	ledger := &flakyLedger{}
	a := openTest(t, newDir(t, Options{Now: c.now}), Config{Now: c.now, Ledger: ledger})
	for _, at := range []string{"due", "expired"} {
		s := newServer(t, a, 30*time.Hour)
		c.set(Due(s.Leaf()))
		if at == "expired" {
			c.set(s.Leaf().NotAfter)
		}
		ledger.answer(nil)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if cert, err := s.GetCertificate(nil); err != nil || !validAt(cert.Leaf, c.now()) {
					t.Errorf("%s: %v", at, err)
				}
			})
		}
		wg.Wait()
		if ledger.calls != 1 {
			t.Errorf("%s: %d certificates for one renewal", at, ledger.calls)
		}
	}
}

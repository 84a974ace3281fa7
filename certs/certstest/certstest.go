// Package certstest gives other packages' tests a throwaway certificate
// authority and TLS configurations under it. It belongs in no program.
package certstest

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/signetd/signet/certs"
)

// TrustDomain is the trust domain of every throwaway authority.
const TrustDomain = "test.signet.example"

// A CA is an authority that ends with its test.
type CA struct {
	*certs.Authority
	Dir string // its folder, in the test's temporary one
}

// New makes an authority. Fields left empty in c get defaults fit for tests.
func New(tb testing.TB, c certs.Config) *CA {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "ca")
	if c.TrustDomain == "" {
		c.TrustDomain = TrustDomain
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := certs.Create(dir, certs.Options{Name: "Signet Test", Now: c.Now}); err != nil {
		tb.Fatal(err)
	}
	a, err := certs.Open(dir, c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := a.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &CA{Authority: a, Dir: dir}
}

// Loopback are the names under which a test's server is reached.
func Loopback() certs.ServerNames {
	return certs.ServerNames{
		DNS: []string{"localhost"},
		IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()},
	}
}

// ServerTLS is a server's configuration with a certificate for Loopback. It asks
// for no client certificate; ClientCAs is set for those who will.
func (ca *CA) ServerTLS(tb testing.TB) *tls.Config {
	tb.Helper()
	cert, err := ca.NewServerCertificate(context.Background(), Loopback(), 0)
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Config{GetCertificate: cert.GetCertificate, ClientCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
}

// ClientTLS is a client's configuration that trusts this authority alone.
func (ca *CA) ClientTLS() *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
}

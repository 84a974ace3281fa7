package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// MaxServerNames bounds the names of one server certificate. Chosen arbitrarily.
const MaxServerNames = 100

// ServerNames are what a server certificate is for: host names (a leading "*."
// is allowed) and addresses, at least one and at most 100 in all.
type ServerNames struct {
	DNS []string
	IPs []netip.Addr
}

// IssueServer certifies a server's key for names: key usage digitalSignature,
// extended key usage serverAuth, no authority. The life is MinLife to
// MaxServerLife, zero for DefaultServerLife, and cut at the intermediate's end.
// The chain is the leaf first, without the root. Errors are as for IssueDevice.
func (a *Authority) IssueServer(ctx context.Context, key crypto.PublicKey, names ServerNames, life time.Duration) ([]*x509.Certificate, error) {
	leaf, err := a.serverLeaf(key, names, life)
	if err != nil {
		return nil, fmt.Errorf("issuing a server certificate: %w", err)
	}
	chain, err := a.sign(ctx, leaf)
	if err != nil {
		return nil, fmt.Errorf("issuing a server certificate: %w", err)
	}
	return chain, nil
}

func (a *Authority) serverLeaf(key crypto.PublicKey, names ServerNames, life time.Duration) (x509.Certificate, error) {
	if life == 0 {
		life = DefaultServerLife
	}
	if life < MinLife || life > MaxServerLife {
		return x509.Certificate{}, fmt.Errorf("%w: %s, want %s to %s", ErrLifetime, life, MinLife, MaxServerLife)
	}
	if err := checkPublicKey(key); err != nil {
		return x509.Certificate{}, err
	}
	dns, ips, err := names.check()
	if err != nil {
		return x509.Certificate{}, err
	}
	var subject pkix.Name
	if len(dns) > 0 && len(dns[0]) <= maxCommonName {
		subject.CommonName = dns[0]
	}
	leaf, err := a.leaf(key, subject, life)
	if err != nil {
		return x509.Certificate{}, err
	}
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.DNSNames, leaf.IPAddresses = dns, ips
	return leaf, nil
}

// Check says whether a certificate can carry the names. Errors wrap ErrName.
func (n ServerNames) Check() error {
	_, _, err := n.check()
	return err
}

func (n ServerNames) check() (dns []string, ips []net.IP, err error) {
	if c := len(n.DNS) + len(n.IPs); c == 0 || c > MaxServerNames {
		return nil, nil, fmt.Errorf("%w: %d names for a server, want 1 to %d", ErrName, c, MaxServerNames)
	}
	for _, s := range n.DNS {
		host := strings.ToLower(s)
		if !isHostname(strings.TrimPrefix(host, "*.")) {
			return nil, nil, fmt.Errorf("%w: host name %q", ErrName, s)
		}
		dns = append(dns, host)
	}
	for _, ip := range n.IPs {
		if !ip.IsValid() || ip.IsUnspecified() || ip.Zone() != "" {
			return nil, nil, fmt.Errorf("%w: address %q", ErrName, ip)
		}
		ips = append(ips, ip.Unmap().AsSlice())
	}
	return dns, ips, nil
}

// isHostname holds to RFC 1123, section 2.1, in lower case, and lets underscores be: names
// of containers and of private networks have them, and TLS's clients take them. An address
// is none.
func isHostname(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil || s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
				return false
			}
		}
	}
	return true
}

// retryAfter is how long a failed renewal waits for its next try.
const retryAfter = time.Minute

// A ServerCertificate is a server's own certificate, key and renewal: at two
// thirds of its life the next handshake brings a new key and a new certificate.
// Both live in memory only. The root is sent along, though TLS does not ask for it,
// so that a device that was given nothing but its Fingerprint finds it in the
// chain. Safe for concurrent use.
type ServerCertificate struct {
	a     *Authority
	names ServerNames
	life  time.Duration

	current atomic.Pointer[tls.Certificate] // never nil, never changed once stored

	mu      sync.Mutex // held by the one who renews
	retryAt time.Time  // guarded by mu: no try before this while the old one is good
}

// NewServerCertificate issues a first certificate for names, each one of the
// given life (zero: DefaultServerLife). Errors are as for IssueServer.
func (a *Authority) NewServerCertificate(ctx context.Context, names ServerNames, life time.Duration) (*ServerCertificate, error) {
	s := &ServerCertificate{a: a, life: life, names: ServerNames{
		DNS: append([]string(nil), names.DNS...),
		IPs: append([]netip.Addr(nil), names.IPs...),
	}}
	if err := s.issue(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// GetCertificate is for tls.Config. It renews when it is time; while that fails
// the old certificate serves until it expires, then the error is returned.
func (s *ServerCertificate) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := s.a.now()
	cert := s.current.Load()
	if now.Before(Due(cert.Leaf)) && !now.Before(cert.Leaf.NotBefore) {
		return cert, nil
	}
	usable := validAt(cert.Leaf, now)
	switch {
	case !usable:
		s.mu.Lock()
	case !s.mu.TryLock(): // someone else is at it, and the old one is good
		return cert, nil
	}
	defer s.mu.Unlock()
	if fresh := s.current.Load(); fresh != cert && validAt(fresh.Leaf, now) {
		return fresh, nil
	}
	waits := now.Before(s.retryAt) && s.retryAt.Sub(now) <= retryAfter // a clock that was ahead set it too late
	if usable && waits {
		return cert, nil
	}
	if err := s.issue(helloContext(hello)); err != nil {
		if !waits { // without a certificate each handshake tries, and anybody makes those
			s.retryAt = now.Add(retryAfter)
			s.a.log.Warn("server certificate not renewed", slog.Time("expires", cert.Leaf.NotAfter), slog.Any("error", err))
		}
		if usable {
			return cert, nil
		}
		return nil, err
	}
	fresh := s.current.Load()
	s.a.log.Info("server certificate renewed", slog.Time("expires", fresh.Leaf.NotAfter))
	return fresh, nil
}

// Leaf is the certificate in use.
func (s *ServerCertificate) Leaf() *x509.Certificate { return s.current.Load().Leaf }

func (s *ServerCertificate) issue(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a server key: %w", err)
	}
	chain, err := s.a.IssueServer(ctx, key.Public(), s.names, s.life)
	if err != nil {
		return err
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	if root := s.a.m.roots[0]; !root.Equal(chain[len(chain)-1]) {
		cert.Certificate = append(cert.Certificate, root.Raw)
	}
	s.current.Store(cert)
	return nil
}

// helloContext detaches the renewal from the connection that happened to start
// it: a client that hangs up must not undo what serves all others.
func helloContext(hello *tls.ClientHelloInfo) context.Context {
	if hello == nil || hello.Context() == nil {
		return context.Background()
	}
	return context.WithoutCancel(hello.Context())
}

func validAt(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && now.Before(c.NotAfter)
}

package mqttlink

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol/reach"
)

// ErrCertificate is wrapped when the broker's certificate is not believed.
var ErrCertificate = errors.New("broker's certificate not accepted")

// ErrPin is wrapped, beside ErrCertificate, when no root that the broker sends along has the
// pinned fingerprint: it is another broker, or one that keeps its root to itself.
var ErrPin = errors.New("the broker sends no root with the pinned fingerprint")

// Trust says which certificate a broker must show. Without Roots and Fingerprint
// the system's roots decide.
type Trust struct {
	Roots []*x509.Certificate
	// Fingerprint is the SHA-256 of a root that the broker sends along itself.
	Fingerprint []byte
	// Floor gives the time last heard from the broker (agent.Floor). Certificates
	// are judged at that instant, or when they begin if that is later: a device
	// without a clock cannot do better, and one with a wrong clock is not misled.
	Floor func() time.Time
	// Built is an instant that has certainly passed. What ended since, but before Floor, is
	// believed by strangers, in doubt (Link.Doubt): it may be the broker's clock that was wrong.
	Built time.Time
}

// trusted is a Trust in use on one connection.
type trusted struct {
	trust  Trust
	strict bool // nothing is believed in doubt
	host   string
	chain  []*x509.Certificate // what the broker showed
	root   *x509.Certificate   // who vouched for it
	signer *x509.Certificate   // who signed the broker's own, under a pinned root; else nil
}

// Schemes of brokers' addresses.
const (
	schemeTLS   = "mqtts"
	schemeWeb   = "wss"
	schemePlain = "mqtt"
)

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: %q, want mqtts://host:port or wss://host/mqtt", ErrURL, s)
	}
	port, path := "8883", strings.Trim(u.Path, "/")
	switch u.Scheme {
	case schemeTLS:
	case schemeWeb:
		port = "443"
		if path == "" {
			u.Path = "/mqtt"
		}
		path = ""
	case schemePlain:
		port = "1883"
		if !loopback(u.Hostname()) {
			return nil, fmt.Errorf("%w: %q: plain mqtt:// only on this machine; use mqtts://", ErrURL, s)
		}
	default:
		return nil, fmt.Errorf("%w: %q: want mqtts:// or wss://", ErrURL, s)
	}
	if path != "" {
		return nil, fmt.Errorf("%w: %q: only wss:// has a path", ErrURL, s)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// dial goes the way to the broker: through a proxy, if there is one, with TLS, which is
// secure then, and WebSocket, as its address says.
func (t *trusted) dial(ctx context.Context, u *url.URL, proxy func(*http.Request) (*url.URL, error)) (conn net.Conn, secure *tls.Conn, err error) {
	p, err := proxyFor(u, proxy)
	switch {
	case err != nil:
	case p != nil:
		conn, err = through(ctx, p, u.Host)
	default:
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			err = reach.Explain(err)
		}
	}
	if err != nil || u.Scheme == schemePlain {
		return conn, nil, err
	}
	secure = tls.Client(conn, t.config(u.Hostname()))
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			return nil, nil, fmt.Errorf("%w: it does not speak TLS", ErrPeer)
		}
		if errors.Is(err, io.EOF) {
			return nil, nil, fmt.Errorf("%w in the TLS handshake", ErrHungUp)
		}
		return nil, nil, fmt.Errorf("TLS: %w", err)
	}
	if u.Scheme != schemeWeb {
		return secure, secure, nil
	}
	web, err := overWebSocket(ctx, secure, u)
	if err != nil {
		_ = secure.Close()
		return nil, nil, err
	}
	return web, secure, nil
}

// config makes a configuration in which verify stands in for the library's own
// check, which knows one time for all certificates; verify has to know the leaf
// before it knows the time. InsecureSkipVerify turns off that check only.
func (t *trusted) config(host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: host, Time: t.floor, InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			t.host, t.chain = host, s.PeerCertificates
			return t.judge()
		},
	}
}

// Judge judges the certificates that a broker of that name showed, its own first, as Dial does: for a
// connection that logs in, if strict, or for a stranger's, who asks doubt whether they are believed
// now (Link.Doubt). Errors wrap ErrCertificate or agent.ErrStale.
func (t Trust) Judge(host string, chain []*x509.Certificate, strict bool) (doubt func() error, err error) {
	shown := &trusted{trust: t, strict: strict, host: host, chain: chain}
	return shown.doubt, shown.judge()
}

// judge decides on what the broker showed.
func (t *trusted) judge() error {
	err := t.verify(t.floor())
	if err == nil || !ended(err) {
		return err
	}
	if known := t.verify(t.trust.Built); known != nil || !t.strict {
		return known
	}
	return fmt.Errorf("%w: %w", agent.ErrStale, err)
}

// ended reports whether a certificate was refused because it had expired.
func ended(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

// doubt is why the certificate is not believed now, nil if it is. The floor may have
// moved since the handshake.
func (t *trusted) doubt() error {
	if t.chain == nil {
		return nil // no TLS
	}
	err := t.verify(t.floor())
	if err != nil && ended(err) {
		return fmt.Errorf("%w (by the time last heard from the broker, %s)", err, t.floor().UTC().Format(time.RFC3339))
	}
	return err
}

func (t *trusted) floor() time.Time {
	if t.trust.Floor == nil {
		return time.Unix(0, 0)
	}
	return t.trust.Floor()
}

// verify judges what the broker showed at an instant.
func (t *trusted) verify(at time.Time) error {
	if len(t.chain) == 0 {
		return fmt.Errorf("%w: none came", ErrCertificate)
	}
	roots := t.trust.Roots
	if t.trust.Fingerprint != nil {
		root := find(t.chain, t.trust.Fingerprint)
		if root == nil {
			return fmt.Errorf("%w: %w", ErrCertificate, ErrPin)
		}
		roots = []*x509.Certificate{root}
	}
	if len(roots) == 0 {
		return t.verifyWith(at, nil)
	}
	var err error
	for _, root := range roots {
		if err = t.verifyWith(at, root); err == nil {
			t.root = root
			return nil
		}
	}
	return err
}

// verifyWith is verify under one root, nil for the system's.
func (t *trusted) verifyWith(at time.Time, root *x509.Certificate) error {
	opts := x509.VerifyOptions{DNSName: t.host, CurrentTime: at, Intermediates: x509.NewCertPool()}
	for i, c := range t.chain {
		opts.CurrentTime = later(opts.CurrentTime, c.NotBefore)
		if i > 0 {
			opts.Intermediates.AddCert(c)
		}
	}
	if root != nil {
		opts.Roots = x509.NewCertPool()
		opts.Roots.AddCert(root)
		opts.CurrentTime = later(opts.CurrentTime, root.NotBefore)
	}
	chains, err := t.chain[0].Verify(opts)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if root != nil && len(chains[0]) > 1 {
		t.signer = chains[0][1]
	}
	return nil
}

// server names whom the certificate shows to be at the other end: under a pinned root by
// the key that signed the certificate, because a broker makes a new one at each start;
// under the system's roots, which sign for anybody, by the certificate's own key.
func (t *trusted) server() []byte {
	by := t.chain[0]
	if t.signer != nil {
		by = t.signer
	}
	sum := sha256.Sum256(by.RawSubjectPublicKeyInfo)
	return sum[:]
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func find(chain []*x509.Certificate, fingerprint []byte) *x509.Certificate {
	for _, c := range chain {
		sum := sha256.Sum256(c.Raw)
		if subtle.ConstantTimeCompare(sum[:], fingerprint) == 1 {
			return c
		}
	}
	return nil
}

// CheckURL reports whether Dial would take the broker's address. Errors wrap ErrURL.
func CheckURL(broker string) error {
	_, err := parseURL(broker)
	return err
}

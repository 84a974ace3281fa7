package certs

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/protocol/token"
	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner"
)

// Limits on lifetimes, and what the broker takes when it is not told.
const (
	MinLife              = time.Minute
	DefaultMaxDeviceLife = 90 * 24 * time.Hour
	DefaultServerLife    = 30 * 24 * time.Hour
	MaxServerLife        = 397 * 24 * time.Hour // longer ones are refused by common TLS clients
)

// leafBackdate is how much earlier than now a leaf is valid from.
const leafBackdate = time.Minute

// Config is for Open.
type Config struct {
	// TrustDomain is the authority part of devices' SPIFFE IDs, like
	// "acme.example": 1 to 255 of a-z, 0-9, '.', '-', '_'. Required.
	TrustDomain string
	// MaxDeviceLife is the longest life of a device's certificate. Zero: DefaultMaxDeviceLife.
	MaxDeviceLife time.Duration
	// Ledger records what is issued. Nil: serials are kept in memory.
	Ledger Ledger
	// Signer takes the place of intermediate.key: a PKCS #11 or cloud key.
	Signer crypto.Signer
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Log hears of server certificates renewed or not. Nil: nobody does.
	Log *slog.Logger
}

// An Authority issues certificates. Safe for concurrent use.
type Authority struct {
	ca      *authority.Authority // never leaves this struct
	carrier *x509.CertificateRequest
	m       material
	domain  string
	maxLife time.Duration
	now     func() time.Time
	log     *slog.Logger
	closed  atomic.Bool
}

// Open loads the authority that Create wrote to dir. Errors wrap fs.ErrNotExist,
// ErrMalformed, ErrKeyMode, ErrWeakKey, ErrUnfit, ErrExpired or ErrName; a
// *FileError says which file.
func Open(dir string, c Config) (*Authority, error) {
	a, err := open(dir, c)
	if err != nil {
		return nil, fmt.Errorf("opening the certificate authority: %w", err)
	}
	return a, nil
}

func open(dir string, c Config) (*Authority, error) {
	if err := CheckTrustDomain(c.TrustDomain); err != nil {
		return nil, err
	}
	if c.MaxDeviceLife == 0 {
		c.MaxDeviceLife = DefaultMaxDeviceLife
	}
	if c.MaxDeviceLife < MinLife {
		return nil, fmt.Errorf("%w: longest device life %s, at least %s", ErrLifetime, c.MaxDeviceLife, MinLife)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Ledger == nil {
		c.Ledger = newMemoryLedger(c.Now)
	}
	m, err := readFolder(dir, c.Signer)
	if err != nil {
		return nil, err
	}
	if err := m.check(c.Now()); err != nil {
		return nil, &FileError{dir, err}
	}
	ca, err := embed(m, c.Ledger)
	if err != nil {
		return nil, err
	}
	carrier, err := newCarrier()
	if err != nil {
		return nil, errors.Join(err, ca.Shutdown())
	}
	return &Authority{ca: ca, carrier: carrier, m: m, domain: c.TrustDomain, maxLife: c.MaxDeviceLife, now: c.Now, log: c.Log}, nil
}

// embed starts the library with our certificates, our key and our ledger: no
// file, provisioner, template or listener of its own.
func embed(m material, ledger Ledger) (*authority.Authority, error) {
	ca, err := authority.NewEmbedded(
		authority.WithConfig(&config.Config{AuthorityConfig: &config.AuthConfig{
			Backdate: &provisioner.Duration{}, // the modifier writes both ends
		}}),
		authority.WithX509RootCerts(m.roots...),
		authority.WithX509SignerChain(m.chain, m.key),
		authority.WithDatabase(database{ledger}),
		authority.WithQuietInit(),
	)
	if err != nil {
		return nil, fmt.Errorf("starting the authority: %w", err)
	}
	return ca, nil
}

// newCarrier makes the request that the library is shown in place of a device's.
// It names nothing, and its key is forgotten here: the modifier puts in the real
// one. The library checks its signature twice per certificate; RSA because that
// is the cheapest to check, by half of P-256.
func newCarrier() (*x509.CertificateRequest, error) {
	key, err := rsa.GenerateKey(rand.Reader, token.MinRSABits)
	if err != nil {
		return nil, fmt.Errorf("making the carrier request: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making the carrier request: %w", err)
	}
	return x509.ParseCertificateRequest(der)
}

// Roots gives the trust bundle in PEM, our own root first.
func (a *Authority) Roots() []byte { return encodeCertificates(a.m.roots) }

// Pool gives the trust bundle as a new pool.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range a.m.roots {
		pool.AddCert(c)
	}
	return pool
}

// Fingerprint is the SHA-256 of our root's DER in lower-case hex, as `step
// certificate fingerprint` prints it: what a device pins.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.m.roots[0].Raw)
	return hex.EncodeToString(sum[:])
}

// TrustDomain is the authority part of devices' SPIFFE IDs.
func (a *Authority) TrustDomain() string { return a.domain }

// Close ends the authority; issuing then fails with ErrClosed. Roots and
// Fingerprint go on. Closing twice is fine.
func (a *Authority) Close() error {
	if a.closed.Swap(true) {
		return nil
	}
	if err := a.ca.Shutdown(); err != nil {
		return fmt.Errorf("closing the certificate authority: %w", err)
	}
	return nil
}

// serialTries is how often a taken serial number is replaced. A second try
// already means a broken source of randomness.
const serialTries = 3

// sign has the library sign leaf as it stands, and gives the chain without the root.
func (a *Authority) sign(ctx context.Context, leaf x509.Certificate) ([]*x509.Certificate, error) {
	ctx = provisioner.NewContextWithMethod(ctx, provisioner.SignMethod)
	var err error
	for range serialTries {
		if a.closed.Load() {
			return nil, ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if leaf.SerialNumber, err = newSerial(); err != nil {
			return nil, err
		}
		carrier := *a.carrier
		var chain []*x509.Certificate
		chain, err = a.ca.SignWithContext(ctx, &carrier, provisioner.SignOptions{}, whole{leaf})
		if err == nil && !samePublic(chain[0].PublicKey, leaf.PublicKey) {
			return nil, fmt.Errorf("%w: the library certified another key", ErrUnfit)
		}
		if err == nil {
			return chain, nil
		}
		if !errors.Is(err, ErrSerialTaken) {
			break
		}
	}
	return nil, fmt.Errorf("signing: %w", err)
}

// whole is the modifier that overwrites every field of the certificate to be
// signed, whatever the request asked for.
type whole struct{ leaf x509.Certificate }

var _ provisioner.CertificateModifier = whole{}

// Modify replaces *c. It takes nothing from c and nothing from the options.
func (w whole) Modify(c *x509.Certificate, _ provisioner.SignOptions) error {
	*c = w.leaf
	return nil
}

// validity gives the two ends of a leaf's life, kept within the issuers' own.
func (a *Authority) validity(life time.Duration) (from, to time.Time, err error) {
	now := a.now()
	from, to = now.Add(-leafBackdate), now.Add(life)
	for _, c := range append([]*x509.Certificate{a.m.roots[0]}, a.m.chain...) {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(to) {
			to = c.NotAfter
		}
	}
	from, to = from.UTC().Truncate(time.Second), to.UTC().Truncate(time.Second)
	if from.After(now) || !to.After(now) {
		return from, to, fmt.Errorf("%w: it is %s", ErrExpired, now.UTC().Format(time.RFC3339))
	}
	return from, to, nil
}

// CheckTrustDomain says whether s can be a trust domain (SPIFFE ID, 2.1). Errors wrap ErrName.
func CheckTrustDomain(s string) error {
	bad := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
	})
	if s == "" || len(s) > 255 || bad >= 0 {
		return fmt.Errorf("%w: trust domain %q: want 1 to 255 of a-z, 0-9, '.', '-' and '_'", ErrName, s)
	}
	return nil
}

package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Defaults for a new authority. The roots outlive the devices that pin them.
const (
	DefaultName             = "Signet"
	DefaultRootLife         = 30 * 365 * 24 * time.Hour
	DefaultIntermediateLife = 10 * 365 * 24 * time.Hour
)

// authorityBackdate is how much earlier than now a new authority is valid from,
// for clients whose clocks are behind.
const authorityBackdate = time.Hour

// maxName bounds Options.Name, in bytes, so that with " Intermediate CA" behind
// it a common name keeps to its 64 (RFC 5280, appendix A.1).
const maxName = 40

// Options are for Create. The zero value makes a new root and a new intermediate.
type Options struct {
	// Name is the organisation in the certificates' subjects, at most 40 bytes of
	// printable ASCII. Empty: DefaultName.
	Name string
	// RootLife and IntermediateLife: how long the certificates made here last.
	// Zero: DefaultRootLife and DefaultIntermediateLife. An intermediate never
	// outlasts its root.
	RootLife, IntermediateLife time.Duration
	// Root (PEM, one or more, ours first) brings a root. With RootKey, an
	// intermediate is made under it, and RootKey is used once and not written. With
	// Intermediate (PEM, the issuer first) and IntermediateKey, nothing is made.
	// Keys are PEM, unencrypted: PKCS #8, SEC 1 or PKCS #1.
	Root, RootKey, Intermediate, IntermediateKey []byte
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Create makes an authority in dir, a folder of its own, which must be absent or
// empty and appears whole or not at all. Private keys get mode 0600. Errors wrap
// ErrExists, ErrMalformed, ErrWeakKey, ErrUnfit, ErrExpired, ErrName or
// ErrLifetime; a *FileError says where.
func Create(dir string, o Options) error {
	now := time.Now
	if o.Now != nil {
		now = o.Now
	}
	m, err := o.material(now())
	if err != nil {
		return fmt.Errorf("creating a certificate authority: %w", err)
	}
	if err := m.check(now()); err != nil {
		return fmt.Errorf("creating a certificate authority: %w", err)
	}
	if err := writeFolder(dir, m); err != nil {
		return fmt.Errorf("creating a certificate authority: %w", err)
	}
	return nil
}

func (o Options) material(now time.Time) (material, error) {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if err := checkAuthorityName(o.Name); err != nil {
		return material{}, err
	}
	if o.RootLife == 0 {
		o.RootLife = DefaultRootLife
	}
	if o.IntermediateLife == 0 {
		o.IntermediateLife = DefaultIntermediateLife
	}
	if o.RootLife < time.Hour || o.IntermediateLife < time.Hour {
		return material{}, fmt.Errorf("%w: an authority lasts an hour at least", ErrLifetime)
	}
	switch {
	case o.Root == nil && o.RootKey == nil && o.Intermediate == nil && o.IntermediateKey == nil:
		return o.makeBoth(now)
	case o.Root != nil && o.RootKey != nil && o.Intermediate == nil && o.IntermediateKey == nil:
		return o.makeIntermediate(now)
	case o.Root != nil && o.RootKey == nil && o.Intermediate != nil && o.IntermediateKey != nil:
		return o.brought()
	}
	return material{}, fmt.Errorf("%w: bring a root with its key, or a root with an intermediate and its key, or nothing", ErrUnfit)
}

func (o Options) makeBoth(now time.Time) (material, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return material{}, fmt.Errorf("making the root key: %w", err)
	}
	root, err := authorityTemplate(o.Name+" Root CA", o.Name, key.Public(), now, o.RootLife, 1)
	if err != nil {
		return material{}, err
	}
	root, err = signAuthority(root, root, key.Public(), key)
	if err != nil {
		return material{}, fmt.Errorf("making the root: %w", err)
	}
	return o.under([]*x509.Certificate{root}, key, now, key)
}

func (o Options) makeIntermediate(now time.Time) (material, error) {
	roots, err := parseCertificates(o.Root)
	if err != nil {
		return material{}, fmt.Errorf("the brought root: %w", err)
	}
	key, err := parseKey(o.RootKey)
	if err != nil {
		return material{}, fmt.Errorf("the brought root's key: %w", err)
	}
	if !samePublic(roots[0].PublicKey, key.Public()) {
		return material{}, fmt.Errorf("%w: the brought root and its key do not belong together", ErrUnfit)
	}
	return o.under(roots, key, now, nil)
}

func (o Options) brought() (material, error) {
	var m material
	var err error
	if m.roots, err = parseCertificates(o.Root); err != nil {
		return material{}, fmt.Errorf("the brought root: %w", err)
	}
	if m.chain, err = parseCertificates(o.Intermediate); err != nil {
		return material{}, fmt.Errorf("the brought intermediate: %w", err)
	}
	if m.key, err = parseKey(o.IntermediateKey); err != nil {
		return material{}, fmt.Errorf("the brought intermediate's key: %w", err)
	}
	m.oursFirst()
	return m, nil
}

// under makes an intermediate under the first root; keep is the root's key if it is to be written.
func (o Options) under(roots []*x509.Certificate, signer crypto.Signer, now time.Time, keep crypto.Signer) (material, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return material{}, fmt.Errorf("making the intermediate's key: %w", err)
	}
	cert, err := authorityTemplate(o.Name+" Intermediate CA", o.Name, key.Public(), now, o.IntermediateLife, 0)
	if err != nil {
		return material{}, err
	}
	if cert.NotAfter.After(roots[0].NotAfter) {
		cert.NotAfter = roots[0].NotAfter
	}
	if cert.NotBefore.Before(roots[0].NotBefore) {
		cert.NotBefore = roots[0].NotBefore
	}
	cert, err = signAuthority(cert, roots[0], key.Public(), signer)
	if err != nil {
		return material{}, fmt.Errorf("making the intermediate: %w", err)
	}
	return material{roots: roots, chain: []*x509.Certificate{cert}, rootKey: keep, key: key}, nil
}

func authorityTemplate(cn, org string, key crypto.PublicKey, now time.Time, life time.Duration, pathLen int) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: cn, Organization: []string{org}},
		NotBefore:             now.Add(-authorityBackdate).UTC().Truncate(time.Second),
		NotAfter:              now.Add(life).UTC().Truncate(time.Second),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
		SubjectKeyId:          id,
	}, nil
}

func signAuthority(template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newSerial gives 159 random bits, positive: within the 20 octets of RFC 5280, section 4.1.2.2.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

func checkAuthorityName(s string) error {
	if len(s) > maxName {
		return fmt.Errorf("%w: authority name of %d bytes, at most %d", ErrName, len(s), maxName)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return fmt.Errorf("%w: authority name %q: want printable ASCII", ErrName, s)
		}
	}
	return nil
}

// check asks whether these pieces make an authority that can issue now.
func (m material) check(now time.Time) error {
	for i, c := range m.chain {
		if err := checkAuthority(c, i); err != nil {
			return err
		}
	}
	for i, c := range m.roots {
		below := 0
		if i == 0 && !c.Equal(m.chain[len(m.chain)-1]) {
			below = len(m.chain)
		}
		if err := checkAuthority(c, below); err != nil {
			return err
		}
		if err := c.CheckSignatureFrom(c); err != nil {
			return fmt.Errorf("%w: %q is no root, it is not signed by itself", ErrUnfit, c.Subject)
		}
	}
	if !samePublic(m.chain[0].PublicKey, m.key.Public()) {
		return fmt.Errorf("%w: %s and %s do not belong together", ErrUnfit, IntermediateFile, IntermediateKeyFile)
	}
	if m.rootKey != nil && !samePublic(m.roots[0].PublicKey, m.rootKey.Public()) {
		return fmt.Errorf("%w: %s and %s do not belong together", ErrUnfit, RootFile, RootKeyFile)
	}
	return m.checkChain(now)
}

// checkAuthority asks whether c may certify, with that many authorities between
// it and a leaf (RFC 5280, section 4.2.1.9).
func checkAuthority(c *x509.Certificate, below int) error {
	if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%w: %q is no authority's certificate", ErrUnfit, c.Subject)
	}
	if c.MaxPathLen >= 0 && c.MaxPathLen < below { // Go's parser gives -1 for no limit
		return fmt.Errorf("%w: %q allows %d authorities below it, there are %d", ErrUnfit, c.Subject, c.MaxPathLen, below)
	}
	return checkPublicKey(c.PublicKey)
}

func (m material) checkChain(now time.Time) error {
	pool, between := x509.NewCertPool(), x509.NewCertPool()
	pool.AddCert(m.roots[0])
	for _, c := range m.chain[1:] {
		between.AddCert(c)
	}
	_, err := m.chain[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: %v", ErrExpired, err)
	case err != nil:
		return fmt.Errorf("%w: the intermediate does not chain to the first root: %v", ErrUnfit, err)
	}
	return nil
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

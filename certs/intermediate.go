package certs

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// nextSuffix is that of files which are about to take the place of others.
const nextSuffix = ".next"

// Certificates are an authority's own, as its folder has them.
type Certificates struct {
	Root, Intermediate *x509.Certificate
	RootKey            bool // the root's key is in the folder, too
}

// Show reads an authority's certificates, whether they are still valid or not. Errors are
// Open's.
func Show(dir string) (Certificates, error) {
	m, err := readFolder(dir, nil)
	if err != nil {
		return Certificates{}, fmt.Errorf("reading the certificate authority: %w", err)
	}
	return m.certificates(), nil
}

// Certificates gives the authority's own.
func (a *Authority) Certificates() Certificates { return a.m.certificates() }

func (m material) certificates() Certificates {
	return Certificates{m.roots[0], m.chain[0], m.rootKey != nil}
}

// Due is when a certificate is due to be replaced: when a third of its life is left.
func Due(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
}

// Replacement is for ReplaceIntermediate. The zero value makes a new intermediate with the root's key that
// is in the folder.
type Replacement struct {
	Life time.Duration // of the new one; zero: DefaultIntermediateLife
	// RootKey (PEM) is the root's key, when it is not in the folder. It is used once and
	// not written.
	RootKey []byte
	// Intermediate (PEM, the issuer first) and IntermediateKey bring one; nothing is made.
	Intermediate, IntermediateKey []byte
	Now                           func() time.Time // nil: time.Now
}

// ReplaceIntermediate gives the authority in dir another intermediate under the same root, or
// a brought one under any of the folder's roots, with a key of its own. An Authority that is open goes on with the old one; the next Open takes the
// new one. A crash leaves the old one or the new one, whole. Errors are Create's, and
// ErrNoRootKey.
func ReplaceIntermediate(dir string, r Replacement) (Certificates, error) {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	m, err := r.material(dir, now())
	if err == nil {
		err = m.check(now())
	}
	if err == nil {
		err = replaceIssuer(dir, m)
	}
	if err != nil {
		return Certificates{}, fmt.Errorf("replacing the intermediate: %w", err)
	}
	return m.certificates(), nil
}

func (r Replacement) material(dir string, now time.Time) (material, error) {
	old, err := readFolder(dir, nil)
	if err != nil {
		return material{}, err
	}
	o := Options{
		Name: DefaultName, IntermediateLife: r.Life, Root: encodeCertificates(old.roots),
		RootKey: r.RootKey, Intermediate: r.Intermediate, IntermediateKey: r.IntermediateKey,
	}
	if org := old.chain[0].Subject.Organization; len(org) > 0 && checkAuthorityName(org[0]) == nil {
		o.Name = org[0]
	}
	if r.RootKey != nil || r.Intermediate != nil || r.IntermediateKey != nil {
		return o.material(now)
	}
	if old.rootKey == nil {
		return material{}, fmt.Errorf("%w: %s", ErrNoRootKey, filepath.Join(dir, RootKeyFile))
	}
	if !samePublic(old.roots[0].PublicKey, old.rootKey.Public()) {
		return material{}, fmt.Errorf("%w: %s and %s do not belong together", ErrUnfit, RootFile, RootKeyFile)
	}
	if o.IntermediateLife == 0 {
		o.IntermediateLife = DefaultIntermediateLife
	}
	return o.under(old.roots, old.rootKey, now, old.rootKey)
}

// replaceIssuer writes the intermediate and its key. Both are complete beside the old ones
// before the first of them takes its place; whoever reads between the two finds the other
// under its next name.
func replaceIssuer(dir string, m material) error {
	chain, key := filepath.Join(dir, IntermediateFile), filepath.Join(dir, IntermediateKeyFile)
	if err := settle(chain, key); err != nil {
		return err
	}
	if err := writeSynced(chain+nextSuffix, encodeCertificates(m.chain), 0o644); err != nil {
		return err
	}
	if err := writeKey(key+nextSuffix, m.key); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	for _, path := range []string{key, chain} {
		if err := os.Rename(path+nextSuffix, path); err != nil {
			return fileError(path, err)
		}
	}
	return syncDir(dir)
}

// settle ends what a replacement that was cut off has begun: forwards if its key is in place
// already, else back.
func settle(chain, key string) error {
	signer, err := readKey(key)
	if err != nil {
		return err
	}
	next, err := nextChain(chain, signer)
	if err != nil {
		return err
	}
	if next != nil {
		if err := os.Rename(chain+nextSuffix, chain); err != nil {
			return fileError(chain, err)
		}
	}
	for _, path := range []string{chain + nextSuffix, key + nextSuffix} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fileError(path, err)
		}
	}
	return nil
}

// nextChain gives the chain that a replacement left under its next name, if it is the one
// that belongs to the key in place; nil if there is none.
func nextChain(chain string, key crypto.Signer) ([]*x509.Certificate, error) {
	next, err := readCertificates(chain + nextSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || !samePublic(next[0].PublicKey, key.Public()) {
		return nil, nil //nolint:nilerr // cut off while it was written: its key is not in place
	}
	return next, nil
}

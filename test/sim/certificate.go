package sim

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"

	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/certs"
)

// host is the name by which devices look for the broker.
const host = "signet.example"

// An authority makes the certificates of the replicas' TLS, which is but a name otherwise.
type authority struct {
	key  ed25519.PrivateKey
	root *x509.Certificate
	// given is how long the certificates last that somebody else makes, by a clock that is right; 0: the replicas
	// make their own.
	given time.Duration
}

// givenLife is authority.given for a roll: for a world in eight, as long as common TLS clients take,
// and devices that believe a clock which is years ahead take the certificate to be over.
func givenLife(roll int) time.Duration {
	switch {
	case roll == 0:
		return certs.MaxServerLife
	case roll < 4:
		return certs.DefaultIntermediateLife + certs.MaxServerLife
	}
	return 0
}

func newAuthority(given time.Duration) (*authority, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key, given: given}
	now := time.Now()
	a.root, err = a.sign(&x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certs.DefaultRootLife), IsCA: true, BasicConstraintsValid: true})
	return a, err
}

// sign makes a certificate, the root's own if there is none yet.
func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, error) {
	c.SerialNumber = big.NewInt(1)
	parent := a.root
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// leaf gives the replica's certificate. It makes a new one when its clock says that it is time.
func (r *replica) leaf() (*x509.Certificate, error) {
	now, life := r.clock(), certs.DefaultServerLife
	r.mu.Lock()
	defer r.mu.Unlock()
	switch c := r.shown; {
	case c != nil && r.w.authority.given > 0, c != nil && !now.Before(c.NotBefore) && now.Before(certs.Due(c)):
		return c, nil
	case r.w.authority.given > 0:
		now, life = time.Now(), r.w.authority.given
	}
	from := now.Add(-time.Minute)
	c, err := r.w.authority.sign(&x509.Certificate{DNSNames: []string{host}, NotBefore: from, NotAfter: from.Add(life)})
	if err == nil {
		r.shown = c
	}
	return c, err
}

// reach begins a connection of the device's to a replica, whose certificate it judges as
// agent/mqttlink does: to log in, or as a stranger.
func (d *device) reach(r *replica, logsIn bool) (*conn, error) {
	leaf, err := r.leaf()
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	d.mu.Lock()
	a := d.agent
	d.mu.Unlock()
	trust := mqttlink.Trust{Roots: []*x509.Certificate{d.w.authority.root}, Floor: a.Floor, Built: d.w.built}
	doubt, err := trust.Judge(host, []*x509.Certificate{leaf}, logsIn)
	if err != nil {
		return nil, err
	}
	c := d.connect()
	c.doubt = doubt
	return c, nil
}

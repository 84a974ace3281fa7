package certs

import (
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/smallstep/certificates/db"
	"golang.org/x/crypto/ssh"
)

// Issued is one line of the ledger: a certificate that was signed.
type Issued struct {
	Serial   string // decimal
	NotAfter time.Time
	DER      []byte
}

// A Ledger remembers what was issued. The certificate is given to nobody unless
// Record returned nil, so Record must be durable by then. It returns an error
// wrapping ErrSerialTaken, and changes nothing, if it holds the serial already.
// Safe for concurrent use.
type Ledger interface {
	Record(Issued) error
}

// memoryLedger holds the serials of unexpired certificates of this process.
// With 159 random bits each, no more is needed for their uniqueness.
type memoryLedger struct {
	now func() time.Time

	mu      sync.Mutex // guards the fields below
	expires map[string]time.Time
	sweepAt int // size at which the expired ones are dropped next
}

const firstSweep = 1024

func newMemoryLedger(now func() time.Time) *memoryLedger {
	return &memoryLedger{now: now, expires: make(map[string]time.Time), sweepAt: firstSweep}
}

// Record keeps the serial until the certificate expires.
func (l *memoryLedger) Record(c Issued) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.expires[c.Serial]; taken {
		return fmt.Errorf("%w: %s", ErrSerialTaken, c.Serial)
	}
	l.expires[c.Serial] = c.NotAfter
	if len(l.expires) >= l.sweepAt {
		now := l.now()
		for serial, end := range l.expires {
			if end.Before(now) {
				delete(l.expires, serial)
			}
		}
		l.sweepAt = max(firstSweep, 2*len(l.expires))
	}
	return nil
}

// database shows a Ledger to the library, and with it nothing that the library
// could renew, revoke or look up: those doors say "not implemented".
type database struct{ ledger Ledger }

var (
	_ db.AuthDB            = database{}
	_ db.CertificateStorer = database{}
)

// StoreCertificate is called between the signature and the answer.
func (d database) StoreCertificate(c *x509.Certificate) error {
	return d.ledger.Record(Issued{Serial: c.SerialNumber.String(), NotAfter: c.NotAfter, DER: c.Raw})
}

func (database) StoreSSHCertificate(*ssh.Certificate) error       { return db.ErrNotImplemented }
func (database) IsRevoked(string) (bool, error)                   { return true, db.ErrNotImplemented }
func (database) IsSSHRevoked(string) (bool, error)                { return true, db.ErrNotImplemented }
func (database) Revoke(*db.RevokedCertificateInfo) error          { return db.ErrNotImplemented }
func (database) RevokeSSH(*db.RevokedCertificateInfo) error       { return db.ErrNotImplemented }
func (database) GetCertificate(string) (*x509.Certificate, error) { return nil, db.ErrNotImplemented }
func (database) UseToken(string, string) (bool, error)            { return false, db.ErrNotImplemented }
func (database) IsSSHHost(string) (bool, error)                   { return false, db.ErrNotImplemented }
func (database) GetSSHHostPrincipals() ([]string, error)          { return nil, db.ErrNotImplemented }
func (database) Shutdown() error                                  { return nil }

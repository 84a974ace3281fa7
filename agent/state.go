package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// State keeps a device's Record over restarts and power cuts.
type State interface {
	// Load gives the record last saved; the zero Record and no error if there is none.
	Load(ctx context.Context) (Record, error)
	// Save returns when r is durable. Whatever happens, Load finds either r or what was before.
	Save(ctx context.Context, r Record) error
}

// A Record is what the device must not forget. Encoded as a CBOR map; new keys may follow.
type Record struct {
	Device    ident.Device `cbor:"-"`
	Pool      ident.Pool   `cbor:"1,keyasint"`
	Name      ident.Name   `cbor:"2,keyasint"`
	Enrolled  bool         `cbor:"3,keyasint,omitempty"`
	Subject   ident.UUID   `cbor:"4,keyasint"`
	Issuer    string       `cbor:"5,keyasint,omitempty"`
	Pin       []byte       `cbor:"6,keyasint,omitempty"`  // start of the anchor's thumbprint
	Anchor    []byte       `cbor:"7,keyasint,omitempty"`  // COSE_Key, fits the pin
	Statement []byte       `cbor:"8,keyasint,omitempty"`  // COSE_Sign1 by the anchor, verified
	Floor     int64        `cbor:"9,keyasint,omitempty"`  // Unix seconds: the time last heard from the broker
	Session   ident.UUID   `cbor:"10,keyasint"`           // that the device has
	Refresh   []byte       `cbor:"11,keyasint,omitempty"` // refresh token, a secret
	Secret    []byte       `cbor:"12,keyasint,omitempty"` // tells the key that the broker took last from another
}

// Fits reports whether p is the secret that the broker let the device in with last, as far
// as the record tells: one of a device that was never let in fits all.
func (r *Record) Fits(p Prover) bool { return r.fits(secretMark(p)) }

func (r *Record) fits(mark []byte) bool {
	return mark == nil || r.Secret == nil || bytes.Equal(r.Secret, mark)
}

// secretMark tells a device's secret from others and gives nothing away that others can use:
// the hash of a public key or, of a shared key, that of a MAC which no broker takes for a
// proof. nil if the secret proves nothing just now.
func secretMark(p Prover) []byte {
	mark := p.PublicKey()
	if mark == nil {
		var err error
		if mark, err = p.Prove(protocol.ProofInput(protocol.PurposeKept, protocol.Transcript{})); err != nil {
			return nil
		}
	}
	sum := sha256.Sum256(mark)
	return sum[:16]
}

// blame says of a refusal that the device's secret is another one than before, if it is.
func (a *Agent) blame(err error) error {
	if !errors.Is(err, protocol.CodeDenied) && !errors.Is(err, protocol.CodeExists) {
		return err
	}
	if r := a.snapshot(); r.fits(a.mark) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrOtherSecret, err)
}

// Memory is a State that is gone when the program ends: for tests, simulations, and
// devices that keep their key only and log in anew after each start. Of such a
// device Config.Pin must be set, for it forgets the pool's anchor too. The zero
// Memory is empty and ready. It is safe for concurrent use.
type Memory struct {
	mu     sync.Mutex // guards record
	record Record
}

var _ State = (*Memory)(nil)

// Load gives the record last saved. It never fails.
func (m *Memory) Load(context.Context) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.record, nil
}

// Save keeps r. It never fails.
func (m *Memory) Save(_ context.Context, r Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.record = r
	return nil
}

// snapshot copies the record; slices in it are never changed in place.
func (a *Agent) snapshot() Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.record
}

// adopt saves the record that follows from the grant, then takes on the record and the tokens. A device
// whose disk is full goes on in memory: after a restart its old refresh token may be
// of no use, but its key is. Only an enrollment must be durable before it counts.
func (a *Agent) adopt(ctx context.Context, c *call, body *protocol.GrantBody, g *Tokens) error {
	r := c.record
	r.Enrolled, r.Subject, r.Issuer = true, body.Subject, body.Issuer
	r.Floor = g.Signed.Unix() // the newest counts, though it be earlier: the broker's clock may have been wrong before
	r.Session, r.Refresh = body.Session, body.Refresh
	r.Secret = a.mark
	unsaved := a.cfg.State.Save(ctx, r)
	if unsaved != nil {
		unsaved = fmt.Errorf("save state: %w", unsaved)
		if c.enrolling != nil || !c.record.Enrolled {
			return unsaved
		}
		a.cfg.Log.Warn("going on without", "err", unsaved)
	}
	if c.forgets {
		a.tellForgotten(&r)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status.Unsaved = unsaved
	a.heard(c.end, body.Direct)
	a.record, a.newer = r, nil
	a.signed = signedTime{at: g.Signed, heard: g.Arrived}
	if c.usual {
		a.current = g
	}
	return nil
}

// tellForgotten says what the device believed until somebody enrolled it with another pin,
// and believes no more: r is what it believes now.
func (a *Agent) tellForgotten(r *Record) {
	old := a.snapshot()
	if old.Pin != nil && !bytes.HasPrefix(old.Pin, r.Pin) {
		a.cfg.Log.Warn("by the word of whoever enrolls it the device believes another anchor than before",
			"device", a.cfg.Device.String(), "was", hex.EncodeToString(old.Pin), "is", hex.EncodeToString(r.Pin))
	}
	if was, is := old.stored(), r.stored(); was != nil && is != nil && is.Before(was) {
		a.cfg.Log.Warn("by the word of whoever enrolls it the device believes older keys than before",
			"device", a.cfg.Device.String(), "were", was.Issued.UTC().Format(time.RFC3339), "are", is.Issued.UTC().Format(time.RFC3339))
	}
}

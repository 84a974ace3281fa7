package broker

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// MaxIssuer is the longest URL of an issuer in bytes, chosen arbitrarily.
const MaxIssuer = 2048

// A Pool is a directory of devices with an issuer of its own.
type Pool struct {
	Name   ident.Pool
	Issuer string // URL; never depends on the replica and never changes
	Flow   string // default flow's name
	// MQTTPasswordLife is how long an MQTT password may be used to connect; 0: the pool
	// gives none and takes none.
	MQTTPasswordLife time.Duration
	Created          time.Time
	Rev              uint64 // the store's: another number at each write
	// Anchor is the key that vouches for all others of the pool: the COSE_Key of
	// its public half, and its private half sealed.
	Anchor       []byte
	AnchorSealed []byte
	// AnswerSealed is the X25519 key that secret answers are sealed to, sealed.
	AnswerSealed []byte
}

// Bounds on a pool's MQTT passwords. They are bearer secrets: whoever sees one can use it
// as long as it lives.
const (
	DefaultMQTTPasswordLife = 10 * time.Minute
	MinMQTTPasswordLife     = time.Minute
	MaxMQTTPasswordLife     = 24 * time.Hour
)

// Validate checks what a store needs to hold of p: that it has a name, an issuer, a
// default flow of a name that a flow may have, if it has one, and MQTT passwords that
// live within bounds, if it has them.
func (p *Pool) Validate() error {
	switch l := p.MQTTPasswordLife; {
	case p.Name.IsZero():
		return fmt.Errorf("%w: a pool has a name", ErrInvalid)
	case p.Issuer == "" || !printable(p.Issuer, MaxIssuer):
		return fmt.Errorf("%w: pool %s: its issuer has 1 to %d printable ASCII characters", ErrInvalid, p.Name, MaxIssuer)
	case l != 0 && (l < MinMQTTPasswordLife || l > MaxMQTTPasswordLife):
		return Invalid("mqttPasswordLife", "MQTT password life %s, want %s to %s, or 0s for no MQTT passwords", Span(l), Span(MinMQTTPasswordLife), Span(MaxMQTTPasswordLife))
	case p.Flow != "":
		return checkLabel("flow", "flow", p.Flow)
	}
	return nil
}

// refs are what the pool needs of its documents.
func (p *Pool) refs() []Ref {
	if p.Flow == "" {
		return nil
	}
	return []Ref{{FlowKind().Name, p.Flow}}
}

// Becomes refuses a change of what never changes: a pool's name, issuer, time and keys.
func (p *Pool) Becomes(next *Pool) error {
	if next.Name != p.Name || next.Issuer != p.Issuer || !next.Created.Equal(p.Created) || !bytes.Equal(next.Anchor, p.Anchor) ||
		!bytes.Equal(next.AnchorSealed, p.AnchorSealed) || !bytes.Equal(next.AnswerSealed, p.AnswerSealed) {
		return fmt.Errorf("%w: a pool's name, issuer and keys never change", ErrInvalid)
	}
	return nil
}

func ownPool(p Pool) Pool {
	p.Anchor, p.AnchorSealed, p.AnswerSealed = bytes.Clone(p.Anchor), bytes.Clone(p.AnchorSealed), bytes.Clone(p.AnswerSealed)
	return p
}

// Pools is the store of pools. They are made and changed together with their documents, by
// Settings.ChangeSettings.
type Pools interface {
	// Pool gives one pool.
	Pool(ctx context.Context, name ident.Pool) (Pool, error)
	// ListPools gives all pools, by name.
	ListPools(ctx context.Context) ([]Pool, error)
	// DeletePool deletes the pool and all that is in it: devices, sessions, documents, keys.
	DeletePool(ctx context.Context, by By, name ident.Pool) error
}

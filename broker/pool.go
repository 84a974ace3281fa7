package broker

import (
	"bytes"
	"context"
	"fmt"
	"slices"
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
	Clones           Clones // "": as ClonesNote
	Created          time.Time
	Rev              uint64 // the store's: another number at each write
	// Anchor is the key that vouches for all others of the pool: the COSE_Key of
	// its public half, and its private half sealed.
	Anchor       []byte
	AnchorSealed []byte
	// AnchorSince is when Anchor became the pool's: it dates the key statement, and so
	// never goes back.
	AnchorSince time.Time
	// Successions are how earlier anchors led to Anchor, oldest first. An anchor that came
	// without the word of the one before it begins anew, with none.
	Successions []Succession
	// AnswerSealed is the X25519 key that secret answers are sealed to, sealed.
	AnswerSealed []byte
}

// A Succession is the word of an earlier anchor that the next one took its place.
type Succession struct {
	From   []byte    // COSE_Key of the earlier anchor
	Signed []byte    // its word, protocol.Succession's
	At     time.Time // when it was replaced
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
	case p.Clones != "" && !slices.Contains(AllClones(), p.Clones):
		return Invalid("clones", "clones %q: want note or quarantine", p.Clones)
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

// Becomes refuses a change of what never changes: a pool's name, issuer, time and answer
// key; of its anchor, what is not a whole new one.
func (p *Pool) Becomes(next *Pool) error {
	if next.Name != p.Name || next.Issuer != p.Issuer || !next.Created.Equal(p.Created) || !bytes.Equal(next.AnswerSealed, p.AnswerSealed) {
		return fmt.Errorf("%w: a pool's name, issuer and answer key never change", ErrInvalid)
	}
	last := len(next.Successions) - 1
	switch {
	case bytes.Equal(next.Anchor, p.Anchor):
		if !bytes.Equal(next.AnchorSealed, p.AnchorSealed) || !next.AnchorSince.Equal(p.AnchorSince) || !slices.EqualFunc(next.Successions, p.Successions, Succession.equal) {
			return fmt.Errorf("%w: of a pool's anchor nothing changes unless all of it does", ErrInvalid)
		}
	case len(next.Anchor) == 0 || len(next.AnchorSealed) == 0:
		return fmt.Errorf("%w: a half of the pool's new anchor is missing", ErrInvalid)
	case next.AnchorSince.Before(p.AnchorSince):
		return fmt.Errorf("%w: a pool's new anchor is no older than the one before", ErrInvalid)
	case last >= 0 && !bytes.Equal(next.Successions[last].From, p.Anchor):
		return fmt.Errorf("%w: a pool's new anchor succeeds the one before, or none", ErrInvalid)
	}
	return nil
}

func (s Succession) equal(o Succession) bool {
	return bytes.Equal(s.From, o.From) && bytes.Equal(s.Signed, o.Signed) && s.At.Equal(o.At)
}

// Pools is the store of pools. They are made and changed together with their documents, by
// Settings.ChangeSettings.
type Pools interface {
	// Pool gives one pool, which is not to be changed: others share it.
	Pool(ctx context.Context, name ident.Pool) (*Pool, error)
	// ListPools gives all pools, by name.
	ListPools(ctx context.Context) ([]Pool, error)
	// DeletePool deletes the pool and all that is in it: devices, sessions, documents, keys.
	DeletePool(ctx context.Context, by By, name ident.Pool) error
}

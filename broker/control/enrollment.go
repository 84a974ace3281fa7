package control

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// EnrollTokens are the use cases of enrollment tokens. Only CreateEnrollToken makes new ones,
// because it makes their secret.
func (p *Plane) EnrollTokens() Settings[broker.EnrollToken] {
	s := Of(p, broker.EnrollTokenKind())
	s.admit = func(old, t *broker.EnrollToken, now time.Time) error {
		if old == nil && t.Key == nil {
			return broker.Invalid("id", "enrollment token %q: there is none of that id, and a new one cannot be set: its secret is made once, by signet enrollment create", t.ID)
		}
		if old != nil && t.Uses < t.Used {
			return conflict("enrollment token %q: it was used %d times already; delete it to end it", t.ID, t.Used)
		}
		if old != nil && old.Expires.Equal(t.Expires) {
			return nil
		}
		return t.CheckEnd(now)
	}
	return s
}

// A NewEnrollToken is what an operator asks of an enrollment token.
type NewEnrollToken struct {
	Pool       ident.Pool
	Uses       int           // 0: one
	Life       time.Duration // 0: broker.DefaultEnrollLife
	Groups     []string
	Attributes map[string]string
	Replace    bool // may replace the key of a device that has one: then Name or NamePattern is set
	// Name, NamePattern and Networks are the EnrollToken's.
	Name        ident.Name
	NamePattern string
	Networks    []netip.Prefix
	Approve     bool // devices come in pending
}

// CreateEnrollToken makes an enrollment token and gives its text, which is shown
// once and stored nowhere.
func (p *Plane) CreateEnrollToken(ctx context.Context, by broker.By, n NewEnrollToken) (broker.EnrollToken, string, error) {
	if n.Uses == 0 {
		n.Uses = 1
	}
	if n.Life == 0 {
		n.Life = broker.DefaultEnrollLife
	}
	if err := broker.CheckEnrollLife(n.Life); err != nil {
		return broker.EnrollToken{}, "", err
	}
	pool, err := p.Pool(ctx, n.Pool)
	if err != nil {
		return broker.EnrollToken{}, "", err
	}
	secret, err := p.newEnrollSecret(pool)
	if err != nil {
		return broker.EnrollToken{}, "", fmt.Errorf("make enrollment token: %w", err)
	}
	private, err := secret.Key()
	if err != nil {
		return broker.EnrollToken{}, "", err
	}
	t := broker.EnrollToken{
		Pool: n.Pool, ID: hex.EncodeToString(secret.ID()), Key: []byte(private.Public().(ed25519.PublicKey)),
		Uses: n.Uses, Expires: p.Now().Add(n.Life).UTC(), Groups: n.Groups, Attributes: n.Attributes,
		Replace: n.Replace, Name: n.Name, NamePattern: n.NamePattern, Networks: n.Networks, Approve: n.Approve,
	}
	if t, _, err = p.EnrollTokens().Create(ctx, by, t); err != nil {
		return broker.EnrollToken{}, "", err
	}
	return t, secret.Reveal(), nil
}

// UpdateEnrollToken sets how many uses an enrollment token has in all, and how long it is
// valid, counted from now; what is zero stays as it is. The token's text does not change.
func (p *Plane) UpdateEnrollToken(ctx context.Context, by broker.By, pool ident.Pool, id string, m *Match, uses int, life time.Duration) (broker.EnrollToken, error) {
	if life != 0 {
		if err := broker.CheckEnrollLife(life); err != nil {
			return broker.EnrollToken{}, err
		}
	}
	end := p.Now().Add(life).UTC()
	return p.EnrollTokens().Change(ctx, by, pool, id, m, func(t *broker.EnrollToken) error {
		if uses != 0 {
			t.Uses = uses
		}
		if life != 0 {
			t.Expires = end
		}
		return nil
	})
}

func (p *Plane) newEnrollSecret(pool broker.Pool) (protocol.EnrollToken, error) {
	anchor, err := Anchor(pool)
	if err != nil {
		return protocol.EnrollToken{}, err
	}
	random, err := p.random(28)
	if err != nil {
		return protocol.EnrollToken{}, err
	}
	thumb := anchor.Thumbprint()
	return protocol.NewEnrollToken(random, thumb[:])
}

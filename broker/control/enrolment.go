package control

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// EnrolTokens are the use cases of enrolment tokens. Only CreateEnrolToken makes new ones,
// because it makes their secret.
func (p *Plane) EnrolTokens() Settings[broker.EnrolToken] {
	s := Of(p, broker.EnrolTokenKind())
	s.admit = func(old, t *broker.EnrolToken, now time.Time) error {
		if old == nil && t.Key == nil {
			return broker.Invalid("id", "enrolment token %q: there is none of that id, and a new one cannot be set: its secret is made once, by signet enrollment create", t.ID)
		}
		if old != nil && t.Uses < t.Used {
			return conflict("enrolment token %q: it was used %d times already; delete it to end it", t.ID, t.Used)
		}
		if old != nil && old.Expires.Equal(t.Expires) {
			return nil
		}
		return t.CheckEnd(now)
	}
	return s
}

// A NewEnrolToken is what an operator asks of an enrolment token.
type NewEnrolToken struct {
	Pool       ident.Pool
	Uses       int           // 0: one
	Life       time.Duration // 0: broker.DefaultEnrolLife
	Groups     []string
	Attributes map[string]string
	Replace    bool // may replace the key of a device that has one
	Approve    bool // devices come in pending
}

// CreateEnrolToken makes an enrolment token and gives its text, which is shown
// once and stored nowhere.
func (p *Plane) CreateEnrolToken(ctx context.Context, by broker.By, n NewEnrolToken) (broker.EnrolToken, string, error) {
	if n.Uses == 0 {
		n.Uses = 1
	}
	if n.Life == 0 {
		n.Life = broker.DefaultEnrolLife
	}
	if err := broker.CheckEnrolLife(n.Life); err != nil {
		return broker.EnrolToken{}, "", err
	}
	pool, err := p.Pool(ctx, n.Pool)
	if err != nil {
		return broker.EnrolToken{}, "", err
	}
	secret, err := p.newEnrolSecret(pool)
	if err != nil {
		return broker.EnrolToken{}, "", fmt.Errorf("make enrolment token: %w", err)
	}
	private, err := secret.Key()
	if err != nil {
		return broker.EnrolToken{}, "", err
	}
	t := broker.EnrolToken{
		Pool: n.Pool, ID: hex.EncodeToString(secret.ID()), Key: []byte(private.Public().(ed25519.PublicKey)),
		Uses: n.Uses, Expires: p.Now().Add(n.Life).UTC(), Groups: n.Groups, Attributes: n.Attributes,
		Replace: n.Replace, Approve: n.Approve,
	}
	if t, _, err = p.EnrolTokens().Create(ctx, by, t); err != nil {
		return broker.EnrolToken{}, "", err
	}
	return t, secret.Reveal(), nil
}

// UpdateEnrolToken sets how many uses an enrolment token has in all, and how long it is
// valid, counted from now; what is zero stays as it is. The token's text does not change.
func (p *Plane) UpdateEnrolToken(ctx context.Context, by broker.By, pool ident.Pool, id string, m *Match, uses int, life time.Duration) (broker.EnrolToken, error) {
	if life != 0 {
		if err := broker.CheckEnrolLife(life); err != nil {
			return broker.EnrolToken{}, err
		}
	}
	end := p.Now().Add(life).UTC()
	return p.EnrolTokens().Change(ctx, by, pool, id, m, func(t *broker.EnrolToken) error {
		if uses != 0 {
			t.Uses = uses
		}
		if life != 0 {
			t.Expires = end
		}
		return nil
	})
}

func (p *Plane) newEnrolSecret(pool broker.Pool) (protocol.EnrolToken, error) {
	anchor, err := Anchor(pool)
	if err != nil {
		return protocol.EnrolToken{}, err
	}
	random, err := p.random(28)
	if err != nil {
		return protocol.EnrolToken{}, err
	}
	thumb := anchor.Thumbprint()
	return protocol.NewEnrolToken(random, thumb[:])
}

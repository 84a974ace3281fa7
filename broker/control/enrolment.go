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

// Defaults and bounds of enrolment tokens.
const (
	DefaultEnrolLife = 24 * time.Hour
	MinEnrolLife     = time.Minute
	MaxEnrolLife     = 365 * 24 * time.Hour
	MaxEnrolUses     = 1_000_000
)

// A NewEnrolToken is what an operator asks of an enrolment token.
type NewEnrolToken struct {
	Pool       ident.Pool
	Uses       int           // 0: one
	Life       time.Duration // 0: DefaultEnrolLife
	Groups     []string
	Attributes map[string]string
	Replace    bool // may replace the key of a device that has one
	Approve    bool // devices come in pending
}

// CreateEnrolToken makes an enrolment token and gives its text, which is shown
// once and stored nowhere.
func (d *Plane) CreateEnrolToken(ctx context.Context, by broker.By, n NewEnrolToken) (broker.EnrolToken, string, error) {
	if n.Uses == 0 {
		n.Uses = 1
	}
	if n.Life == 0 {
		n.Life = DefaultEnrolLife
	}
	if err := n.check(); err != nil {
		return broker.EnrolToken{}, "", err
	}
	pool, err := d.Pool(ctx, n.Pool)
	if err != nil {
		return broker.EnrolToken{}, "", err
	}
	secret, err := d.newEnrolSecret(pool)
	if err != nil {
		return broker.EnrolToken{}, "", fmt.Errorf("make enrolment token: %w", err)
	}
	private, err := secret.Key()
	if err != nil {
		return broker.EnrolToken{}, "", err
	}
	now := d.Now()
	t := broker.EnrolToken{
		Pool: n.Pool, ID: hex.EncodeToString(secret.ID()), Key: []byte(private.Public().(ed25519.PublicKey)),
		Uses: n.Uses, Expires: now.Add(n.Life), Groups: n.Groups, Attributes: n.Attributes,
		Replace: n.Replace, Approve: n.Approve, Created: now,
	}
	if err := d.Store.CreateEnrolToken(ctx, by, t); err != nil {
		return broker.EnrolToken{}, "", fmt.Errorf("create enrolment token: %w", err)
	}
	return t, secret.Reveal(), nil
}

func (n *NewEnrolToken) check() error {
	if n.Uses < 1 || n.Uses > MaxEnrolUses {
		return invalid("an enrolment token has 1 to %d uses, not %d", MaxEnrolUses, n.Uses)
	}
	if err := checkEnrolLife(n.Life); err != nil {
		return err
	}
	return CheckLabels(n.Groups, n.Attributes)
}

func checkEnrolLife(life time.Duration) error {
	if life < MinEnrolLife || life > MaxEnrolLife {
		return invalid("an enrolment token lives %s to %s, not %s",
			broker.Span(MinEnrolLife), broker.Span(MaxEnrolLife), broker.Span(life))
	}
	return nil
}

// UpdateEnrolToken gives an enrolment token another number of uses in all, or
// another end, life from now; zero leaves as it is. Its text stays what it was.
func (d *Plane) UpdateEnrolToken(ctx context.Context, by broker.By, pool ident.Pool, id string, uses int, life time.Duration) (broker.EnrolToken, error) {
	if uses < 0 || uses > MaxEnrolUses {
		return broker.EnrolToken{}, invalid("an enrolment token has 1 to %d uses, not %d", MaxEnrolUses, uses)
	}
	if life != 0 {
		if err := checkEnrolLife(life); err != nil {
			return broker.EnrolToken{}, err
		}
	}
	t, err := d.Store.UpdateEnrolToken(ctx, by, pool, id, func(t *broker.EnrolToken) error {
		if uses != 0 && uses < t.Used {
			return conflict("it was used %d times already; delete it to end it", t.Used)
		}
		if uses != 0 {
			t.Uses = uses
		}
		if life != 0 {
			t.Expires = d.Now().Add(life)
		}
		return nil
	})
	return t, about(err, "enrolment token %q", id)
}

func (d *Plane) newEnrolSecret(pool broker.Pool) (protocol.EnrolToken, error) {
	anchor, err := Anchor(pool)
	if err != nil {
		return protocol.EnrolToken{}, err
	}
	random, err := d.random(28)
	if err != nil {
		return protocol.EnrolToken{}, err
	}
	thumb := anchor.Thumbprint()
	return protocol.NewEnrolToken(random, thumb[:])
}

// EnrolToken finds an enrolment token by its public id.
func (d *Plane) EnrolToken(ctx context.Context, pool ident.Pool, id string) (broker.EnrolToken, error) {
	t, err := d.Store.EnrolToken(ctx, pool, id)
	if err != nil {
		return t, about(err, "enrolment token %q", id)
	}
	return t, nil
}

// ListEnrolTokens gives a pool's enrolment tokens.
func (d *Plane) ListEnrolTokens(ctx context.Context, pool ident.Pool) ([]broker.EnrolToken, error) {
	if _, err := d.Pool(ctx, pool); err != nil {
		return nil, err
	}
	return d.Store.ListEnrolTokens(ctx, pool)
}

// DeleteEnrolToken ends an enrolment token. Devices it admitted stay.
func (d *Plane) DeleteEnrolToken(ctx context.Context, by broker.By, pool ident.Pool, id string) error {
	if err := d.Store.DeleteEnrolToken(ctx, by, pool, id); err != nil {
		return about(err, "delete enrolment token %q", id)
	}
	return nil
}

package control

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// Anchor gives a pool's anchor key.
func Anchor(p broker.Pool) (*token.Key, error) {
	k, err := token.ParseCOSEKey(p.Anchor)
	if err != nil {
		return nil, fmt.Errorf("pool %s: stored anchor: %w", p.Name, err)
	}
	return k, nil
}

// A newAnchor is an anchor that no pool has yet.
type newAnchor struct {
	public *token.Key
	sealed []byte // PKCS #8, for broker.AnchorPurpose
}

func (p *Plane) newAnchor(pool ident.Pool) (newAnchor, error) {
	seed, err := p.random(ed25519.SeedSize)
	if err != nil {
		return newAnchor{}, err
	}
	private := ed25519.NewKeyFromSeed(seed)
	public, err := token.NewKey(private.Public())
	if err != nil {
		return newAnchor{}, fmt.Errorf("anchor: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return newAnchor{}, fmt.Errorf("anchor: %w", err)
	}
	sealed, err := p.Sealer.Seal(broker.AnchorPurpose(pool), der)
	if err != nil {
		return newAnchor{}, fmt.Errorf("seal anchor: %w", err)
	}
	return newAnchor{public, sealed}, nil
}

// RotateAnchor gives a pool another anchor, by the word of the one that it has: devices and
// enrollment tokens that know that one, or one before it, follow. A pool keeps
// protocol.MaxSuccessions such words; with one more the oldest goes, and whoever stood
// there cannot follow any more.
func (p *Plane) RotateAnchor(ctx context.Context, by broker.By, name ident.Pool, m *Match) (broker.Pool, error) {
	return p.changeAnchor(ctx, by, name, m, func(_ broker.SettingsTx, pool *broker.Pool, next newAnchor, at time.Time) error {
		old, err := keyring.OpenSigner(p.Sealer, broker.AnchorPurpose(name), pool.AnchorSealed)
		if err != nil {
			return fmt.Errorf("the anchor of %s: %w", name, err)
		}
		s, err := protocol.Succeed(old, next.public, at)
		if err != nil {
			return err
		}
		all := append(pool.Successions, broker.Succession{From: s.From, Signed: s.Signed, At: at})
		pool.Successions = all[max(0, len(all)-protocol.MaxSuccessions):]
		return nil
	})
}

// RevokeAnchor gives a pool another anchor without the word of any before it, because one
// was stolen and its word is worth nothing: no device believes the pool until it is
// enrolled again. It ends all enrollment tokens of the pool, which pin anchors that nothing
// leads on from. A pool that has any, or devices, takes force.
func (p *Plane) RevokeAnchor(ctx context.Context, by broker.By, name ident.Pool, m *Match, force bool) (broker.Pool, error) {
	if !force {
		breaks, err := p.anchorInUse(ctx, name)
		if err == nil {
			err = unlessForced(force, breaks)
		}
		if err != nil {
			return broker.Pool{}, about(err, "pool %s", name)
		}
	}
	return p.changeAnchor(ctx, by, name, m, func(tx broker.SettingsTx, pool *broker.Pool, _ newAnchor, _ time.Time) error {
		pool.Successions = nil
		kind := broker.EnrollTokenKind().Name
		for {
			some, err := tx.ListSettings(name, kind, "", broker.MaxList)
			if err != nil || len(some) == 0 {
				return err
			}
			for _, t := range some {
				if err := tx.DeleteSetting(name, kind, t.Name); err != nil {
					return err
				}
			}
		}
	})
}

// changeAnchor makes a new anchor and writes it, with what lead does to the rest.
func (p *Plane) changeAnchor(ctx context.Context, by broker.By, name ident.Pool, m *Match, lead func(broker.SettingsTx, *broker.Pool, newAnchor, time.Time) error) (pool broker.Pool, err error) {
	what := "pool " + name.String()
	next, err := p.newAnchor(name)
	if err != nil {
		return pool, about(err, "%s", what)
	}
	err = p.edit(ctx, by, what, name, func(tx broker.SettingsTx, at time.Time) error {
		if pool, err = tx.Pool(name); err != nil {
			return err
		}
		if err := m.check(what, pool.Rev); err != nil {
			return err
		}
		at = keyring.Later(at, pool.AnchorSince)
		if err := lead(tx, &pool, next, at); err != nil {
			return err
		}
		pool.Anchor, pool.AnchorSealed, pool.AnchorSince = next.public.MarshalCOSE(), next.sealed, at
		pool.Rev, err = tx.UpdatePool(pool)
		return err
	})
	return pool, err
}

package control

import (
	"context"
	"crypto/ecdh"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A NewPool is a pool that is made but not yet written, with all that it needs: anchor,
// answer key, first signing key, a default client, and a default flow with the step "key".
type NewPool struct {
	pool broker.Pool
	key  broker.SigningKey
}

// MakePool makes the keys of a new pool.
func (p *Plane) MakePool(name ident.Pool) (NewPool, error) {
	if name.IsZero() {
		return NewPool{}, invalid("a pool needs a name")
	}
	pool, err := p.newPool(name)
	if err != nil {
		return NewPool{}, about(err, "create pool %s", name)
	}
	key, err := p.newSigningKey(name, token.ES256, nil)
	if err != nil {
		return NewPool{}, about(err, "create pool %s", name)
	}
	key.State = broker.KeyActive
	return NewPool{pool, key}, nil
}

// Create writes the pool in the transaction tx: broker.ErrExists if there is one of that name.
func (n NewPool) Create(tx broker.SettingsTx, now time.Time) error {
	name := n.pool.Name
	if err := tx.CreatePool(n.pool, []broker.SigningKey{n.key}); err != nil {
		return err
	}
	client := broker.NewClient(name, broker.DefaultClient)
	flow := broker.Flow{Pool: name, Name: broker.DefaultFlow, Steps: []string{challenge.Key}}
	if _, err := broker.ClientKind().Put(tx, &client, now); err != nil {
		return err
	}
	_, err := broker.FlowKind().Put(tx, &flow, now)
	return err
}

// CreatePool makes a pool and writes it.
func (p *Plane) CreatePool(ctx context.Context, by broker.By, name ident.Pool) (broker.Pool, error) {
	made, err := p.MakePool(name)
	if err != nil {
		return broker.Pool{}, err
	}
	var out broker.Pool
	err = p.Edit(ctx, by, func(tx broker.SettingsTx, now time.Time) error {
		if err := made.Create(tx, now); err != nil {
			return err
		}
		out, err = tx.Pool(name)
		return err
	})
	if err != nil {
		return broker.Pool{}, about(err, "create pool %s", name)
	}
	return out, nil
}

// newPool makes the pool's own two keys.
func (p *Plane) newPool(name ident.Pool) (broker.Pool, error) {
	now := p.Now()
	pool := broker.Pool{Name: name, Issuer: p.Issuer + "/pools/" + name.String(), Flow: broker.DefaultFlow, MQTTPasswordLife: broker.DefaultMQTTPasswordLife, Clones: broker.ClonesNote, Created: now, AnchorSince: now}
	anchor, err := p.newAnchor(name)
	if err != nil {
		return pool, err
	}
	pool.Anchor, pool.AnchorSealed = anchor.public.MarshalCOSE(), anchor.sealed
	raw, err := p.random(32)
	if err != nil {
		return pool, err
	}
	answer, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		return pool, fmt.Errorf("answer key: %w", err)
	}
	if pool.AnswerSealed, err = p.Sealer.Seal(broker.AnswerPurpose(name), answer.Bytes()); err != nil {
		return pool, fmt.Errorf("seal answer key: %w", err)
	}
	return pool, nil
}

// Pool finds a pool. What it points to is not to be changed.
func (p *Plane) Pool(ctx context.Context, name ident.Pool) (broker.Pool, error) {
	pool, err := p.Store.Pool(ctx, name)
	if err != nil {
		return broker.Pool{}, about(err, "pool %s", name)
	}
	return *pool, nil
}

// ListPools gives all pools, by name.
func (p *Plane) ListPools(ctx context.Context) ([]broker.Pool, error) {
	return p.Store.ListPools(ctx)
}

// A PoolChange is what becomes of a pool; nil leaves it as it is.
type PoolChange struct {
	Flow             *string        // of all clients that name none; it must exist
	MQTTPasswordLife *time.Duration // as in broker.Pool
	Clones           *broker.Clones
}

// Apply makes the change, and reports whether it is one.
func (c *PoolChange) Apply(pool *broker.Pool) (changed bool) {
	if c.Flow != nil && *c.Flow != pool.Flow {
		pool.Flow, changed = *c.Flow, true
	}
	if c.MQTTPasswordLife != nil && *c.MQTTPasswordLife != pool.MQTTPasswordLife {
		pool.MQTTPasswordLife, changed = *c.MQTTPasswordLife, true
	}
	if c.Clones != nil && *c.Clones != pool.Clones {
		pool.Clones, changed = *c.Clones, true
	}
	return changed
}

// ChangePool changes a pool's settings.
func (p *Plane) ChangePool(ctx context.Context, by broker.By, name ident.Pool, change PoolChange, m *Match) (pool broker.Pool, err error) {
	what := "pool " + name.String()
	err = p.edit(ctx, by, what, name, func(tx broker.SettingsTx, _ time.Time) error {
		if pool, err = tx.Pool(name); err != nil {
			return err
		}
		if err := m.check(what, pool.Rev); err != nil || !change.Apply(&pool) {
			return err
		}
		pool.Rev, err = tx.UpdatePool(pool)
		return err
	})
	return pool, err
}

// DeletePool deletes a pool and all that is in it; with force also one that has devices or
// enrollment tokens.
func (p *Plane) DeletePool(ctx context.Context, by broker.By, name ident.Pool, force bool) error {
	if !force {
		breaks, err := p.poolInUse(ctx, name)
		if err == nil {
			err = unlessForced(force, breaks)
		}
		if err != nil {
			return about(err, "delete pool %s", name)
		}
	}
	return about(p.Store.DeletePool(ctx, by, name), "delete pool %s", name)
}

package control

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// defaultFlow is the flow that a new pool has: one proof with the enrolled key.
const defaultFlow = "default"

// CreatePool makes a pool with all it needs to work: anchor, answer key, first
// signing key, a default client and a default flow of one step, key.
func (d *Plane) CreatePool(ctx context.Context, by broker.By, name ident.Pool) (broker.Pool, error) {
	if name.IsZero() {
		return broker.Pool{}, invalid("a pool needs a name")
	}
	pool, err := d.newPool(name)
	if err != nil {
		return broker.Pool{}, about(err, "create pool %s", name)
	}
	key, err := d.newSigningKey(name, token.ES256, nil)
	if err != nil {
		return broker.Pool{}, about(err, "create pool %s", name)
	}
	key.State = broker.KeyActive
	client := NewClient(name, broker.DefaultClient)
	client.Created = pool.Created
	flow := broker.Flow{Pool: name, Name: defaultFlow, Steps: []string{broker.KindKey}, Created: pool.Created}
	err = d.Store.CreatePool(ctx, by, pool, []broker.SigningKey{key}, []broker.Client{client}, []broker.Flow{flow})
	if err != nil {
		return broker.Pool{}, about(err, "create pool %s", name)
	}
	return pool, nil
}

// newPool makes the pool's own two keys.
func (d *Plane) newPool(name ident.Pool) (broker.Pool, error) {
	pool := broker.Pool{Name: name, Issuer: d.Issuer + "/pools/" + name.String(), Flow: defaultFlow, Created: d.Now()}
	seed, err := d.random(ed25519.SeedSize)
	if err != nil {
		return pool, err
	}
	private := ed25519.NewKeyFromSeed(seed)
	anchor, err := token.NewKey(private.Public())
	if err != nil {
		return pool, fmt.Errorf("anchor: %w", err)
	}
	pool.Anchor = anchor.MarshalCOSE()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return pool, fmt.Errorf("anchor: %w", err)
	}
	if pool.AnchorSealed, err = d.Sealer.Seal(broker.AnchorPurpose(name), der); err != nil {
		return pool, fmt.Errorf("seal anchor: %w", err)
	}
	raw, err := d.random(32)
	if err != nil {
		return pool, err
	}
	answer, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		return pool, fmt.Errorf("answer key: %w", err)
	}
	if pool.AnswerSealed, err = d.Sealer.Seal(broker.AnswerPurpose(name), answer.Bytes()); err != nil {
		return pool, fmt.Errorf("seal answer key: %w", err)
	}
	return pool, nil
}

// Pool finds a pool.
func (d *Plane) Pool(ctx context.Context, name ident.Pool) (broker.Pool, error) {
	p, err := d.Store.Pool(ctx, name)
	if err != nil {
		return p, about(err, "pool %s", name)
	}
	return p, nil
}

// ListPools gives all pools, by name.
func (d *Plane) ListPools(ctx context.Context) ([]broker.Pool, error) {
	return d.Store.ListPools(ctx)
}

// SetPoolFlow makes a flow, which must exist, the one of all clients that name none.
func (d *Plane) SetPoolFlow(ctx context.Context, by broker.By, name ident.Pool, flow string) (broker.Pool, error) {
	if _, err := d.Store.Flow(ctx, name, flow); err != nil {
		if _, err := d.Pool(ctx, name); err != nil {
			return broker.Pool{}, err
		}
		return broker.Pool{}, missing(err, "pool %s: flow %q does not exist; create it first", name, flow)
	}
	p, err := d.Store.UpdatePool(ctx, by, name, func(p *broker.Pool) error {
		p.Flow = flow
		return nil
	})
	return p, about(err, "update pool %s", name)
}

// DeletePool deletes a pool and all that is in it, then reports each of its devices.
func (d *Plane) DeletePool(ctx context.Context, by broker.By, name ident.Pool) error {
	var gone []ident.Device
	for after := ""; ; {
		page, err := d.Store.ListDevices(ctx, name, after, maxPage)
		if err != nil {
			return about(err, "delete pool %s", name)
		}
		for _, dev := range page {
			gone = append(gone, dev.ID)
		}
		if len(page) < maxPage {
			break
		}
		after = page[len(page)-1].ID.Name.String()
	}
	if err := d.Store.DeletePool(ctx, by, name); err != nil {
		return about(err, "delete pool %s", name)
	}
	d.KeysChanged(name)
	for _, id := range gone {
		d.Notifier.DeviceChanged(ctx, id, broker.StatusDisabled)
	}
	return nil
}

// maxPage is the largest page that a store gives.
const maxPage = 1000

// Anchor gives a pool's anchor key.
func Anchor(p broker.Pool) (*token.Key, error) {
	k, err := token.ParseCOSEKey(p.Anchor)
	if err != nil {
		return nil, fmt.Errorf("pool %s: stored anchor: %w", p.Name, err)
	}
	return k, nil
}

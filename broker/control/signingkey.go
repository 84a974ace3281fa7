package control

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// ListKeys gives a pool's signing keys by id: next, active and verifying.
func (p *Plane) ListKeys(ctx context.Context, pool ident.Pool) ([]broker.SigningKey, error) {
	if _, err := p.Pool(ctx, pool); err != nil {
		return nil, err
	}
	keys, err := p.Store.ListSigningKeys(ctx, pool)
	slices.SortFunc(keys, func(a, b broker.SigningKey) int { return strings.Compare(a.ID, b.ID) })
	return keys, err
}

// RotateKey begins a rotation, one at a time: a new key of the given algorithm is announced
// in the pool's key set, so that verifiers know it before it signs. With activate it signs
// at once, and verifiers that cached the key set must ask again. In both cases tokens
// of the old key verify until that is retired.
func (p *Plane) RotateKey(ctx context.Context, by broker.By, pool ident.Pool, alg token.Alg, activate bool) (broker.SigningKey, error) {
	if _, err := p.Pool(ctx, pool); err != nil {
		return broker.SigningKey{}, err
	}
	others, err := p.Store.ListSigningKeys(ctx, pool)
	if err != nil {
		return broker.SigningKey{}, err
	}
	made, err := p.newSigningKey(pool, alg, others)
	if err != nil {
		return broker.SigningKey{}, about(err, "rotate key of %s", pool)
	}
	err = p.Store.ChangeSigningKeys(ctx, by, pool, func(keys []broker.SigningKey) ([]broker.SigningKey, error) {
		if len(keys) >= broker.MaxSigningKeys {
			return nil, conflict("pool %s has %d keys; retire old ones first", pool, len(keys))
		}
		for _, k := range keys {
			if k.State == broker.KeyNext {
				return nil, conflict("key %s is next already; activate or retire it first", k.ID)
			}
		}
		made.Changed = p.afterChanges(keys)
		keys = append(keys, made)
		if activate {
			return p.activate(keys, made.ID)
		}
		return keys, nil
	})
	if err != nil {
		return broker.SigningKey{}, about(err, "rotate key of %s", pool)
	}
	if activate {
		made.State = broker.KeyActive
	}
	return made, nil
}

// ActivateKey makes the next key sign. The key that signed until now goes on verifying,
// until RetireKey.
func (p *Plane) ActivateKey(ctx context.Context, by broker.By, pool ident.Pool, id string) (broker.SigningKey, error) {
	return p.changeKey(ctx, by, "activate", pool, id, func(keys []broker.SigningKey) ([]broker.SigningKey, error) {
		return p.activate(keys, id)
	})
}

// activate is ActivateKey's change of the pool's keys.
func (p *Plane) activate(keys []broker.SigningKey, id string) ([]broker.SigningKey, error) {
	now := p.afterChanges(keys)
	for i := range keys {
		k := &keys[i]
		switch {
		case k.ID == id && k.State != broker.KeyNext:
			return nil, conflict("key %s is %s; only one that is next can be activated", id, k.State)
		case k.ID == id:
			k.State, k.Changed = broker.KeyActive, now
		case k.State == broker.KeyActive:
			k.State, k.Changed = broker.KeyVerifying, now
		}
	}
	return keys, nil
}

// RetireKey takes a key out of the pool's key set, so that no token signed by it verifies any
// more, and gives it as broker.KeyGone. A key that has signed can be retired only when the
// last of its tokens must have expired (broker.SigningKey.Retirable). force retires it at
// once, for a key that was stolen. The key that signs cannot be retired.
func (p *Plane) RetireKey(ctx context.Context, by broker.By, pool ident.Pool, id string, force bool) (broker.SigningKey, error) {
	gone, err := p.changeKey(ctx, by, "retire", pool, id, func(keys []broker.SigningKey) ([]broker.SigningKey, error) {
		i := slices.IndexFunc(keys, func(k broker.SigningKey) bool { return k.ID == id })
		k := keys[i]
		if k.State == broker.KeyActive {
			return nil, conflict("key %s signs; rotate and activate another first", id)
		}
		if safe := k.Retirable(); p.Now().Before(safe) {
			if err := unlessForced(force, fmt.Sprintf("key %s is verifying: its tokens are valid until %s", id, safe.UTC().Format(time.RFC3339))); err != nil {
				return nil, err
			}
		}
		now := p.afterChanges(keys)
		keys = slices.Delete(keys, i, i+1)
		for i := range keys {
			if keys[i].State == broker.KeyActive {
				keys[i].Changed = now
			}
		}
		return keys, nil
	})
	if err != nil {
		return broker.SigningKey{}, err
	}
	gone.State = broker.KeyGone
	return gone, nil
}

// afterChanges gives the time of a change that comes after those of the keys.
func (p *Plane) afterChanges(keys []broker.SigningKey) time.Time {
	at := p.Now()
	for _, k := range keys {
		at = keyring.Later(at, k.Changed)
	}
	return at
}

// changeKey applies f to the pool's keys, among which id must be, and gives that key as it
// is afterwards or, if f removed it, as it was.
func (p *Plane) changeKey(ctx context.Context, by broker.By, what string, pool ident.Pool, id string, f func([]broker.SigningKey) ([]broker.SigningKey, error)) (broker.SigningKey, error) {
	var found broker.SigningKey
	err := p.Store.ChangeSigningKeys(ctx, by, pool, func(keys []broker.SigningKey) ([]broker.SigningKey, error) {
		pick := func() bool {
			for _, k := range keys {
				if k.ID == id {
					found = k
					return true
				}
			}
			return false
		}
		if !pick() {
			return nil, broker.ErrNotFound
		}
		var err error
		if keys, err = f(keys); err != nil {
			return nil, err
		}
		pick()
		return keys, nil
	})
	if err != nil {
		return broker.SigningKey{}, about(err, "%s key %q of %s", what, id, pool)
	}
	return found, nil
}

// newSigningKey makes a key that is next. Its short id in COSE differs from those of others.
// Its id does not begin with "-", which one in 64 thumbprints in base64url does: it would
// read as a flag where operators type it (signet key activate ID).
func (p *Plane) newSigningKey(pool ident.Pool, alg token.Alg, others []broker.SigningKey) (broker.SigningKey, error) {
	taken, err := publicKeys(others)
	if err != nil {
		return broker.SigningKey{}, err
	}
	for range 8 {
		private, err := p.newPrivate(alg)
		if err != nil {
			return broker.SigningKey{}, err
		}
		key, err := token.NewKey(private.Public())
		if err != nil {
			return broker.SigningKey{}, fmt.Errorf("new signing key: %w", err)
		}
		if strings.HasPrefix(key.KID(), "-") || slices.ContainsFunc(taken, func(k *token.Key) bool { return bytes.Equal(k.COSEKID(), key.COSEKID()) }) {
			continue
		}
		return p.sealSigningKey(pool, private, key)
	}
	return broker.SigningKey{}, fmt.Errorf("new signing key: eight in a row have ids that are taken or read as flags")
}

// sealSigningKey makes the key as it is stored, its private half sealed.
func (p *Plane) sealSigningKey(pool ident.Pool, private crypto.Signer, key *token.Key) (broker.SigningKey, error) {
	now := p.Now()
	out := broker.SigningKey{
		Pool: pool, ID: key.KID(), Alg: key.Alg().String(), State: broker.KeyNext, Created: now, Changed: now,
	}
	var err error
	if out.Public, err = x509.MarshalPKIXPublicKey(private.Public()); err != nil {
		return out, fmt.Errorf("new signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return out, fmt.Errorf("new signing key: %w", err)
	}
	if out.Sealed, err = p.Sealer.Seal(broker.SigningKeyPurpose(pool, out.ID), der); err != nil {
		return out, fmt.Errorf("seal signing key: %w", err)
	}
	return out, nil
}

func publicKeys(keys []broker.SigningKey) ([]*token.Key, error) {
	out := make([]*token.Key, 0, len(keys))
	for _, k := range keys {
		pub, err := x509.ParsePKIXPublicKey(k.Public)
		if err != nil {
			return nil, fmt.Errorf("stored signing key %s: %w", k.ID, err)
		}
		key, err := token.NewKey(pub)
		if err != nil {
			return nil, fmt.Errorf("stored signing key %s: %w", k.ID, err)
		}
		out = append(out, key)
	}
	return out, nil
}

// newPrivate makes a private key from d.Random; RSA takes the system's randomness.
func (p *Plane) newPrivate(alg token.Alg) (crypto.Signer, error) {
	switch alg {
	case token.ES256:
		for range 8 { // a random number is above the group's order once in 2^32
			raw, err := p.random(32)
			if err != nil {
				return nil, err
			}
			if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw); err == nil {
				return key, nil
			}
		}
		return nil, fmt.Errorf("random source gives no P-256 key")
	case token.EdDSA:
		seed, err := p.random(ed25519.SeedSize)
		if err != nil {
			return nil, err
		}
		return ed25519.NewKeyFromSeed(seed), nil
	case token.RS256:
		return rsa.GenerateKey(rand.Reader, token.MinRSABits)
	}
	return nil, invalid("unknown algorithm, want ES256, EdDSA or RS256")
}

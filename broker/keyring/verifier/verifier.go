// Package verifier checks access tokens and MQTT passwords that the broker itself gave, by the keys of its
// pools, as a backend does by the published ones. It does not say whether the token's
// session still counts: package access does. It never reads the store.
package verifier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

// Rings gives the opened keys of pools.
type Rings interface {
	Ring(ctx context.Context, pool ident.Pool) (*keyring.Ring, error)
}

// A Verifier checks tokens of every pool. It is safe for concurrent use.
type Verifier struct {
	rings Rings
	now   func() time.Time
}

// New makes a Verifier; now tells what has expired, nil is the real clock.
func New(rings Rings, now func() time.Time) *Verifier {
	if now == nil {
		now = time.Now
	}
	return &Verifier{rings: rings, now: now}
}

// Verify gives the claims of an access token of a pool for the broker itself, in each
// of its forms: JWT, CWT, or a CWT in base64url. There is no leeway at its end: the
// broker's clock is the one that set it. key is the id of the signing key that it verified
// by. Errors are verify's, and the key ring's.
func (v *Verifier) Verify(ctx context.Context, pool ident.Pool, shown []byte) (claims *token.Claims, key string, err error) {
	ring, err := v.rings.Ring(ctx, pool)
	if err != nil {
		return nil, "", err
	}
	return v.verify(ring, pool.String(), func(by *verify.Verifier) (*token.Claims, error) { return by.Verify(ctx, shown) })
}

// ErrNoMQTTPasswords: the pool takes no MQTT passwords.
var ErrNoMQTTPasswords = errors.New("the pool takes no MQTT passwords")

// VerifyMQTTPassword is Verify for an MQTT password. It fails with ErrNoMQTTPasswords if
// the pool has been told to take none, also those that it gave before.
func (v *Verifier) VerifyMQTTPassword(ctx context.Context, pool ident.Pool, shown []byte) (claims *token.Claims, key string, err error) {
	ring, err := v.rings.Ring(ctx, pool)
	if err != nil {
		return nil, "", err
	}
	claims, key, err = v.verify(ring, ring.MQTTAudience(), func(by *verify.Verifier) (*token.Claims, error) { return by.VerifyMQTTPassword(ctx, shown) })
	if err == nil && ring.MQTTPasswordLife == 0 {
		return nil, "", ErrNoMQTTPasswords
	}
	return claims, key, err
}

func (v *Verifier) verify(ring *keyring.Ring, audience string, read func(*verify.Verifier) (*token.Claims, error)) (*token.Claims, string, error) {
	set, err := verify.NewKeySet(ring.Verifiers...)
	if err != nil {
		return nil, "", err
	}
	keys := &asked{KeySet: set}
	by, err := verify.New(verify.Config{
		Issuer: ring.Issuer, Audience: audience, Keys: keys, Now: v.now,
		Algorithms: []token.Alg{token.ES256, token.EdDSA, token.RS256},
	})
	if err != nil {
		return nil, "", err
	}
	claims, err := read(by)
	if err != nil {
		return nil, "", err
	}
	if !v.now().Before(claims.Expires) {
		return nil, "", fmt.Errorf("%w: at %v", verify.ErrExpired, claims.Expires)
	}
	return claims, keys.last.KID(), nil
}

// asked is a key set that remembers which key it gave last.
type asked struct {
	*verify.KeySet
	last *token.Key
}

// Key gives the key of that id.
func (a *asked) Key(ctx context.Context, kid []byte) (*token.Key, error) {
	k, err := a.KeySet.Key(ctx, kid)
	a.last = k
	return k, err
}

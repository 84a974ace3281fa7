package control

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
)

// Operators' tokens: "sgnt_" and 32 random bytes in base64url. Only the SHA-256 of
// the text is stored; that is enough for 256 random bits.
const (
	operatorPrefix   = "sgnt_"
	operatorTokenLen = len(operatorPrefix) + 43
)

// ErrUnauthorized: no operator has this token, or not any more. It does not say which, on
// purpose.
var ErrUnauthorized = errors.New("not an operator's valid token")

// CreateOperator makes an operator and gives its bearer token, which is shown once. A zero
// life becomes broker.DefaultOperatorLife.
func (p *Plane) CreateOperator(ctx context.Context, by broker.By, name string, life time.Duration) (broker.Operator, string, error) {
	if life == 0 {
		life = broker.DefaultOperatorLife
	}
	raw, err := p.random(32)
	if err != nil {
		return broker.Operator{}, "", err
	}
	secret := operatorPrefix + base64.RawURLEncoding.EncodeToString(raw)
	now := p.Now()
	o := broker.Operator{Name: name, Hash: hashToken(secret), Expires: now.Add(life), Created: now}
	if err := o.Validate(); err != nil {
		return broker.Operator{}, "", err
	}
	if err := p.Store.CreateOperator(ctx, by, o); err != nil {
		return broker.Operator{}, "", about(err, "operator %s", name)
	}
	return o, secret, nil
}

// hashToken is what is stored of a bearer token.
func hashToken(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// Authenticate finds the operator of a bearer token: ErrUnauthorized if there is none, or
// the token has expired. It looks up the hash, so the time that it takes reveals nothing of
// the token.
func (p *Plane) Authenticate(ctx context.Context, secret string) (broker.Operator, error) {
	if len(secret) != operatorTokenLen || !strings.HasPrefix(secret, operatorPrefix) {
		return broker.Operator{}, ErrUnauthorized
	}
	hash := hashToken(secret)
	o, err := p.Store.OperatorByHash(ctx, hash)
	switch {
	case errors.Is(err, broker.ErrNotFound):
		return broker.Operator{}, ErrUnauthorized
	case err != nil:
		return broker.Operator{}, fmt.Errorf("look up operator: %w", err)
	case subtle.ConstantTimeCompare(o.Hash, hash) != 1, !p.Now().Before(o.Expires):
		return broker.Operator{}, ErrUnauthorized
	}
	return o, nil
}

// ListOperators gives all operators.
func (p *Plane) ListOperators(ctx context.Context) ([]broker.Operator, error) {
	return p.Store.ListOperators(ctx)
}

// DeleteOperator ends an operator's access at once.
func (p *Plane) DeleteOperator(ctx context.Context, by broker.By, name string) error {
	if err := p.Store.DeleteOperator(ctx, by, name); err != nil {
		return about(err, "delete operator %s", name)
	}
	return nil
}

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

// DeleteOperator ends an operator's access at once. Over the API nobody ends the access of
// the last operator whose token is valid, and only with force his own. ActorLocal may: he
// can make another at any time, and must get rid of a stolen token.
func (p *Plane) DeleteOperator(ctx context.Context, by broker.By, name string, force bool) error {
	p.deleting.Lock() // two who delete each other are not both let through
	defer p.deleting.Unlock()
	if err := p.mayDeleteOperator(ctx, by, name, force); err != nil {
		return err
	}
	if err := p.Store.DeleteOperator(ctx, by, name); err != nil {
		return about(err, "delete operator %s", name)
	}
	return nil
}

func (p *Plane) mayDeleteOperator(ctx context.Context, by broker.By, name string, force bool) error {
	all, err := p.Store.ListOperators(ctx)
	if err != nil {
		return fmt.Errorf("delete operator %s: %w", name, err)
	}
	now, valid, others := p.Now(), false, 0
	for _, o := range all {
		if !now.Before(o.Expires) {
			continue
		}
		if o.Name == name {
			valid = true
		} else {
			others++
		}
	}
	switch {
	case !valid, by.Actor == broker.ActorLocal:
		return nil
	case others == 0:
		return conflict("operator %s is the last whose token is valid: nobody could use the API any more; make another one first", name)
	case by.Actor == broker.OperatorActor(name) && !force:
		return conflict("operator %s is you: this token would open nothing from now on; force it if that is meant", name)
	}
	return nil
}

package control

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
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

// NewOperator is what is said of an operator to be made.
type NewOperator struct {
	Name  string
	Life  time.Duration // of its token; 0: broker.DefaultOperatorLife
	Scope broker.OperatorScope
	Pools []ident.Pool // as broker.Operator.Pools, in any order
}

// CreateOperator makes an operator and gives its bearer token, which is shown once. It binds
// none to a pool that does not exist: a pool made later by that name would be its, too.
func (p *Plane) CreateOperator(ctx context.Context, by broker.By, n NewOperator) (broker.Operator, string, error) {
	for _, pool := range n.Pools {
		if _, err := p.Store.Pool(ctx, pool); errors.Is(err, broker.ErrNotFound) {
			return broker.Operator{}, "", broker.Invalid("pools", "pool %s does not exist; create it first", pool)
		} else if err != nil {
			return broker.Operator{}, "", about(err, "operator %s", n.Name)
		}
	}
	raw, err := p.random(32)
	if err != nil {
		return broker.Operator{}, "", err
	}
	secret := operatorPrefix + base64.RawURLEncoding.EncodeToString(raw)
	now := p.Now()
	o := broker.Operator{Name: n.Name, Hash: hashToken(secret), Expires: now.Add(cmp.Or(n.Life, broker.DefaultOperatorLife)), Created: now,
		Scope: n.Scope, Pools: sortedPools(n.Pools)}
	if err := o.Validate(); err != nil {
		return broker.Operator{}, "", err
	}
	if err := p.Store.CreateOperator(ctx, by, o); err != nil {
		return broker.Operator{}, "", about(err, "operator %s", n.Name)
	}
	return o, secret, nil
}

// sortedPools gives each once, by name.
func sortedPools(pools []ident.Pool) []ident.Pool {
	out := slices.SortedFunc(slices.Values(pools), func(a, b ident.Pool) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
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
// the last admin of all pools whose token is valid, and only with force his own. ActorLocal may: he
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
	now, valid, admin, others := p.Now(), false, false, 0
	for _, o := range all {
		if !now.Before(o.Expires) {
			continue
		}
		mayMake := o.Unbound() && o.Scope.Includes(broker.OperatorAdmin)
		switch {
		case o.Name == name:
			valid, admin = true, mayMake
		case mayMake:
			others++
		}
	}
	switch {
	case !valid, by.Actor == broker.ActorLocal:
		return nil
	case admin && others == 0:
		return conflict("operator %s is the last admin of all pools whose token is valid: nobody could make operators over the API any more; make another one first", name)
	case by.Actor == broker.OperatorActor(name):
		return unlessForced(force, fmt.Sprintf("operator %s is you: this token would open nothing from now on", name))
	}
	return nil
}

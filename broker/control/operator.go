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
	if err := p.poolsExist(ctx, n.Pools); err != nil {
		return broker.Operator{}, "", about(err, "operator %s", n.Name)
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

// poolsExist refuses to bind an operator to a pool that is not there.
func (p *Plane) poolsExist(ctx context.Context, pools []ident.Pool) error {
	for _, pool := range pools {
		if _, err := p.Store.Pool(ctx, pool); errors.Is(err, broker.ErrNotFound) {
			return broker.Invalid("pools", "pool %s does not exist; create it first", pool)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// An OperatorChange is what becomes of an operator; nil leaves it as it is.
type OperatorChange struct {
	Scope *broker.OperatorScope
	Pools *[]ident.Pool // as broker.Operator.Pools, in any order; none: all
}

// ChangeOperator changes what an operator, who must match, may do from its next request on; its
// token stays. The rules of DeleteOperator hold for who may make no operators afterwards.
func (p *Plane) ChangeOperator(ctx context.Context, by broker.By, name string, change OperatorChange, m *Match, force bool) (broker.Operator, error) {
	what := "operator " + name
	if change.Pools != nil {
		if err := p.poolsExist(ctx, *change.Pools); err != nil {
			return broker.Operator{}, about(err, "%s", what)
		}
	}
	apply := func(o *broker.Operator) {
		if change.Scope != nil {
			o.Scope = *change.Scope
		}
		if change.Pools != nil {
			o.Pools = sortedPools(*change.Pools)
		}
	}
	o, err := p.Store.UpdateOperator(ctx, by, name, func(o *broker.Operator, others []broker.Operator) error {
		if err := m.check(what, o.Rev()); err != nil {
			return err
		}
		was := *o
		apply(o)
		return p.mayLose(by, &was, o, others, force)
	})
	if err != nil {
		return broker.Operator{}, about(err, "%s", what)
	}
	return o, nil
}

// Operator finds an operator.
func (p *Plane) Operator(ctx context.Context, name string) (broker.Operator, error) {
	all, err := p.Store.ListOperators(ctx)
	if err != nil {
		return broker.Operator{}, err
	}
	for _, o := range all {
		if o.Name == name {
			return o, nil
		}
	}
	return broker.Operator{}, about(broker.ErrNotFound, "operator %s", name)
}

// AdminsEnd gives the admin of all pools whose valid token expires last: then nobody can make
// operators over the API. The warning says what to do, empty while there is time. Without such
// an admin it gives a zero Operator.
func (p *Plane) AdminsEnd(ctx context.Context) (last broker.Operator, warning string, err error) {
	all, err := p.Store.ListOperators(ctx)
	if err != nil {
		return last, "", err
	}
	now := p.Now()
	for _, o := range all {
		if o.MakesOperators() && now.Before(o.Expires) && o.Expires.After(last.Expires) {
			last = o
		}
	}
	switch {
	case last.Name == "":
		warning = "there is no admin of all pools whose token is valid, so nobody can make operators over the API; on the broker's machine: signetd operator create NAME"
	case last.ExpiresSoon(now):
		warning = LastAdminEnds(&last)
	}
	return last, warning, nil
}

// LastAdminEnds says what comes when o, the last admin of all pools, is none any more.
func LastAdminEnds(o *broker.Operator) string {
	return fmt.Sprintf("the token of %s, the last admin of all pools, expires on %s, and then nobody can make operators over the API: signet operator create NAME --scope admin before, or signetd operator create NAME on the broker's machine",
		o.Name, o.Expires.UTC().Format(time.RFC3339))
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
	err := p.Store.DeleteOperator(ctx, by, name, func(o *broker.Operator, others []broker.Operator) error {
		return p.mayLose(by, o, &broker.Operator{Name: name}, others, force)
	})
	if err != nil {
		return about(err, "delete operator %s", name)
	}
	return nil
}

// mayLose refuses what makes next of the operator o if that takes what it may from the last who may
// make operators, and without force if it takes from who asks. It is asked in the store's transaction:
// of two who take it from each other, in whatever processes, only one is let through.
func (p *Plane) mayLose(by broker.By, o, next *broker.Operator, others []broker.Operator, force bool) error {
	now := p.Now()
	if !now.Before(o.Expires) || by.Actor == broker.ActorLocal {
		return nil
	}
	left := slices.ContainsFunc(others, func(each broker.Operator) bool { return now.Before(each.Expires) && each.MakesOperators() })
	switch {
	case o.MakesOperators() && !next.MakesOperators() && !left:
		return conflict("operator %s is the last admin of all pools whose token is valid: nobody could make operators over the API any more; make another one first", o.Name)
	case by.Actor != broker.OperatorActor(o.Name) || next.Scope.Includes(o.Scope) && widens(o, next):
		return nil
	case next.Scope == "":
		return unlessForced(force, fmt.Sprintf("operator %s is you: this token would open nothing from now on", o.Name))
	}
	return unlessForced(force, fmt.Sprintf("operator %s is you: what you take from yourself another one must give back", o.Name))
}

// widens reports whether next reaches every pool that o does.
func widens(o, next *broker.Operator) bool {
	return next.Unbound() || !o.Unbound() && !slices.ContainsFunc(o.Pools, func(p ident.Pool) bool { return !next.Reaches(p) })
}

package broker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// An Operator is somebody's or some program's access to the operators' API.
type Operator struct {
	Name    string
	Hash    []byte // SHA-256 of the bearer token
	Expires time.Time
	Created time.Time
	Scope   OperatorScope
	Pools   []ident.Pool // those that it may see and change, in order, each once; none: all
}

// An OperatorScope is what an operator may do. Each includes those before it.
type OperatorScope string

// Scopes, from the narrowest.
const (
	OperatorRead   OperatorScope = "read"   // see everything but secrets, change nothing
	OperatorEnroll OperatorScope = "enroll" // admit new devices: enrollment tokens, registration, approval
	OperatorWrite  OperatorScope = "write"  // change devices and settings
	OperatorAdmin  OperatorScope = "admin"  // also operators, pools' keys and anchors, and deleting pools
)

// OperatorScopes gives all scopes, from the narrowest.
func OperatorScopes() []OperatorScope {
	return []OperatorScope{OperatorRead, OperatorEnroll, OperatorWrite, OperatorAdmin}
}

// Includes reports whether s is need or wider. No scope at all, or an unknown one, includes nothing.
func (s OperatorScope) Includes(need OperatorScope) bool {
	all := OperatorScopes()
	has, wants := slices.Index(all, s), slices.Index(all, need)
	return wants >= 0 && has >= wants
}

// Reaches reports whether o may see and change what is in pool, as far as its scope goes.
func (o *Operator) Reaches(pool ident.Pool) bool {
	return len(o.Pools) == 0 || slices.Contains(o.Pools, pool)
}

// Unbound reports whether o may do what its scope says outside of pools and in all of them.
func (o *Operator) Unbound() bool { return len(o.Pools) == 0 }

// MakesOperators reports whether o may make operators who may do everything, as long as its
// token is valid: an admin of all pools.
func (o *Operator) MakesOperators() bool { return o.Unbound() && o.Scope.Includes(OperatorAdmin) }

// Rev is another number for another operator, or another state of one.
func (o *Operator) Rev() uint64 {
	h := sha256.New()
	fmt.Fprintf(h, "%q %x %d %d %s %q", o.Name, o.Hash, o.Expires.UnixNano(), o.Created.UnixNano(), o.Scope, o.PoolNames())
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// ExpiresSoon reports whether it is time to see to another token than o's: a third of its
// life is left, or two weeks if that is less.
func (o *Operator) ExpiresSoon(now time.Time) bool {
	return o.Expires.Sub(now) < min(o.Expires.Sub(o.Created)/3, soonOperator)
}

// PoolNames gives the names of o's pools.
func (o *Operator) PoolNames() []string {
	names := make([]string, 0, len(o.Pools))
	for _, p := range o.Pools {
		names = append(names, p.String())
	}
	return names
}

// MaxOperatorPools is how many pools an operator may be bound to; one of more has all.
const MaxOperatorPools = 64

// operatorHashLen is the length of a SHA-256 in bytes.
const operatorHashLen = 32

// Default and bounds of how long an operator's token lives.
const (
	DefaultOperatorLife = 90 * 24 * time.Hour
	MinOperatorLife     = time.Minute
	MaxOperatorLife     = 2 * 365 * 24 * time.Hour

	soonOperator = 14 * 24 * time.Hour
)

// Validate finds what is wrong with o's name, hash, life, scope or pools. No store keeps what it refuses.
func (o *Operator) Validate() error {
	if err := checkLabel("", "operator", o.Name); err != nil {
		return err
	}
	if life := o.Expires.Sub(o.Created); life < MinOperatorLife || life > MaxOperatorLife {
		return Invalid("", "an operator's token lives %s to %s, not %s", Span(MinOperatorLife), Span(MaxOperatorLife), Span(life))
	}
	if !slices.Contains(OperatorScopes(), o.Scope) {
		return Invalid("scope", "there is no scope %q; want one of read, enroll, write, admin", o.Scope)
	}
	if err := checkOperatorPools(o.Pools); err != nil {
		return err
	}
	if len(o.Hash) != operatorHashLen {
		return fmt.Errorf("%w: operator %s: a token's hash has %d bytes, not %d", ErrInvalid, o.Name, operatorHashLen, len(o.Hash))
	}
	return nil
}

func checkOperatorPools(pools []ident.Pool) error {
	if len(pools) > MaxOperatorPools {
		return Invalid("pools", "an operator is bound to %d pools at most, not %d", MaxOperatorPools, len(pools))
	}
	for i, p := range pools {
		if p.IsZero() || i > 0 && strings.Compare(pools[i-1].String(), p.String()) >= 0 {
			return Invalid("pools", "an operator's pools have names, in order, each once")
		}
	}
	return nil
}

// Operators is the store of who may use the operators' API.
type Operators interface {
	// CreateOperator writes a new operator: ErrExists if there is one of that name, or one
	// with the same Hash.
	CreateOperator(ctx context.Context, by By, o Operator) error
	// UpdateOperator applies change to the stored operator and writes it; change's error ends
	// it. ErrInvalid if that is another name, ErrExists if another operator has the same Hash.
	// change is given all the others as they are in the same transaction, so that a rule over all of
	// them holds whoever else writes; it must not call the store.
	UpdateOperator(ctx context.Context, by By, name string, change func(o *Operator, others []Operator) error) (Operator, error)
	// OperatorByHash finds the operator whose bearer token has that SHA-256.
	OperatorByHash(ctx context.Context, hash []byte) (Operator, error)
	// ListOperators gives all operators, by name.
	ListOperators(ctx context.Context) ([]Operator, error)
	// DeleteOperator deletes an operator, whose token then opens nothing, unless may gives an
	// error. may, which may be nil, is given what UpdateOperator's change is.
	DeleteOperator(ctx context.Context, by By, name string, may func(o *Operator, others []Operator) error) error
}

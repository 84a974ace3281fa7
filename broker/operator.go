package broker

import (
	"context"
	"fmt"
	"time"
)

// An Operator is somebody's or some program's access to the operators' API.
type Operator struct {
	Name    string
	Hash    []byte // SHA-256 of the bearer token
	Expires time.Time
	Created time.Time
}

// operatorHashLen is the length of a SHA-256 in bytes.
const operatorHashLen = 32

// Default and bounds of how long an operator's token lives.
const (
	DefaultOperatorLife = 90 * 24 * time.Hour
	MinOperatorLife     = time.Minute
	MaxOperatorLife     = 2 * 365 * 24 * time.Hour
)

// Validate finds what is wrong with o's name, hash or life. No store keeps what it refuses.
func (o *Operator) Validate() error {
	if err := checkLabel("", "operator", o.Name); err != nil {
		return err
	}
	if life := o.Expires.Sub(o.Created); life < MinOperatorLife || life > MaxOperatorLife {
		return Invalid("", "an operator's token lives %s to %s, not %s", Span(MinOperatorLife), Span(MaxOperatorLife), Span(life))
	}
	if len(o.Hash) != operatorHashLen {
		return fmt.Errorf("%w: operator %s: a token's hash has %d bytes, not %d", ErrInvalid, o.Name, operatorHashLen, len(o.Hash))
	}
	return nil
}

// Operators is the store of who may use the operators' API.
type Operators interface {
	// CreateOperator writes a new operator: ErrExists if there is one of that name, or one
	// with the same Hash.
	CreateOperator(ctx context.Context, by By, o Operator) error
	// PutOperator writes an operator over the one of that name, if any: ErrExists if another
	// operator has the same Hash.
	PutOperator(ctx context.Context, by By, o Operator) error
	// OperatorByHash finds the operator whose bearer token has that SHA-256.
	OperatorByHash(ctx context.Context, hash []byte) (Operator, error)
	// ListOperators gives all operators, by name.
	ListOperators(ctx context.Context) ([]Operator, error)
	// DeleteOperator deletes an operator, whose token then opens nothing.
	DeleteOperator(ctx context.Context, by By, name string) error
}

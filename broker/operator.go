package broker

import (
	"context"
	"time"
)

// An Operator is somebody's or some program's access to the operators' API.
type Operator struct {
	Name    string
	Hash    []byte // SHA-256 of the bearer token
	Expires time.Time
	Created time.Time
}

// Operators is the store of who may use the operators' API.
type Operators interface {
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

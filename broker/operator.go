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

// Operators keeps operators' access.
type Operators interface {
	PutOperator(ctx context.Context, by By, o Operator) error
	// OperatorByHash finds by the SHA-256 of the bearer token.
	OperatorByHash(ctx context.Context, hash []byte) (Operator, error)
	ListOperators(ctx context.Context) ([]Operator, error)
	DeleteOperator(ctx context.Context, by By, name string) error
}

package broker

import (
	"context"
	"io"
)

// The store, one small interface per concept. Each call is one use case and one
// transaction: when it returns without error, what it wrote is durable. Values
// handed in and out are the caller's to change. Missing things are ErrNotFound.
// Lists go in key order: after is the last key seen, empty to begin; limit is 1 to 1000.

// Secrets keeps the cluster's own sealed secrets, by name.
type Secrets interface {
	// SecretOnce gives the secret of that name, made by create if there is none yet.
	SecretOnce(ctx context.Context, by By, name string, create func() ([]byte, error)) ([]byte, error)
}

// Store is all of it. Only the wiring asks for so much.
type Store interface {
	Pools
	Devices
	Settings
	Nouns
	SigningKeys
	Sessions
	Tries
	Operators
	Secrets
	Journal
	Close() error
}

// A Backuper is a Store that writes a consistent copy of itself, while it is used.
type Backuper interface {
	// Backup gives the number of bytes that it wrote.
	Backup(ctx context.Context, w io.Writer) (int64, error)
}

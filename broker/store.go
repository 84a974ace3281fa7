package broker

import (
	"context"
	"fmt"
	"io"
	"time"
)

// The store, one small interface per concept. Each call is one use case and one
// transaction: when it returns without error, what it wrote is durable. Values
// handed in and out are the caller's to change, but for settings (Catalog). Missing things are ErrNotFound.
// Lists go in key order: after is the last key seen, empty to begin; limit is
// 1 to MaxList.

// MaxList is how many rows or records one call of a store gives at most.
const MaxList = 1000

// CheckLimit checks how many a call of a store is asked for.
func CheckLimit(limit int) error {
	if limit < 1 || limit > MaxList {
		return fmt.Errorf("%w: limit %d, want 1 to %d", ErrInvalid, limit, MaxList)
	}
	return nil
}

// CheckSecretName checks the name of a secret of the cluster: 1 to 64 of [a-z0-9-].
func CheckSecretName(name string) error { return checkLabel("", "secret", name) }

// Secrets is the store of the cluster's own secrets, which come sealed, by name.
type Secrets interface {
	// SecretOnce gives the secret of that name (CheckSecretName), made by create if there is none yet.
	// create must not call the store.
	SecretOnce(ctx context.Context, by By, name string, create func() ([]byte, error)) ([]byte, error)
}

// Store is all of these together. Only package core and the commands ask for so much.
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
	Epochs
	Journal
	// Close ends the use of the store.
	Close() error
}

// StoreFigures are what a store has done since it was opened.
type StoreFigures struct {
	Commits    int64         // transactions, each with one end on the disk
	Changes    int64         // writing calls acknowledged by them
	CommitTime time.Duration // that they took together
	Waiting    int           // writing calls that wait for their transaction now
	Size       int64         // bytes that it takes of the disk
	Free       int64         // bytes that are left on that disk; negative: it cannot be told
	Reserve    int64         // bytes beside it that are kept for operators
	ClockDoubt time.Duration // how far ahead of what has elapsed the clock is, if nothing is forgotten by it; negative: behind
	Reserved   bool          // operators had to take those: devices' changes are refused until they are there again
}

// Room gives ErrFull when there is no room for new devices: when less than least bytes of
// the disk are free (0: never), or operators had to take what was kept for them.
func (f StoreFigures) Room(least int64) error {
	switch {
	case f.Reserved:
		return fmt.Errorf("%w: what was left of the disk is operators' alone", ErrFull)
	case f.Free >= 0 && f.Free < least:
		return fmt.Errorf("%w for new devices: %d MiB of the disk are free, and %d are wanted for that", ErrFull, f.Free>>20, least>>20)
	}
	return nil
}

// A Measured is a Store that knows its figures.
type Measured interface {
	Figures() StoreFigures
}

// A Backuper is a Store that can write a consistent copy of itself while it is used.
type Backuper interface {
	// Backup gives the number of bytes that it wrote.
	Backup(ctx context.Context, w io.Writer) (int64, error)
}

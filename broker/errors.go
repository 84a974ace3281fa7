package broker

import (
	"errors"
	"fmt"
)

// Errors that every store returns, wrapped with what was being done.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrConflict = errors.New("not possible now")
	// ErrInUse is an ErrConflict: devices or people live by what is to be taken away, and
	// whoever is sure may force it.
	ErrInUse = fmt.Errorf("in use: %w", ErrConflict)
	// ErrStale: what is stored is not the revision that the change was made for.
	ErrStale = errors.New("changed meanwhile")
	// ErrUsed: the exchange, or the last use of an enrollment token, is spent.
	ErrUsed = errors.New("already used")
	// ErrExhausted is an ErrUsed: the enrollment token has no use left.
	ErrExhausted = fmt.Errorf("no use left: %w", ErrUsed)
	// ErrExpired: past its end, by the store's caller's clock.
	ErrExpired = errors.New("expired")
	// ErrNotFor: the enrollment token is for other devices, or for other networks.
	ErrNotFor = errors.New("not for this device or where it comes from")
	// ErrInactive: the device may not get anything now.
	ErrInactive = errors.New("device is not active")
	// ErrOvertaken: a newer session of the device began since the exchange did.
	ErrOvertaken = errors.New("a newer session of the device has begun meanwhile")
	// ErrKeyBound: the device is enrolled with another key, or the key with another device.
	ErrKeyBound = errors.New("bound to another key")
	// ErrInvalid: a value that breaks the domain's rules; the message says which.
	ErrInvalid = errors.New("invalid")
	// ErrFull: there is no room to write. Nothing was written; writing goes on when
	// there is room again.
	ErrFull = errors.New("no room to write")
)

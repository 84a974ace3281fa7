package broker

import (
	"context"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// The store, one small interface per concept. Each call is one use case and one
// transaction: when it returns without error, what it wrote is durable. Values
// handed in and out are the caller's to change. Missing things are ErrNotFound.
// Lists go in key order: after is the last key seen, empty to begin; limit is 1 to 1000.

// Pools keeps pools.
type Pools interface {
	// CreatePool adds p with its first signing keys and clients and flows; ErrExists if there is one of that name.
	CreatePool(ctx context.Context, p Pool, keys []SigningKey, clients []Client, flows []Flow) error
	Pool(ctx context.Context, name ident.Pool) (Pool, error)
	ListPools(ctx context.Context) ([]Pool, error)
	// UpdatePool applies change to the stored pool and writes it, in one transaction;
	// change's error ends it. Name, issuer and keys never change: ErrInvalid.
	UpdatePool(ctx context.Context, name ident.Pool, change func(*Pool) error) (Pool, error)
	// DeletePool deletes p and all that is in it.
	DeletePool(ctx context.Context, name ident.Pool) error
}

// Devices keeps devices.
type Devices interface {
	// CreateDevice: ErrExists by name, ErrKeyBound when another device of the pool has the key.
	CreateDevice(ctx context.Context, d Device) error
	Device(ctx context.Context, id ident.Device) (Device, error)
	ListDevices(ctx context.Context, pool ident.Pool, after string, limit int) ([]Device, error)
	// UpdateDevice applies change to the stored device and writes it, in one transaction; change's error ends it.
	UpdateDevice(ctx context.Context, id ident.Device, change func(*Device) error) (Device, error)
	DeleteDevice(ctx context.Context, id ident.Device) error
}

// Clients keeps clients.
type Clients interface {
	PutClient(ctx context.Context, c Client) error
	Client(ctx context.Context, pool ident.Pool, id string) (Client, error)
	ListClients(ctx context.Context, pool ident.Pool) ([]Client, error)
	DeleteClient(ctx context.Context, pool ident.Pool, id string) error
}

// Flows keeps flows.
type Flows interface {
	PutFlow(ctx context.Context, f Flow) error
	Flow(ctx context.Context, pool ident.Pool, name string) (Flow, error)
	ListFlows(ctx context.Context, pool ident.Pool) ([]Flow, error)
	DeleteFlow(ctx context.Context, pool ident.Pool, name string) error
}

// Hooks keeps hooks.
type Hooks interface {
	PutHook(ctx context.Context, h Hook) error
	Hook(ctx context.Context, pool ident.Pool, name string) (Hook, error)
	ListHooks(ctx context.Context, pool ident.Pool) ([]Hook, error)
	DeleteHook(ctx context.Context, pool ident.Pool, name string) error
}

// EnrolTokens keeps enrolment tokens.
type EnrolTokens interface {
	CreateEnrolToken(ctx context.Context, t EnrolToken) error
	EnrolToken(ctx context.Context, pool ident.Pool, id string) (EnrolToken, error)
	// UpdateEnrolToken applies change to the stored token and writes it, in one
	// transaction; change's error ends it. Pool, id and key never change: ErrInvalid.
	UpdateEnrolToken(ctx context.Context, pool ident.Pool, id string, change func(*EnrolToken) error) (EnrolToken, error)
	ListEnrolTokens(ctx context.Context, pool ident.Pool) ([]EnrolToken, error)
	DeleteEnrolToken(ctx context.Context, pool ident.Pool, id string) error
}

// SigningKeys keeps signing keys.
type SigningKeys interface {
	ListSigningKeys(ctx context.Context, pool ident.Pool) ([]SigningKey, error)
	// ChangeSigningKeys replaces the pool's keys by what change makes of them, in one transaction.
	ChangeSigningKeys(ctx context.Context, pool ident.Pool, change func([]SigningKey) ([]SigningKey, error)) error
}

// A Login is what a successful authentication writes.
type Login struct {
	Session Session
	// Enrol is set when the exchange was an enrolment.
	Enrol *Enrolment
}

// Recorded is what RecordLogin found a device to be. It is no more than that: reading
// the whole device once more would cost every login its decoding.
type Recorded struct {
	Status      Status // "" when the device was not reached
	Subject     ident.UUID
	KeyReplaced bool // the enrolment gave the device another key, and what the old one began is over
}

// An Enrolment is the part of a Login that brings a device into its pool.
type Enrolment struct {
	Device  Device // as it is to be created; with Subject set
	TokenID string // empty: the key was registered before
	Now     time.Time
}

// Sessions keeps what logins leave behind.
type Sessions interface {
	// RecordLogin writes a successful authentication, once: ErrUsed when its
	// exchange was recorded before; ErrInactive when the device is not active at the
	// moment of the write. Rows are keyed in time order, so writing them is cheap.
	//
	// With Enrol it first creates the device or finds it (same key: fine; other key:
	// ErrKeyBound unless the token allows replacement) and counts one use of the
	// token (ErrUsed, ErrExpired, ErrNotFound; none for a device that is in with this
	// key already: its answer was lost), all in the same transaction. A device
	// that comes in pending is written, without a session, and reported by ErrInactive.
	// It returns what the device is then, with ErrInactive too.
	RecordLogin(ctx context.Context, l Login) (Recorded, error)
	Session(ctx context.Context, id ident.UUID) (Session, error)
	// UpdateSession applies change to the stored session, with its device as it is in
	// the same transaction.
	UpdateSession(ctx context.Context, id ident.UUID, change func(*Session, *Device) error) (Session, error)
	// ListSessions gives a device's sessions, newest first, at most 100.
	ListSessions(ctx context.Context, id ident.Device) ([]Session, error)
}

// Tries counts attempts at guessable answers.
type Tries interface {
	// CountTry counts one try of an exchange before its answer is looked at and gives
	// the number so far. Counts are dropped some time after until.
	CountTry(ctx context.Context, exchange ident.UUID, until time.Time) (int, error)
}

// Operators keeps operators' access.
type Operators interface {
	PutOperator(ctx context.Context, o Operator) error
	// OperatorByHash finds by the SHA-256 of the bearer token.
	OperatorByHash(ctx context.Context, hash []byte) (Operator, error)
	ListOperators(ctx context.Context) ([]Operator, error)
	DeleteOperator(ctx context.Context, name string) error
}

// Secrets keeps the cluster's own sealed secrets, by name.
type Secrets interface {
	// SecretOnce gives the secret of that name, made by create if there is none yet.
	SecretOnce(ctx context.Context, name string, create func() ([]byte, error)) ([]byte, error)
}

// Store is all of it. Only the wiring asks for so much.
type Store interface {
	Pools
	Devices
	Clients
	Flows
	Hooks
	EnrolTokens
	SigningKeys
	Sessions
	Tries
	Operators
	Secrets
	Close() error
}

package broker

import (
	"context"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// Status says what a device may do.
type Status string

// The statuses. Only an active device gets tokens.
const (
	StatusPending     Status = "pending"
	StatusActive      Status = "active"
	StatusDisabled    Status = "disabled"
	StatusQuarantined Status = "quarantined"
)

// A Device is one machine in a pool.
type Device struct {
	ID             ident.Device
	Subject        ident.UUID // UUIDv7, never changes, never used again
	Status         Status
	Authenticators []Authenticator
	Attributes     map[string]string
	Groups         []string
	Created        time.Time
	Updated        time.Time
	// SessionsAfter ends every session that began at or before it.
	SessionsAfter time.Time
	// SessionsRev is the Rev at which that was last set. It ends every session of a
	// device proved at an earlier Rev, whatever the replicas' clocks said.
	SessionsRev uint64
	Rev         uint64 // raised by the store at each write
}

// EndSessions ends every session that d has at now. It is for a change in
// UpdateDevice, which writes the Rev after d's.
func (d *Device) EndSessions(now time.Time) { d.SessionsAfter, d.SessionsRev = now, d.Rev+1 }

// An Authenticator is what a device proves itself with.
type Authenticator struct {
	Kind   string // "key" or "psk"
	Key    []byte // key: COSE_Key of the public key
	Sealed []byte // psk: the shared key, sealed
	Added  time.Time
}

// Devices keeps devices.
type Devices interface {
	// CreateDevice: ErrExists by name, ErrKeyBound when another device of the pool has the key.
	CreateDevice(ctx context.Context, by By, d Device) error
	Device(ctx context.Context, id ident.Device) (Device, error)
	ListDevices(ctx context.Context, pool ident.Pool, after string, limit int) ([]Device, error)
	// UpdateDevice applies change to the stored device and writes it, in one transaction; change's error ends it.
	UpdateDevice(ctx context.Context, by By, id ident.Device, change func(*Device) error) (Device, error)
	DeleteDevice(ctx context.Context, by By, id ident.Device) error
}

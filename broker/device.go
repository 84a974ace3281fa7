package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/signetd/signet/protocol/challenge"
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
	// SessionsAfter is when all its sessions were last ended, by the clock of who did it:
	// for people to read.
	SessionsAfter time.Time
	// SessionsRev is the Rev at which that was. It ends every session of a device
	// proved at an earlier Rev, whatever the replicas' clocks said.
	SessionsRev uint64
	// ClonedSince is when two copies of its key were first seen to be in use; zero: they were not since
	// its sessions were last ended or it was released. See Login.Lineage.
	ClonedSince time.Time
	Rev         uint64 // raised by the store at each write
}

// EndSessions ends every session that d has at now, and what is known of copies of its key by them. It
// is for a change in UpdateDevice, which writes the Rev after d's.
func (d *Device) EndSessions(now time.Time) {
	d.SessionsAfter, d.SessionsRev, d.ClonedSince = now, d.Rev+1, time.Time{}
}

// Release makes d active, whatever it was. What is known of copies of its key is dealt with.
func (d *Device) Release() { d.Status, d.ClonedSince = StatusActive, time.Time{} }

// Validate checks what a store needs to hold of d: that it has a name, a subject, one
// of the statuses, authenticators with one id each, and groups and attributes as
// CheckLabels wants them, whoever states those.
func (d *Device) Validate() error {
	if d.ID.IsZero() || d.Subject.IsZero() {
		return fmt.Errorf("%w: a device has a name and a subject", ErrInvalid)
	}
	switch d.Status {
	case StatusPending, StatusActive, StatusDisabled, StatusQuarantined:
	default:
		return fmt.Errorf("%w: status %q", ErrInvalid, d.Status)
	}
	for i := range d.Authenticators {
		a := &d.Authenticators[i]
		if err := a.check(); err != nil {
			return err
		}
		for _, before := range d.Authenticators[:i] {
			if before.ID == a.ID {
				return fmt.Errorf("%w: authenticator %s comes twice", ErrInvalid, a.ID)
			}
		}
	}
	return CheckLabels(d.Groups, d.Attributes)
}

// Clone gives a copy that shares nothing with d. What is empty in d is nil in it.
func (d *Device) Clone() Device {
	out := *d
	out.Authenticators, out.Attributes, out.Groups = nil, nil, nil
	for i := range d.Authenticators {
		out.Authenticators = append(out.Authenticators, d.Authenticators[i].clone())
	}
	if len(d.Attributes) > 0 {
		out.Attributes = maps.Clone(d.Attributes)
	}
	out.Groups = append(out.Groups, d.Groups...)
	return out
}

// Becomes refuses a change of what never changes: a device's name and subject.
func (d *Device) Becomes(next *Device) error {
	if next.ID != d.ID || next.Subject != d.Subject {
		return fmt.Errorf("%w: a device's name and subject never change", ErrInvalid)
	}
	return nil
}

// PublicKeys gives the ids of d's public keys, which no other device of its pool has.
func (d *Device) PublicKeys() []KeyID {
	var ids []KeyID
	for i := range d.Authenticators {
		if a := &d.Authenticators[i]; a.Kind == challenge.Key {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// Has reports whether d has an authenticator with that id.
func (d *Device) Has(id KeyID) bool {
	return slices.ContainsFunc(d.Authenticators, func(a Authenticator) bool { return a.ID == id })
}

// Devices is the store of devices. A key belongs to one device of a pool at most.
type Devices interface {
	// CreateDevice adds a device, with Rev 1: ErrExists if there is one of that name,
	// ErrKeyBound if another device of the pool has one of its keys.
	CreateDevice(ctx context.Context, by By, d Device) error
	// CreateDevices creates many, each as CreateDevice would: it gives the error of each,
	// in the order of all, nil for those that are there now. Of several with one name the
	// first is created; of several with one key, the one whose name comes first.
	CreateDevices(ctx context.Context, by By, all []Device) []error
	// Device gives one device.
	Device(ctx context.Context, id ident.Device) (Device, error)
	// CountDevices gives how many devices a pool has, without looking at each.
	CountDevices(ctx context.Context, pool ident.Pool) (int, error)
	// ListDevices gives up to limit devices of a pool with names after the one given.
	ListDevices(ctx context.Context, pool ident.Pool, after string, limit int) ([]Device, error)
	// UpdateDevice applies change to the stored device and writes it with the next Rev,
	// in one transaction; change's error ends it, and so does what Becomes says. change
	// must not call the store.
	UpdateDevice(ctx context.Context, by By, id ident.Device, change func(*Device) error) (Device, error)
	// DeleteDevice deletes a device. Its sessions are gone with it, also for a later device
	// of that name.
	DeleteDevice(ctx context.Context, by By, id ident.Device) error
}

package boltstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// A deviceRow is a device's row on its way into its pool.
type deviceRow struct {
	id    ident.Device
	keys  []broker.KeyID // its public keys
	value []byte
	now   broker.Status
	ended bool // its sessions are, with this write

	keyReplaced bool // by an enrollment, with this write
	cloned      bool // it is seen to be, by the login that this write is of
}

// newRow checks and encodes d.
func newRow(d *broker.Device) (deviceRow, error) {
	value, err := encodeDevice(d)
	return deviceRow{id: d.ID, keys: d.PublicKeys(), value: value, now: d.Status, ended: d.SessionsRev == d.Rev}, err
}

// free reports broker.ErrKeyBound when another device of the pool has one of its keys.
func (r *deviceRow) free(pool *bolt.Bucket) error {
	index := pool.Bucket([]byte(poolKeys))
	for _, id := range r.keys {
		if owner := index.Get(id[:]); owner != nil && string(owner) != r.id.Name.String() {
			return fmt.Errorf("key is device %s's: %w", owner, broker.ErrKeyBound)
		}
	}
	return nil
}

// put writes the row in the place of old (nil: there was none), whose public keys were
// before, and keeps the key index: it is the one place where devices are written.
func (r *deviceRow) put(c *change, pool *bolt.Bucket, old []byte, before []broker.KeyID) error {
	name := []byte(r.id.Name.String())
	index := pool.Bucket([]byte(poolKeys))
	if err := r.record(c, pool, old); err != nil {
		return err
	}
	devices := pool.Bucket([]byte(poolDevices))
	if err := c.put(devices, name, r.value); err != nil {
		return err
	}
	if old == nil {
		if err := devices.SetSequence(devices.Sequence() + 1); err != nil {
			return err
		}
	}
	for _, id := range before {
		if !slices.Contains(r.keys, id) {
			if err := c.delete(index, id[:]); err != nil {
				return err
			}
		}
	}
	for _, id := range r.keys {
		if !slices.Contains(before, id) {
			if err := c.put(index, id[:], name); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeDevice writes d in the place of old (nil: there was none), whose public keys
// were before; broker.ErrKeyBound when another device has one of its keys.
func writeDevice(c *change, pool *bolt.Bucket, old []byte, before []broker.KeyID, d *broker.Device, keyReplaced bool) error {
	r, err := newRow(d)
	if err != nil {
		return err
	}
	r.keyReplaced = keyReplaced
	if err := r.free(pool); err != nil {
		return err
	}
	return r.put(c, pool, old, before)
}

// storedDevice gives a device and its row, nil if there is none.
func storedDevice(pool *bolt.Bucket, name ident.Name) (*broker.Device, []byte, error) {
	row := pool.Bucket([]byte(poolDevices)).Get([]byte(name.String()))
	if row == nil {
		return nil, nil, nil
	}
	d, err := decodeDevice(row)
	return &d, row, err
}

// knownDevice is storedDevice of one that must be there.
func knownDevice(tx *bolt.Tx, id ident.Device) (pool *bolt.Bucket, d *broker.Device, row []byte, err error) {
	if pool, err = inPool(tx, id.Pool); err != nil {
		return nil, nil, nil, err
	}
	if d, row, err = storedDevice(pool, id.Name); err == nil && row == nil {
		err = fmt.Errorf("device %s: %w", id.Name, broker.ErrNotFound)
	}
	return pool, d, row, err
}

// record records the row that takes the place of old.
func (r *deviceRow) record(c *change, pool *bolt.Bucket, old []byte) (err error) {
	var was broker.Status
	if old != nil {
		if was, _, err = deviceHead(old); err != nil {
			return err
		}
	}
	setHead(r.value, recordDevice(c, pool, r.id, broker.WhatOfDevice(was, r.now, r.ended, r.keyReplaced, r.cloned), old))
	return nil
}

// recordDevice records what is done to a device's row as the newest of its history,
// which the row heads or, of a deleted device, poolGone, so that a device that is made
// again goes on with it.
func recordDevice(c *change, pool *bolt.Bucket, id ident.Device, what broker.What, before []byte) uint64 {
	prev, _ := headOf(pool, []byte(id.Name.String()), before)
	return c.record(entry{Record: broker.Record{Kind: broker.RecordDevice, Pool: id.Pool, Subject: id.Name.String(), What: what,
		Before: digest(before), Prev: prev}})
}

// mayCome finds why a new device may not come in, and gives the pool it comes into.
func (r *deviceRow) mayCome(tx *bolt.Tx) (*bolt.Bucket, error) {
	pool, err := inPool(tx, r.id.Pool)
	if err != nil {
		return nil, err
	}
	if pool.Bucket([]byte(poolDevices)).Get([]byte(r.id.Name.String())) != nil {
		return nil, broker.ErrExists
	}
	return pool, r.free(pool)
}

// CreateDevice adds a device; broker.ErrExists, broker.ErrKeyBound.
func (s *Store) CreateDevice(ctx context.Context, by broker.By, d broker.Device) error {
	what := "create device " + d.ID.String()
	d.Rev = 1
	row, err := newRow(&d)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.update(ctx, by, what, func(c *change) error {
		pool, err := row.mayCome(c.tx)
		if err != nil {
			return err
		}
		return row.put(c, pool, nil, nil)
	})
}

// Device gives one device; broker.ErrNotFound.
func (s *Store) Device(ctx context.Context, id ident.Device) (broker.Device, error) {
	return getRow(ctx, s, deviceRows(), id.Pool, id.Name.String())
}

// ListDevices gives devices by name, up to limit, after a name.
func (s *Store) ListDevices(ctx context.Context, pool ident.Pool, after string, limit int) ([]broker.Device, error) {
	if err := broker.CheckLimit(limit); err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return listRows(ctx, s, deviceRows(), pool, after, limit)
}

// UpdateDevice applies edit to a device and writes it: see broker.Devices.
func (s *Store) UpdateDevice(ctx context.Context, by broker.By, id ident.Device, edit func(*broker.Device) error) (d broker.Device, err error) {
	err = s.update(ctx, by, "update device "+id.String(), func(c *change) error {
		pool, stored, row, err := knownDevice(c.tx, id)
		if err != nil {
			return err
		}
		d = *stored
		before := stored.PublicKeys() // edit may write through all but this, and what is no slice or map
		if err := edit(&d); err != nil {
			return err
		}
		if err := stored.Becomes(&d); err != nil {
			return err
		}
		d.Rev = stored.Rev + 1
		return writeDevice(c, pool, row, before, &d, false)
	})
	if err != nil {
		return broker.Device{}, err
	}
	return asRead(&d), nil
}

// asRead gives d as the next reader will see it, and shares nothing with what the
// caller's function put in.
func asRead(d *broker.Device) broker.Device {
	out := d.Clone()
	for _, t := range []*time.Time{&out.Created, &out.Updated, &out.SessionsAfter, &out.ClonedSince} {
		*t = fromNanos(nanos(*t))
	}
	for i := range out.Authenticators {
		a := &out.Authenticators[i]
		a.Added = fromNanos(nanos(a.Added))
	}
	return out
}

// CountDevices gives how many devices a pool has. The number is kept as the sequence of
// the devices' bucket, because counting would read the whole pool.
func (s *Store) CountDevices(ctx context.Context, name ident.Pool) (n int, err error) {
	err = s.view(ctx, "count devices", func(tx *bolt.Tx) error {
		pool, err := inPool(tx, name)
		if err != nil {
			return err
		}
		n = int(pool.Bucket([]byte(poolDevices)).Sequence())
		return nil
	})
	return n, err
}

// DeleteDevice deletes a device. Its sessions can no longer be read, even if a device of
// that name is made again; the sweep deletes their rows later.
func (s *Store) DeleteDevice(ctx context.Context, by broker.By, id ident.Device) error {
	return s.update(ctx, by, "delete device "+id.String(), func(c *change) error {
		pool, d, row, err := knownDevice(c.tx, id)
		if err != nil {
			return err
		}
		for _, id := range d.PublicKeys() {
			if err := c.delete(pool.Bucket([]byte(poolKeys)), id[:]); err != nil {
				return err
			}
		}
		if err := c.dropTries(id.Pool, id.Name.String()); err != nil {
			return err
		}
		devices, name := pool.Bucket([]byte(poolDevices)), []byte(id.Name.String())
		last := recordDevice(c, pool, id, broker.WhatDelete, row)
		if err := c.put(pool.Bucket([]byte(poolGone)), name, seqKey(last)); err != nil {
			return err
		}
		if err := c.delete(devices, name); err != nil {
			return err
		}
		return devices.SetSequence(devices.Sequence() - 1)
	})
}

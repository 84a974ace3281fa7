package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// writeDevice writes d in the place of old (nil: there was none) and keeps the
// key index; broker.ErrKeyBound when another device has one of its keys.
func writeDevice(c *change, pool *bolt.Bucket, old, d *broker.Device) error {
	value, err := encodeDevice(d)
	if err != nil {
		return err
	}
	name := []byte(d.ID.Name.String())
	index := pool.Bucket([]byte(poolKeys))
	var before []broker.KeyID
	if old != nil {
		before = old.PublicKeys()
	}
	now := d.PublicKeys()
	for _, id := range now {
		if owner := index.Get(id[:]); owner != nil && string(owner) != string(name) {
			return fmt.Errorf("key is device %s's: %w", owner, broker.ErrKeyBound)
		}
	}
	devices := pool.Bucket([]byte(poolDevices))
	recordDevice(c, pool, d.ID, devices.Get(name), value)
	if err := c.put(devices, name, value); err != nil {
		return err
	}
	for _, id := range before {
		if !slices.Contains(now, id) {
			if err := c.delete(index, id[:]); err != nil {
				return err
			}
		}
	}
	for _, id := range now {
		if !slices.Contains(before, id) {
			if err := c.put(index, bytes.Clone(id[:]), name); err != nil {
				return err
			}
		}
	}
	return nil
}

// recordDevice records what becomes of a device's row, and makes that the newest of its
// history: in the row or, of a deleted device, beside it, so that a device that is made
// again goes on with it.
func recordDevice(c *change, pool *bolt.Bucket, id ident.Device, before, after []byte) uint64 {
	prev, _ := headOf(pool, []byte(id.Name.String()))
	seq := c.recordRow(broker.RecordDevice, id.Pool, id.Name.String(), before, after)
	c.records[len(c.records)-1].Prev = prev
	if after != nil {
		setHead(after, seq)
	}
	return seq
}

// CreateDevice implements broker.Devices. Its first Rev is 1.
func (s *Store) CreateDevice(ctx context.Context, by broker.By, d broker.Device) error {
	what := "create device " + d.ID.String()
	d.Rev = 1
	if _, err := encodeDevice(&d); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.update(ctx, by, what, func(c *change) error {
		pool, err := inPool(c.tx, d.ID.Pool)
		if err != nil {
			return err
		}
		if pool.Bucket([]byte(poolDevices)).Get([]byte(d.ID.Name.String())) != nil {
			return broker.ErrExists
		}
		return writeDevice(c, pool, nil, &d)
	})
}

// Device implements broker.Devices.
func (s *Store) Device(ctx context.Context, id ident.Device) (broker.Device, error) {
	return getRow(ctx, s, deviceRows(), id.Pool, id.Name.String())
}

// ListDevices implements broker.Devices.
func (s *Store) ListDevices(ctx context.Context, pool ident.Pool, after string, limit int) ([]broker.Device, error) {
	if limit < 1 || limit > 1000 {
		return nil, fmt.Errorf("list devices: %w: limit %d, want 1 to 1000", broker.ErrInvalid, limit)
	}
	return listRows(ctx, s, deviceRows(), pool, after, limit)
}

// UpdateDevice implements broker.Devices. change may not give the device another
// name or subject, and must not call the store.
func (s *Store) UpdateDevice(ctx context.Context, by broker.By, id ident.Device, edit func(*broker.Device) error) (d broker.Device, err error) {
	err = s.update(ctx, by, "update device "+id.String(), func(c *change) error {
		old, err := deviceRows().get(c.tx, id.Pool, id.Name.String())
		if err != nil {
			return err
		}
		if d, err = deviceRows().get(c.tx, id.Pool, id.Name.String()); err != nil {
			return err
		}
		if err := edit(&d); err != nil {
			return err
		}
		if err := old.Becomes(&d); err != nil {
			return err
		}
		d.Rev = old.Rev + 1
		pool, err := inPool(c.tx, id.Pool)
		if err != nil {
			return err
		}
		return writeDevice(c, pool, &old, &d)
	})
	if err != nil {
		return broker.Device{}, err
	}
	return detached(&d)
}

// detached gives d as the next reader will see it, and shares nothing with what
// the caller's function put in.
func detached(d *broker.Device) (broker.Device, error) {
	b, err := encodeDevice(d)
	if err != nil {
		return broker.Device{}, err
	}
	return decodeDevice(b)
}

// DeleteDevice implements broker.Devices. The device's sessions can no longer be
// read, even if one of that name is made again; their rows go later, by themselves.
func (s *Store) DeleteDevice(ctx context.Context, by broker.By, id ident.Device) error {
	return s.update(ctx, by, "delete device "+id.String(), func(c *change) error {
		d, err := deviceRows().get(c.tx, id.Pool, id.Name.String())
		if err != nil {
			return err
		}
		pool, err := inPool(c.tx, id.Pool)
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
		last := recordDevice(c, pool, id, devices.Get(name), nil)
		if err := c.put(pool.Bucket([]byte(poolGone)), name, seqKey(last)); err != nil {
			return err
		}
		return c.delete(devices, name)
	})
}

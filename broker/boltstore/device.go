package boltstore

import (
	"context"
	"crypto/sha256"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// kindKey is the kind of the authenticators that no two devices of a pool share.
const kindKey = "key"

// keyHash identifies a public key by the COSE_Key members that make it (kty, crv,
// x, y; RFC 9679, 4), whatever else came with it. What isn't a map of at least kty
// and crv is taken as it is.
func keyHash(key []byte) []byte {
	var all, core map[int64]detcbor.RawMessage
	if detcbor.UnmarshalExtensible(key, &all) == nil {
		core = map[int64]detcbor.RawMessage{}
		for _, label := range []int64{1, -1, -2, -3} {
			if v, ok := all[label]; ok {
				core[label] = v
			}
		}
	}
	if len(core) >= 2 {
		if b, err := detcbor.Marshal(core); err == nil {
			key = b
		}
	}
	h := sha256.Sum256(key)
	return h[:]
}

// keyHashes gives the identities of d's keys.
func keyHashes(d *broker.Device) map[string]bool {
	all := map[string]bool{}
	for _, a := range d.Authenticators {
		if a.Kind == kindKey {
			all[string(keyHash(a.Key))] = true
		}
	}
	return all
}

// writeDevice writes d in the place of old (nil: there was none) and keeps the
// key index; broker.ErrKeyBound when another device has one of its keys.
func writeDevice(c *change, pool *bolt.Bucket, old, d *broker.Device) error {
	value, err := encodeDevice(d)
	if err != nil {
		return err
	}
	name := []byte(d.ID.Name.String())
	index := pool.Bucket([]byte(poolKeys))
	now, before := keyHashes(d), map[string]bool{}
	for h := range now {
		if owner := index.Get([]byte(h)); owner != nil && string(owner) != string(name) {
			return fmt.Errorf("key is device %s's: %w", owner, broker.ErrKeyBound)
		}
	}
	if old != nil {
		before = keyHashes(old)
	}
	if err := c.put(pool.Bucket([]byte(poolDevices)), name, value); err != nil {
		return err
	}
	for h := range before {
		if !now[h] {
			if err := c.delete(index, []byte(h)); err != nil {
				return err
			}
		}
	}
	for h := range now {
		if !before[h] {
			if err := c.put(index, []byte(h), name); err != nil {
				return err
			}
		}
	}
	return nil
}

// CreateDevice implements broker.Devices. Its first Rev is 1.
func (s *Store) CreateDevice(ctx context.Context, by broker.By, d broker.Device) error {
	what := "create device " + d.ID.String()
	d.Rev = 1
	if _, err := encodeDevice(&d); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.update(ctx, what, func(c *change) error {
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
	err = s.update(ctx, "update device "+id.String(), func(c *change) error {
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
		if d.ID != old.ID || d.Subject != old.Subject {
			return fmt.Errorf("%w: a device's name and subject never change", broker.ErrInvalid)
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
	return s.update(ctx, "delete device "+id.String(), func(c *change) error {
		d, err := deviceRows().get(c.tx, id.Pool, id.Name.String())
		if err != nil {
			return err
		}
		pool, err := inPool(c.tx, id.Pool)
		if err != nil {
			return err
		}
		for h := range keyHashes(&d) {
			if err := c.delete(pool.Bucket([]byte(poolKeys)), []byte(h)); err != nil {
				return err
			}
		}
		return deviceRows().delete(c, id.Pool, id.Name.String())
	})
}

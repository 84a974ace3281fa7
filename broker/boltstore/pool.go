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

// keyRows checks and encodes all keys of a pool.
func keyRows(pool ident.Pool, all []broker.SigningKey) ([]keyValue, error) {
	if err := broker.CheckSigningKeys(pool, all); err != nil {
		return nil, err
	}
	out := make([]keyValue, 0, len(all))
	for i := range all {
		value, err := encodeSigningKey(&all[i])
		if err != nil {
			return nil, err
		}
		out = append(out, keyValue{[]byte(all[i].ID), value})
	}
	return out, nil
}

// createPool makes the pool's buckets and rows.
func createPool(c *change, p broker.Pool, keys []broker.SigningKey) error {
	if err := p.Validate(); err != nil {
		return err
	}
	rows, err := keyRows(p.Name, keys)
	if err != nil {
		return err
	}
	pools := c.tx.Bucket([]byte(bucketPools))
	if pools.Bucket([]byte(p.Name.String())) != nil {
		return fmt.Errorf("pool %s: %w", p.Name, broker.ErrExists)
	}
	c.wrote = true
	b, err := pools.CreateBucket([]byte(p.Name.String()))
	if err != nil {
		return err
	}
	for _, sub := range poolBuckets() {
		if _, err := b.CreateBucket([]byte(sub)); err != nil {
			return err
		}
	}
	if _, err := putPool(c, b, nil, p); err != nil {
		return err
	}
	return replaceKeys(c, p.Name, nil, rows)
}

// putPool writes the pool's record, in the place of old's unless that is nil, under a
// revision of its own.
func putPool(c *change, b *bolt.Bucket, old *broker.Pool, p broker.Pool) (rev uint64, err error) {
	if err := p.Validate(); err != nil {
		return 0, err
	}
	if p.Rev, err = nextRev(c); err != nil {
		return 0, err
	}
	value, err := encodePool(&p)
	if err != nil {
		return 0, err
	}
	c.record(entry{Record: broker.Record{Kind: broker.RecordPool, Pool: p.Name, What: broker.WhatOfPool(old, &p), Before: digest(b.Get([]byte(poolRow)))}})
	return p.Rev, c.put(b, []byte(poolRow), value)
}

// nextRev gives a revision that nothing of the store ever had.
func nextRev(c *change) (uint64, error) {
	c.wrote = true
	rev, err := c.tx.Bucket([]byte(bucketPools)).NextSequence()
	if err != nil {
		return 0, fmt.Errorf("number the revision: %w", err)
	}
	return rev, nil
}

func readPool(tx *bolt.Tx, name ident.Pool) (broker.Pool, error) {
	b, err := inPool(tx, name)
	if err != nil {
		return broker.Pool{}, err
	}
	return decodePool(b.Get([]byte(poolRow)))
}

// ListPools gives all pools, by name.
func (s *Store) ListPools(ctx context.Context) (all []broker.Pool, err error) {
	err = s.view(ctx, "list pools", func(tx *bolt.Tx) error {
		pools := tx.Bucket([]byte(bucketPools))
		return pools.ForEachBucket(func(k []byte) error {
			p, err := decodePool(pools.Bucket(k).Get([]byte(poolRow)))
			all = append(all, p)
			return err
		})
	})
	return all, err
}

// DeletePool deletes a pool and all that is in it. Its sessions can no longer be read, even
// if a pool of that name is made again; the sweep deletes their rows later.
func (s *Store) DeletePool(ctx context.Context, by broker.By, name ident.Pool) error {
	return s.update(ctx, by, "delete pool", func(c *change) error {
		b, err := inPool(c.tx, name)
		if err != nil {
			return err
		}
		c.recordRow(broker.RecordPool, name, "", b.Get([]byte(poolRow)), nil)
		if err := c.dropTries(name, ""); err != nil {
			return err
		}
		c.wrote = true
		return c.tx.Bucket([]byte(bucketPools)).DeleteBucket([]byte(name.String()))
	})
}

func getRow[D any](ctx context.Context, s *Store, t row[D], pool ident.Pool, key string) (d D, err error) {
	err = s.view(ctx, "read "+t.what, func(tx *bolt.Tx) (err error) {
		d, err = t.get(tx, pool, key)
		return err
	})
	return d, err
}

func listRows[D any](ctx context.Context, s *Store, t row[D], pool ident.Pool, after string, limit int) (all []D, err error) {
	err = s.view(ctx, "list "+t.what+"s", func(tx *bolt.Tx) (err error) {
		all, err = t.list(tx, pool, after, limit)
		return err
	})
	return all, err
}

// ListSigningKeys gives all keys of a pool, by id.
func (s *Store) ListSigningKeys(ctx context.Context, pool ident.Pool) ([]broker.SigningKey, error) {
	return listRows(ctx, s, signingRows(), pool, "", 0)
}

// ChangeSigningKeys replaces a pool's keys: see broker.SigningKeys.
func (s *Store) ChangeSigningKeys(ctx context.Context, by broker.By, pool ident.Pool, edit func([]broker.SigningKey) ([]broker.SigningKey, error)) error {
	return s.update(ctx, by, "change signing keys", func(c *change) error {
		old, err := signingRows().list(c.tx, pool, "", 0)
		if err != nil {
			return err
		}
		keys, err := edit(slices.Clone(old))
		if err != nil {
			return err
		}
		rows, err := keyRows(pool, keys)
		if err != nil {
			return err
		}
		return replaceKeys(c, pool, old, rows)
	})
}

// replaceKeys writes rows in the place of the old keys, and records which of them changed.
func replaceKeys(c *change, pool ident.Pool, old []broker.SigningKey, rows []keyValue) error {
	b, err := inPool(c.tx, pool)
	if err != nil {
		return err
	}
	b = b.Bucket([]byte(poolSigning))
	stays := map[string]bool{}
	for _, r := range rows {
		stays[string(r.key)] = true
		was := b.Get(r.key)
		if bytes.Equal(was, r.value) {
			continue
		}
		c.recordRow(broker.RecordKey, pool, string(r.key), was, r.value)
		if err := c.put(b, r.key, r.value); err != nil {
			return err
		}
	}
	for _, k := range old {
		if stays[k.ID] {
			continue
		}
		c.recordRow(broker.RecordKey, pool, k.ID, b.Get([]byte(k.ID)), nil)
		if err := c.delete(b, []byte(k.ID)); err != nil {
			return err
		}
	}
	return nil
}

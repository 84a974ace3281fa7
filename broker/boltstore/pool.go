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

type keyValue struct {
	kind       broker.RecordKind
	bucket     string
	key, value []byte
}

// readyIn checks and encodes rows that are to go into one new pool.
func readyIn[D any](t row[D], pool ident.Pool, all []D) ([]keyValue, error) {
	var out []keyValue
	seen := map[string]bool{}
	for i := range all {
		p, key := t.key(&all[i])
		if p != pool {
			return nil, fmt.Errorf("%w: %s %s is of pool %q, not %q", broker.ErrInvalid, t.what, key, p, pool)
		}
		if seen[key] {
			return nil, fmt.Errorf("%w: %s %s comes twice", broker.ErrInvalid, t.what, key)
		}
		seen[key] = true
		value, err := t.ready(&all[i])
		if err != nil {
			return nil, err
		}
		out = append(out, keyValue{t.kind, t.bucket, []byte(key), value})
	}
	return out, nil
}

// CreatePool implements broker.Pools.
func (s *Store) CreatePool(ctx context.Context, by broker.By, p broker.Pool, keys []broker.SigningKey, clients []broker.Client, flows []broker.Flow) error {
	what := "create pool " + p.Name.String()
	rows, err := readyIn(signingRows(), p.Name, keys)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	clientKVs, err := readyIn(clientRows(), p.Name, clients)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	flowKVs, err := readyIn(flowRows(), p.Name, flows)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	record, err := encodePool(&p)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if p.Name.IsZero() {
		return fmt.Errorf("%s: %w: a pool has a name", what, broker.ErrInvalid)
	}
	rows = append(append(rows, clientKVs...), flowKVs...)
	return s.update(ctx, by, what, func(c *change) error { return createPool(c, p.Name, record, rows) })
}

func createPool(c *change, name ident.Pool, record []byte, rows []keyValue) error {
	pools := c.tx.Bucket([]byte(bucketPools))
	if pools.Bucket([]byte(name.String())) != nil {
		return broker.ErrExists
	}
	c.recordRow(broker.RecordPool, name, "", nil, record)
	c.wrote = true
	b, err := pools.CreateBucket([]byte(name.String()))
	if err != nil {
		return err
	}
	for _, sub := range poolBuckets() {
		if _, err := b.CreateBucket([]byte(sub)); err != nil {
			return err
		}
	}
	for _, kv := range rows {
		c.recordRow(kv.kind, name, string(kv.key), nil, kv.value)
		if err := b.Bucket([]byte(kv.bucket)).Put(kv.key, kv.value); err != nil {
			return err
		}
	}
	return b.Put([]byte(poolRow), record)
}

// Pool implements broker.Pools.
func (s *Store) Pool(ctx context.Context, name ident.Pool) (broker.Pool, error) {
	return remembered(ctx, s, settingKey{kind: broker.RecordPool, pool: name}, ownPool, "read pool", func(tx *bolt.Tx) (broker.Pool, error) {
		b, err := inPool(tx, name)
		if err != nil {
			return broker.Pool{}, err
		}
		return decodePool(b.Get([]byte(poolRow)))
	})
}

// ListPools implements broker.Pools.
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

// UpdatePool implements broker.Pools.
func (s *Store) UpdatePool(ctx context.Context, by broker.By, name ident.Pool, edit func(*broker.Pool) error) (p broker.Pool, err error) {
	err = s.update(ctx, by, "update pool "+name.String(), func(c *change) error {
		b, err := inPool(c.tx, name)
		if err != nil {
			return err
		}
		old, err := decodePool(b.Get([]byte(poolRow)))
		if err != nil {
			return err
		}
		if p, err = decodePool(b.Get([]byte(poolRow))); err != nil {
			return err
		}
		if err := edit(&p); err != nil {
			return err
		}
		if err := old.Becomes(&p); err != nil {
			return err
		}
		value, err := encodePool(&p)
		if err != nil {
			return err
		}
		c.recordRow(broker.RecordPool, name, "", b.Get([]byte(poolRow)), value)
		return c.put(b, []byte(poolRow), value)
	})
	if err != nil {
		return broker.Pool{}, err
	}
	return p, nil
}

// DeletePool implements broker.Pools. The rows of the pool's sessions go later,
// by themselves; they can no longer be read, even if a pool of that name is made again.
func (s *Store) DeletePool(ctx context.Context, by broker.By, name ident.Pool) error {
	return s.update(ctx, by, "delete pool", func(c *change) error {
		b, err := inPool(c.tx, name)
		if err != nil {
			return err
		}
		c.recordRow(broker.RecordPool, name, "", b.Get([]byte(poolRow)), nil)
		c.wrote = true
		return c.tx.Bucket([]byte(bucketPools)).DeleteBucket([]byte(name.String()))
	})
}

func putRow[D any](ctx context.Context, by broker.By, s *Store, t row[D], d D, fresh bool) error {
	value, err := t.ready(&d)
	if err != nil {
		return fmt.Errorf("write %s: %w", t.what, err)
	}
	return s.update(ctx, by, "write "+t.what, func(c *change) error { return t.put(c, &d, value, fresh) })
}

func getRow[D any](ctx context.Context, s *Store, t row[D], pool ident.Pool, key string) (d D, err error) {
	err = s.view(ctx, "read "+t.what, func(tx *bolt.Tx) (err error) {
		d, err = t.get(tx, pool, key)
		return err
	})
	return d, err
}

// getSetting is getRow for rows that are kept decoded.
func getSetting[D any](ctx context.Context, s *Store, t row[D], pool ident.Pool, key string, own func(D) D) (D, error) {
	return remembered(ctx, s, settingKey{t.kind, pool, key}, own, "read "+t.what, func(tx *bolt.Tx) (D, error) { return t.get(tx, pool, key) })
}

func listRows[D any](ctx context.Context, s *Store, t row[D], pool ident.Pool, after string, limit int) (all []D, err error) {
	err = s.view(ctx, "list "+t.what+"s", func(tx *bolt.Tx) (err error) {
		all, err = t.list(tx, pool, after, limit)
		return err
	})
	return all, err
}

func deleteRow[D any](ctx context.Context, by broker.By, s *Store, t row[D], pool ident.Pool, key string) error {
	return s.update(ctx, by, "delete "+t.what, func(c *change) error { return t.delete(c, pool, key) })
}

// PutClient implements broker.Clients.
func (s *Store) PutClient(ctx context.Context, by broker.By, c broker.Client) error {
	return putRow(ctx, by, s, clientRows(), c, false)
}

// Client implements broker.Clients.
func (s *Store) Client(ctx context.Context, pool ident.Pool, id string) (broker.Client, error) {
	return getSetting(ctx, s, clientRows(), pool, id, ownClient)
}

// ListClients implements broker.Clients.
func (s *Store) ListClients(ctx context.Context, pool ident.Pool) ([]broker.Client, error) {
	return listRows(ctx, s, clientRows(), pool, "", 0)
}

// DeleteClient implements broker.Clients.
func (s *Store) DeleteClient(ctx context.Context, by broker.By, pool ident.Pool, id string) error {
	return deleteRow(ctx, by, s, clientRows(), pool, id)
}

// PutFlow implements broker.Flows.
func (s *Store) PutFlow(ctx context.Context, by broker.By, f broker.Flow) error {
	return putRow(ctx, by, s, flowRows(), f, false)
}

// Flow implements broker.Flows.
func (s *Store) Flow(ctx context.Context, pool ident.Pool, name string) (broker.Flow, error) {
	return getSetting(ctx, s, flowRows(), pool, name, ownFlow)
}

// ListFlows implements broker.Flows.
func (s *Store) ListFlows(ctx context.Context, pool ident.Pool) ([]broker.Flow, error) {
	return listRows(ctx, s, flowRows(), pool, "", 0)
}

// DeleteFlow implements broker.Flows.
func (s *Store) DeleteFlow(ctx context.Context, by broker.By, pool ident.Pool, name string) error {
	return deleteRow(ctx, by, s, flowRows(), pool, name)
}

// PutHook implements broker.Hooks.
func (s *Store) PutHook(ctx context.Context, by broker.By, h broker.Hook) error {
	return putRow(ctx, by, s, hookRows(), h, false)
}

// Hook implements broker.Hooks.
func (s *Store) Hook(ctx context.Context, pool ident.Pool, name string) (broker.Hook, error) {
	return getRow(ctx, s, hookRows(), pool, name)
}

// ListHooks implements broker.Hooks.
func (s *Store) ListHooks(ctx context.Context, pool ident.Pool) ([]broker.Hook, error) {
	return listRows(ctx, s, hookRows(), pool, "", 0)
}

// DeleteHook implements broker.Hooks.
func (s *Store) DeleteHook(ctx context.Context, by broker.By, pool ident.Pool, name string) error {
	return deleteRow(ctx, by, s, hookRows(), pool, name)
}

// CreateEnrolToken implements broker.EnrolTokens.
func (s *Store) CreateEnrolToken(ctx context.Context, by broker.By, t broker.EnrolToken) error {
	return putRow(ctx, by, s, tokenRows(), t, true)
}

// EnrolToken implements broker.EnrolTokens.
func (s *Store) EnrolToken(ctx context.Context, pool ident.Pool, id string) (broker.EnrolToken, error) {
	return getRow(ctx, s, tokenRows(), pool, id)
}

// UpdateEnrolToken implements broker.EnrolTokens.
func (s *Store) UpdateEnrolToken(ctx context.Context, by broker.By, pool ident.Pool, id string, edit func(*broker.EnrolToken) error) (t broker.EnrolToken, err error) {
	err = s.update(ctx, by, "update enrolment token "+id, func(c *change) error {
		old, err := tokenRows().get(c.tx, pool, id)
		if err != nil {
			return err
		}
		if t, err = tokenRows().get(c.tx, pool, id); err != nil {
			return err
		}
		if err := edit(&t); err != nil {
			return err
		}
		if err := old.Becomes(&t); err != nil {
			return err
		}
		return putToken(c, &t)
	})
	if err != nil {
		return broker.EnrolToken{}, err
	}
	return t, nil
}

// ListEnrolTokens implements broker.EnrolTokens.
func (s *Store) ListEnrolTokens(ctx context.Context, pool ident.Pool) ([]broker.EnrolToken, error) {
	return listRows(ctx, s, tokenRows(), pool, "", 0)
}

// DeleteEnrolToken implements broker.EnrolTokens.
func (s *Store) DeleteEnrolToken(ctx context.Context, by broker.By, pool ident.Pool, id string) error {
	return deleteRow(ctx, by, s, tokenRows(), pool, id)
}

// ListSigningKeys implements broker.SigningKeys.
func (s *Store) ListSigningKeys(ctx context.Context, pool ident.Pool) ([]broker.SigningKey, error) {
	return listRows(ctx, s, signingRows(), pool, "", 0)
}

// ChangeSigningKeys implements broker.SigningKeys.
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
		rows, err := readyIn(signingRows(), pool, keys)
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
	for _, kv := range rows {
		stays[string(kv.key)] = true
		was := b.Get(kv.key)
		if bytes.Equal(was, kv.value) {
			continue
		}
		c.recordRow(kv.kind, pool, string(kv.key), was, kv.value)
		if err := c.put(b, kv.key, kv.value); err != nil {
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

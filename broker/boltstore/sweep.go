package boltstore

import (
	"bytes"
	"context"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Housekeeping goes round each bucket of rows with an end, a piece at a time, and
// deletes in small batches that share commits with everything else.
const (
	sweepRows   = 20_000 // looked at in one go, of each bucket
	sweepBatch  = 256    // deleted in one change
	cleanAfter  = 1024   // sessions deleted before a run of the index is cleaned
	keepCounted = time.Hour
)

// sweepState is where housekeeping is. Only its goroutine touches it; after a
// restart it begins anew.
type sweepState struct {
	at      map[string][]byte // last key looked at, by bucket
	deleted int               // sessions, since the last run was cleaned
	run     []byte            // last run cleaned
}

func (s *Store) keepHouse(ctx context.Context) {
	defer s.workers.Done()
	var tick <-chan time.Time
	if s.opts.SweepEvery > 0 {
		t := time.NewTicker(s.opts.SweepEvery)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.fold:
			// A failure is the next caller's to hear: the writer is broken then.
			_ = s.foldNow(ctx)
		case <-tick:
			_ = s.sweepNow(ctx)
		}
	}
}

// foldNow folds the index's tail if it is long.
func (s *Store) foldNow(ctx context.Context) error {
	if s.stats.tail.Load() < foldAt {
		return nil
	}
	return s.foldAll(ctx)
}

func (s *Store) foldAll(ctx context.Context) error {
	if err := s.update(ctx, "fold the session index", s.foldTail); err != nil {
		return err
	}
	return s.view(ctx, "count the session index", func(tx *bolt.Tx) error {
		s.stats.tail.Store(int64(tailEntries(tx)))
		return nil
	})
}

// sweepNow looks at the next piece of each bucket.
func (s *Store) sweepNow(ctx context.Context) error {
	now := s.opts.Now().Unix()
	for _, bucket := range []string{bucketSessions, bucketSpent, bucketTries} {
		n, err := s.sweepBucket(ctx, bucket, now)
		if err != nil {
			return err
		}
		if bucket == bucketSessions {
			s.sweep.deleted += n
		}
	}
	if s.sweep.deleted < cleanAfter {
		return nil
	}
	s.sweep.deleted -= cleanAfter
	return s.update(ctx, "clean the session index", func(c *change) (err error) {
		s.sweep.run, err = cleanRun(c, s.sweep.run)
		return err
	})
}

func (s *Store) sweepBucket(ctx context.Context, bucket string, now int64) (deleted int, err error) {
	if s.sweep.at == nil {
		s.sweep.at = map[string][]byte{}
	}
	var old [][]byte
	err = s.view(ctx, "look for expired rows", func(tx *bolt.Tx) error {
		cur := tx.Bucket([]byte(bucket)).Cursor()
		k, v := seekAfter(cur, s.sweep.at[bucket])
		for n := 0; n < sweepRows && k != nil; n++ {
			if until, err := rowUntil(v); err != nil {
				return err
			} else if until < now {
				old = append(old, bytes.Clone(k))
			}
			s.sweep.at[bucket] = bytes.Clone(k)
			k, v = cur.Next()
		}
		if k == nil {
			delete(s.sweep.at, bucket) // round again
		}
		return nil
	})
	for len(old) > 0 && err == nil {
		n := min(len(old), sweepBatch)
		err = s.update(ctx, "delete expired rows", func(c *change) error { return deleteExpired(c, bucket, old[:n], now) })
		old, deleted = old[n:], deleted+n
	}
	return deleted, err
}

// deleteExpired looks again: a session may have been refreshed meanwhile.
func deleteExpired(c *change, bucket string, keys [][]byte, now int64) error {
	b := c.tx.Bucket([]byte(bucket))
	for _, k := range keys {
		v := b.Get(k)
		if v == nil {
			continue
		}
		if until, err := rowUntil(v); err != nil || until >= now {
			continue
		}
		if err := c.delete(b, k); err != nil {
			return err
		}
	}
	return nil
}

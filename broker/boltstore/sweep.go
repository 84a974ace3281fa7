package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
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
	clock   broker.PatientClock
	saved   time.Time         // of the clock, in the file
	at      map[string][]byte // last key looked at, by bucket
	deleted int               // sessions, since the last run was cleaned
	run     []byte            // last run cleaned
	folding [][]byte          // what the fold that the writer was last asked for is about
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
		case <-s.ended:
			return
		case <-s.fold:
			// A failure is the next caller's to hear: the writer is broken then.
			_ = s.foldNow(ctx)
		case <-s.reserve.look:
			_ = s.reserve.keep()
		case <-tick:
			_ = s.sweepNow(ctx)
			_ = s.reserve.keep() // where it was never made
		}
	}
}

// foldNow folds the index's tail if it is long.
func (s *Store) foldNow(ctx context.Context) error {
	if !s.stats.tail.long() {
		return nil
	}
	return s.foldAll(ctx)
}

func (s *Store) foldAll(ctx context.Context) error {
	if err := s.tidy(ctx, "fold the session index", s.foldTail); err != nil {
		return err
	}
	s.stats.tail.drop(s.sweep.folding)
	s.sweep.folding = nil
	return s.view(ctx, "count the session index", s.stats.tail.measure)
}

// saveHouse is how far the time that housekeeping believes may be from what the file says
// of it: where a process starts that does not know whether its clock is right.
const saveHouse = time.Hour

// resumeHouse has housekeeping go on from what the file says.
func (s *Store) resumeHouse() error {
	at := s.opts.Now()
	err := s.db.View(func(tx *bolt.Tx) error {
		if saved := marked(tx, keyHouse); saved != 0 {
			at = time.Unix(int64(saved), 0)
			s.sweep.saved = at
		}
		return nil
	})
	s.sweep.clock = broker.ResumeClock(at, s.opts.Elapsed(), 2*saveHouse)
	return err
}

// houseTime gives the time by which rows are forgotten.
func (s *Store) houseTime(ctx context.Context) (time.Time, error) {
	w := &s.sweep
	now := w.clock.Read(s.opts.Now(), s.opts.Elapsed())
	s.stats.doubt.Store(int64(w.clock.Doubt()))
	at := w.clock.At
	if at.Sub(w.saved).Abs() < saveHouse || at.Unix() <= 0 {
		return now, nil
	}
	err := s.tidy(ctx, "save housekeeping's time", func(c *change) error {
		return c.put(c.tx.Bucket([]byte(bucketMeta)), []byte(keyHouse), binary.BigEndian.AppendUint64(nil, uint64(at.Unix())))
	})
	if err == nil {
		w.saved = at
	}
	return now, err
}

// sweepNow looks at the next piece of each bucket.
func (s *Store) sweepNow(ctx context.Context) error {
	now, err := s.houseTime(ctx)
	if err != nil {
		return err
	}
	for _, bucket := range []string{bucketSessions, bucketSpent, bucketTries} {
		n, err := s.sweepBucket(ctx, bucket, now.Unix())
		if err != nil {
			return err
		}
		if bucket == bucketSessions {
			s.sweep.deleted += n
		}
	}
	if err := s.trimJournal(ctx, now); err != nil {
		return err
	}
	s.sweep.deleted += int(s.stats.dropped.Swap(0))
	if s.sweep.deleted < cleanAfter {
		return nil
	}
	s.sweep.deleted -= cleanAfter
	return s.tidy(ctx, "clean the session index", func(c *change) (err error) {
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
		err = s.tidy(ctx, "delete expired rows", func(c *change) error { return deleteExpired(c, bucket, old[:n], now) })
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
		if bucket == bucketSessions {
			c.known.expire(v)
		}
		if err := c.delete(b, k); err != nil {
			return err
		}
	}
	return nil
}

// trimRows is how many rows of the journal one change looks at.
const trimRows = 64

// trimJournal takes records of traffic out of the journal that are older than
// broker.KeepTraffic and, if they are logins, in the session index's runs.
func (s *Store) trimJournal(ctx context.Context, now time.Time) error {
	until := old{before: nanos(now.Add(-broker.KeepTraffic)), now: nanos(now)}
	if err := s.foldOld(ctx, until); err != nil {
		return err
	}
	for {
		some := false
		err := s.view(ctx, "look for old records", func(tx *bolt.Tx) error {
			some = len(oldRows(tx, until)) > 0
			return nil
		})
		if err != nil || !some {
			return err
		}
		if err := s.tidy(ctx, "trim the journal", func(c *change) error { return trim(c, until) }); err != nil {
			return err
		}
	}
}

// old says what is old in the journal: of a time before before. What is of a time after
// now was written when the clock was ahead, and is as old as what follows it.
type old struct{ before, now int64 }

func (o old) is(row []byte) (old, ahead bool) {
	if len(row) < rowHead {
		return true, false
	}
	at := int64(binary.BigEndian.Uint64(row))
	return at < o.before, at > o.now
}

// foldOld folds the journal if the oldest row that is not folded is older than until: it
// is not trimmed before, and where little happens it would never be folded.
func (s *Store) foldOld(ctx context.Context, until old) error {
	fold := false
	err := s.view(ctx, "look for old logins", func(tx *bolt.Tx) error {
		k, v := tx.Bucket([]byte(bucketJournal)).Cursor().Seek(seqKey(marked(tx, keyFolded) + 1))
		old, ahead := until.is(v)
		fold = k != nil && (old || ahead)
		return nil
	})
	if err != nil || !fold {
		return err
	}
	return s.foldAll(ctx)
}

// oldRows gives the next rows of the journal that may be trimmed.
func oldRows(tx *bolt.Tx, until old) (rows []keyValue) {
	folded, sure := marked(tx, keyFolded), 0
	cur := tx.Bucket([]byte(bucketJournal)).Cursor()
	for k, v := cur.Seek(seqKey(marked(tx, keyTrimmed) + 1)); k != nil && sure < trimRows && binary.BigEndian.Uint64(k) <= folded; k, v = cur.Next() {
		old, ahead := until.is(v)
		if !old && !ahead {
			break
		}
		if len(rows) < trimRows {
			rows = append(rows, keyValue{key: bytes.Clone(k), value: bytes.Clone(v)})
		}
		if old { // and so are those before it
			sure = len(rows)
		}
	}
	return rows[:sure]
}

// trim writes the oldest rows that were not trimmed yet without their traffic.
func trim(c *change, until old) error {
	b := c.tx.Bucket([]byte(bucketJournal))
	for _, row := range oldRows(c.tx, until) {
		kept, last, err := withoutTraffic(row)
		if err != nil {
			return err
		}
		if err := c.delete(b, row.key); err != nil {
			return err
		}
		w := rowWriter{at: int64(binary.BigEndian.Uint64(row.value)), put: func(first uint64, v []byte) error { return c.put(b, seqKey(first), v) }}
		for i := range kept {
			if err := w.add(&kept[i]); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
		if err := c.put(c.tx.Bucket([]byte(bucketMeta)), []byte(keyTrimmed), seqKey(last)); err != nil {
			return err
		}
	}
	return nil
}

// withoutTraffic gives the entries of a row that stay, and the Seq of its last entry.
func withoutTraffic(row keyValue) (kept []entry, last uint64, err error) {
	r, err := readRow(row.key, row.value)
	if err != nil {
		return nil, 0, err
	}
	last = r.next
	for {
		more, err := r.more()
		if err != nil || !more {
			return kept, last, err
		}
		e, err := r.entry()
		if err != nil {
			return nil, 0, err
		}
		if last = e.Seq; !e.Traffic() {
			kept = append(kept, e)
		}
	}
}

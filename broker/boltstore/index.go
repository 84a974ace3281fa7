package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/protocol/ident"
)

// The index of sessions by device is made so that a login doesn't pay for it: a
// row keyed by device would rewrite a random page each time. Instead:
//
//   - tail: each batch of logins adds one row with its (subject, session) pairs,
//     in arrival order, in the same transaction; so nothing is to be rebuilt after a crash.
//   - runs: when the tail holds foldAt pairs, housekeeping sorts them into the
//     newest run, one value of sorted pairs; a full run is left alone and a new one begun.
//
// A lookup reads the tail and searches each run. Pairs of purged sessions are
// harmless, because the session's row has the last word; housekeeping drops them later.
const (
	entrySize = 2 * len(ident.UUID{})
	foldAt    = 8192
	fullRun   = 65536 // entries: 2 MiB
)

// tailEntries counts the pairs in the tail.
func tailEntries(tx *bolt.Tx) int {
	n := 0
	for cur, k, v := firstOf(tx, bucketTail); k != nil; k, v = cur.Next() {
		n += len(v) / entrySize
	}
	return n
}

func firstOf(tx *bolt.Tx, bucket string) (cur *bolt.Cursor, k, v []byte) {
	cur = tx.Bucket([]byte(bucket)).Cursor()
	k, v = cur.First()
	return cur, k, v
}

// sessionsOf gives the ids of a device's sessions, newest first; some may be gone.
func sessionsOf(tx *bolt.Tx, subject ident.UUID) []ident.UUID {
	var ids []ident.UUID
	for cur, k, v := firstOf(tx, bucketTail); k != nil; k, v = cur.Next() {
		for i := 0; i+entrySize <= len(v); i += entrySize {
			if bytes.Equal(v[i:i+len(subject)], subject[:]) {
				ids = append(ids, ident.UUID(v[i+len(subject):i+entrySize]))
			}
		}
	}
	for cur, k, v := firstOf(tx, bucketRuns); k != nil; k, v = cur.Next() {
		n := len(v) / entrySize
		for i := sort.Search(n, func(i int) bool { return bytes.Compare(entry(v, i)[:len(subject)], subject[:]) >= 0 }); i < n; i++ {
			if e := entry(v, i); bytes.Equal(e[:len(subject)], subject[:]) {
				ids = append(ids, ident.UUID(e[len(subject):]))
				continue
			}
			break
		}
	}
	slices.SortFunc(ids, func(a, b ident.UUID) int { return bytes.Compare(b[:], a[:]) })
	return slices.Compact(ids)
}

func entry(v []byte, i int) []byte { return v[i*entrySize : (i+1)*entrySize] }

// foldTail moves the tail into the newest run.
func (s *Store) foldTail(c *change) error {
	var rows [][]byte
	var pairs [][]byte
	for cur, k, v := firstOf(c.tx, bucketTail); k != nil; k, v = cur.Next() {
		rows = append(rows, bytes.Clone(k))
		pairs = appendPairs(pairs, v)
	}
	if len(pairs) == 0 {
		return nil
	}
	runs := c.tx.Bucket([]byte(bucketRuns))
	key, last := runs.Cursor().Last()
	if key == nil || len(last)/entrySize >= fullRun {
		key = rows[0]
	} else {
		key = bytes.Clone(key)
		pairs = appendPairs(pairs, last)
	}
	if err := putRun(c, runs, key, pairs); err != nil {
		return err
	}
	tail := c.tx.Bucket([]byte(bucketTail))
	for _, k := range rows {
		if err := c.delete(tail, k); err != nil {
			return err
		}
	}
	return nil
}

// appendPairs copies the entries of a row.
func appendPairs(pairs [][]byte, v []byte) [][]byte {
	v = bytes.Clone(v)
	for i := range len(v) / entrySize {
		pairs = append(pairs, entry(v, i))
	}
	return pairs
}

func putRun(c *change, runs *bolt.Bucket, key []byte, pairs [][]byte) error {
	slices.SortFunc(pairs, bytes.Compare)
	pairs = slices.CompactFunc(pairs, bytes.Equal)
	if len(pairs) == 0 {
		return c.delete(runs, key)
	}
	return c.put(runs, key, bytes.Join(pairs, nil))
}

// cleanRun drops what is gone from the first run behind after, and gives that
// run's key, nil when there is none.
func cleanRun(c *change, after []byte) ([]byte, error) {
	runs, sessions := c.tx.Bucket([]byte(bucketRuns)), c.tx.Bucket([]byte(bucketSessions))
	key, v := seekAfter(runs.Cursor(), after)
	if key == nil {
		return nil, nil
	}
	key = bytes.Clone(key)
	var live [][]byte
	for _, e := range appendPairs(nil, v) {
		if sessions.Get(e[len(ident.UUID{}):]) != nil {
			live = append(live, e)
		}
	}
	if len(live)*entrySize == len(v) {
		return key, nil
	}
	return key, putRun(c, runs, key, live)
}

// untilRow and rowUntil: rows that may go begin with the second (Unix) when.
func untilRow(t interface{ Unix() int64 }) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(max(t.Unix(), 0)))
}

var errShortRow = errors.New("row is shorter than its end time")

func rowUntil(v []byte) (int64, error) {
	if len(v) < 8 {
		return 0, fmt.Errorf("%w: %w", ErrDamaged, errShortRow)
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

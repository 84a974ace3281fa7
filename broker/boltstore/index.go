package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/protocol/ident"
)

// The index of sessions by device is made so that a login doesn't pay for it: a
// row keyed by device would rewrite a random page each time. Instead:
//
//   - the journal: each batch's rows name the sessions and subjects of its logins, in
//     arrival order, in the same transaction; so nothing is to be rebuilt after a crash.
//   - runs: when the journal has foldAt logins that are in no run, or foldRecords records
//     behind those that were looked through, housekeeping sorts the logins into the newest
//     run, one value of sorted pairs; a full run is left alone and a new one begun.
//     keyFolded says how far that has come.
//
// A lookup, and opening the store, reads the journal's newest part, whatever kind of
// traffic made it; a lookup then searches each run. Pairs of purged
// sessions are harmless, because the session's row has the last word; housekeeping
// drops them later.
const (
	entrySize = 2 * len(ident.UUID{})
	foldAt    = 8192
	fullRun   = 65536 // entries: 2 MiB
	// foldRecords is several times foldAt: a device refreshes more often than it logs in.
	foldRecords = 4 * foldAt
)

// marked gives the Seq that a key of bucketMeta holds, 0 if none.
func marked(tx *bolt.Tx, key string) uint64 {
	if v := tx.Bucket([]byte(bucketMeta)).Get([]byte(key)); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// unfolded calls f with each login of the journal that is in no run yet.
func unfolded(tx *bolt.Tx, f func(session, subject []byte)) error {
	folded := marked(tx, keyFolded)
	cur := tx.Bucket([]byte(bucketJournal)).Cursor()
	for k, v := cur.Seek(seqKey(folded + 1)); k != nil; k, v = cur.Next() {
		r, err := readRow(k, v)
		if err != nil {
			return err
		}
		for {
			more, err := r.more()
			if err != nil {
				return err
			}
			if !more {
				break
			}
			if session, subject, ok := r.login(); ok {
				f(session, subject)
			}
		}
	}
	return nil
}

// A tail is the part of the journal that is not folded yet: how much it is, and the
// sessions that its logins began. The latter is for the writer: it may know of logins that were
// folded a moment ago, and of more than a reader's older transaction sees.
type tail struct {
	logins, records atomic.Int64

	mu sync.Mutex                  // guards of
	of map[ident.UUID][]ident.UUID // by the subject of their device
}

// sessions gives those of a device.
func (l *tail) sessions(subject ident.UUID) []ident.UUID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.of[subject])
}

// add takes in what was committed.
func (l *tail) add(records []entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range records {
		if e := &records[i]; !e.subject.IsZero() {
			l.put(e.subject, e.Session)
		}
	}
}

func (l *tail) put(subject, session ident.UUID) {
	if l.of == nil {
		l.of = map[ident.UUID][]ident.UUID{}
	}
	l.of[subject] = append(l.of[subject], session)
}

// drop forgets what was folded: pairs of subject and session.
func (l *tail) drop(pairs [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range pairs {
		subject, session := ident.UUID(p[:len(ident.UUID{})]), ident.UUID(p[len(ident.UUID{}):])
		left := slices.DeleteFunc(l.of[subject], func(id ident.UUID) bool { return id == session })
		if l.of[subject] = left; len(left) == 0 {
			delete(l.of, subject)
		}
	}
}

// fill takes in what is in the file that is being opened.
func (l *tail) fill(tx *bolt.Tx) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return unfolded(tx, func(session, subject []byte) { l.put(ident.UUID(subject), ident.UUID(session)) })
}

// long reports whether it is to be folded.
func (l *tail) long() bool { return l.logins.Load() >= foldAt || l.records.Load() >= foldRecords }

// measure counts it.
func (l *tail) measure(tx *bolt.Tx) error {
	logins := 0
	if err := unfolded(tx, func(_, _ []byte) { logins++ }); err != nil {
		return err
	}
	l.logins.Store(int64(logins))
	l.records.Store(int64(tx.Bucket([]byte(bucketJournal)).Sequence() - marked(tx, keyFolded)))
	return nil
}

func firstOf(tx *bolt.Tx, bucket string) (cur *bolt.Cursor, k, v []byte) {
	cur = tx.Bucket([]byte(bucket)).Cursor()
	k, v = cur.First()
	return cur, k, v
}

// sessionsOf gives the ids of a device's sessions, newest first; some may be gone.
func sessionsOf(tx *bolt.Tx, subject ident.UUID) ([]ident.UUID, error) {
	var ids []ident.UUID
	err := unfolded(tx, func(session, of []byte) {
		if bytes.Equal(of, subject[:]) {
			ids = append(ids, ident.UUID(session))
		}
	})
	if err != nil {
		return nil, err
	}
	ids = append(ids, inRuns(tx, subject)...)
	slices.SortFunc(ids, func(a, b ident.UUID) int { return bytes.Compare(b[:], a[:]) })
	return slices.Compact(ids), nil
}

// inRuns gives those of a device's sessions that are folded.
func inRuns(tx *bolt.Tx, subject ident.UUID) (ids []ident.UUID) {
	for cur, k, v := firstOf(tx, bucketRuns); k != nil; k, v = cur.Next() {
		n := len(v) / entrySize
		for i := sort.Search(n, func(i int) bool { return bytes.Compare(pair(v, i)[:len(subject)], subject[:]) >= 0 }); i < n; i++ {
			if e := pair(v, i); bytes.Equal(e[:len(subject)], subject[:]) {
				ids = append(ids, ident.UUID(e[len(subject):]))
				continue
			}
			break
		}
	}
	return ids
}

func pair(v []byte, i int) []byte { return v[i*entrySize : (i+1)*entrySize] }

// foldTail sorts the journal's logins that are in no run into the newest one.
func (s *Store) foldTail(c *change) error {
	logins := int(s.stats.tail.logins.Load())
	pairs, all := make([][]byte, 0, logins), make([]byte, 0, logins*entrySize)
	s.sweep.folding = make([][]byte, 0, logins)
	err := unfolded(c.tx, func(session, subject []byte) {
		begin := len(all)
		all = append(append(all, subject...), session...)
		pair := all[begin:len(all):len(all)]
		if s.sweep.folding = append(s.sweep.folding, pair); c.get(bucketSessions, session) != nil { // not dropped meanwhile
			pairs = append(pairs, pair)
		}
	})
	if err != nil {
		return err
	}
	folded := seqKey(c.tx.Bucket([]byte(bucketJournal)).Sequence())
	if err := c.put(c.tx.Bucket([]byte(bucketMeta)), []byte(keyFolded), folded); err != nil || len(pairs) == 0 {
		return err
	}
	runs := c.tx.Bucket([]byte(bucketRuns))
	key, last := runs.Cursor().Last()
	if key == nil || len(last)/entrySize >= fullRun {
		key = folded
	} else {
		key = bytes.Clone(key)
		pairs = appendPairs(pairs, last)
	}
	return putRun(c, runs, key, pairs)
}

// appendPairs copies the entries of a row.
func appendPairs(pairs [][]byte, v []byte) [][]byte {
	v = bytes.Clone(v)
	for i := range len(v) / entrySize {
		pairs = append(pairs, pair(v, i))
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

package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// record adds a record of the change that runs, and gives its Seq. It says who
// writes and leaves the time to the batch.
func (c *change) record(e entry) uint64 {
	c.seq++
	e.Seq, e.By = c.seq, c.by
	c.records = append(c.records, e)
	return e.Seq
}

// recordRow is record for a row of a pool (zero: of none) that was there as before (nil:
// not) and now is as after (nil: no more).
func (c *change) recordRow(kind broker.RecordKind, pool ident.Pool, subject string, before, after []byte) uint64 {
	e := entry{Record: broker.Record{Kind: kind, Pool: pool, Subject: subject, What: broker.WhatUpdate, Before: digest(before)}}
	switch {
	case before == nil:
		e.What = broker.WhatCreate
	case after == nil:
		e.What = broker.WhatDelete
	}
	return c.record(e)
}

// digest is the SHA-256 of a row, nil when there is none.
func digest(row []byte) []byte {
	if row == nil {
		return nil
	}
	h := sha256.Sum256(row)
	return h[:]
}

// writeJournal writes what a batch's changes recorded.
func (s *Store) writeJournal(c *change) error {
	if len(c.records) == 0 {
		return nil
	}
	b := c.tx.Bucket([]byte(bucketJournal))
	b.FillPercent = appendFill
	w := rowWriter{at: nanos(s.opts.Now()), room: rowHead + len(c.records)*entryRoom, put: func(first uint64, row []byte) error { return b.Put(seqKey(first), row) }}
	for i := range c.records {
		if err := w.add(&c.records[i]); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
	}
	if err := w.flush(); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return b.SetSequence(c.seq)
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

// seekRecord moves to the row that has, or had, the record of that Seq; to the first
// behind it if there is none.
func seekRecord(cur *bolt.Cursor, seq uint64) (k, v []byte) {
	want := seqKey(seq)
	if k, v = cur.Seek(want); bytes.Equal(k, want) {
		return k, v
	}
	if k == nil {
		k, v = cur.Last()
	} else {
		k, v = cur.Prev()
	}
	if k == nil {
		return cur.First()
	}
	return k, v
}

// Since gives the records above after, up to limit: see broker.Journal. The Catalog forgets
// what they are about first, whoever wrote it: a reader may see a commit before its writer
// knows of it, and what he then reads is not from before.
func (s *Store) Since(ctx context.Context, after uint64, limit int) (all []broker.Record, err error) {
	if err := broker.CheckLimit(limit); err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	err = s.view(ctx, "read the journal", func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucketJournal))
		if after >= b.Sequence() {
			return nil
		}
		all = make([]broker.Record, 0, min(uint64(limit), b.Sequence()-after))
		cur := b.Cursor()
		for k, v := seekRecord(cur, after+1); k != nil && len(all) < limit; k, v = cur.Next() {
			r, err := readRow(k, v)
			if err != nil {
				return err
			}
			if all, err = r.appendTo(all, after, limit); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range all {
		s.Forget(&all[i])
	}
	return all, err
}

// appendTo appends the row's records above after, until there are limit.
func (r *rowReader) appendTo(all []broker.Record, after uint64, limit int) ([]broker.Record, error) {
	for len(all) < limit {
		more, err := r.more()
		if err != nil || !more {
			return all, err
		}
		e, err := r.entry()
		if err != nil {
			return all, err
		}
		if e.Seq > after {
			all = append(all, e.Record)
		}
	}
	return all, nil
}

// Newest gives the number of the last record and what it comes to: see broker.Journal.
func (s *Store) Newest(ctx context.Context) (last, sum uint64, err error) {
	if last, sum, ok := s.newestHere(ctx); ok {
		return last, sum, nil
	}
	err = s.view(ctx, "read the journal's newest record", func(tx *bolt.Tx) error {
		last = tx.Bucket([]byte(bucketJournal)).Sequence()
		sum = sumOf(tx, last)
		return nil
	})
	return last, sum, err
}

// sumOf is what a record comes to: a sum of the beginning of its row, which has the time of its
// batch in nanoseconds; 0 without a row.
func sumOf(tx *bolt.Tx, n uint64) uint64 {
	b := tx.Bucket([]byte(bucketJournal))
	k, row := seekRecord(b.Cursor(), n)
	if k == nil || n > b.Sequence() {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(k) // never fails
	_, _ = h.Write(row[:min(len(row), summed)])
	return h.Sum64() >> 1 // our CBOR has no integers above
}

// summed is how many bytes of a row are summed: more than its head, and few beside reading it.
const summed = 64

// Last gives the Seq of the newest record, 0 if there has been none.
func (s *Store) Last(ctx context.Context) (last uint64, err error) {
	if last, _, ok := s.newestHere(ctx); ok {
		return last, nil
	}
	err = s.view(ctx, "read the journal's end", func(tx *bolt.Tx) error {
		last = tx.Bucket([]byte(bucketJournal)).Sequence()
		return nil
	})
	return last, err
}

// newestHere is Newest without a transaction, for the handle that opened the file: each exchange
// begins with it. It is false where a transaction has to tell.
func (s *Store) newestHere(ctx context.Context) (last, sum uint64, ok bool) {
	if s.second || ctx.Err() != nil || s.isOver() {
		return 0, 0, false
	}
	s.growth.mu.Lock()
	defer s.growth.mu.Unlock()
	return s.growth.last, s.growth.sum, true
}

// recordAt gives the record of that Seq, and false when it has gone.
func recordAt(tx *bolt.Tx, seq uint64) (broker.Record, bool, error) {
	k, v := seekRecord(tx.Bucket([]byte(bucketJournal)).Cursor(), seq)
	if k == nil {
		return broker.Record{}, false, nil
	}
	r, err := readRow(k, v)
	if err != nil {
		return broker.Record{}, false, err
	}
	for {
		more, err := r.more()
		if err != nil || !more || r.seq > seq {
			return broker.Record{}, false, err
		}
		e, err := r.entry()
		if err != nil {
			return broker.Record{}, false, err
		}
		if e.Seq == seq {
			return e.Record, true, nil
		}
	}
}

// History gives the records of one device: see broker.Journal. It follows the chain of
// records that begins in the device's row, and adds what the rows of its sessions tell.
func (s *Store) History(ctx context.Context, id ident.Device, before uint64, limit int) (all []broker.Record, err error) {
	what := "history of " + id.String()
	if err := broker.CheckLimit(limit); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	err = s.view(ctx, what, func(tx *bolt.Tx) error {
		pool, err := inPool(tx, id.Pool)
		if err != nil {
			return err
		}
		name := []byte(id.Name.String())
		row := pool.Bucket([]byte(poolDevices)).Get(name)
		head, found := headOf(pool, name, row)
		if !found {
			return fmt.Errorf("device: %w", broker.ErrNotFound)
		}
		if all, err = chain(tx, head, before, limit); err != nil {
			return err
		}
		traces, err := tracesOf(tx, row, before, limit)
		all = append(all, traces...)
		return err
	})
	slices.SortFunc(all, func(a, b broker.Record) int { return cmp.Compare(b.Seq, a.Seq) })
	return all[:min(len(all), limit)], err
}

// chain gives up to limit records below before (0: all), from head back.
func chain(tx *bolt.Tx, head, before uint64, limit int) (all []broker.Record, err error) {
	for seq := head; seq != 0 && len(all) < limit; {
		r, ok, err := recordAt(tx, seq)
		if err != nil {
			return nil, err
		}
		if !ok || r.Prev >= seq {
			return nil, fmt.Errorf("%w: record %d: %w", ErrDamaged, seq, errRow)
		}
		if before == 0 || seq < before {
			all = append(all, r)
		}
		seq = r.Prev
	}
	return all, nil
}

// A trace is a record that a session's row leads to.
type trace struct {
	seq uint64
	id  ident.UUID
	row []byte
	end bool // it is the session's end by its device, not its login
}

// tracesOf gives the records that the sessions lead to which are left of a device's row:
// their logins, and their ends by the device itself, unless those have gone.
func tracesOf(tx *bolt.Tx, device []byte, before uint64, limit int) (all []broker.Record, err error) {
	traces, err := findTraces(tx, device, before)
	if err != nil {
		return nil, err
	}
	for _, t := range traces {
		if len(all) == limit {
			break
		}
		r, ok, err := recordAt(tx, t.seq)
		if err != nil {
			return nil, err
		}
		if !ok && t.end {
			continue
		}
		if !ok {
			if r, err = t.login(); err != nil {
				return nil, err
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// findTraces finds the traces below before (0: all), newest first.
func findTraces(tx *bolt.Tx, device []byte, before uint64) (all []trace, err error) {
	if device == nil {
		return nil, nil
	}
	_, subject, err := deviceHead(device)
	if err != nil {
		return nil, err
	}
	ids, err := sessionsOf(tx, subject)
	if err != nil {
		return nil, err
	}
	sessions := tx.Bucket([]byte(bucketSessions))
	for _, id := range ids {
		v := sessions.Get(id[:])
		if v == nil {
			continue // purged; the index lags
		}
		seqs, err := seqsOf(v)
		if err != nil {
			return nil, err
		}
		for _, t := range []trace{{seq: seqs.login, id: id, row: v}, {seq: seqs.ended, id: id, row: v, end: true}} {
			if t.seq != 0 && (before == 0 || t.seq < before) {
				all = append(all, t)
			}
		}
	}
	slices.SortFunc(all, func(a, b trace) int { return cmp.Compare(b.seq, a.seq) })
	return all, nil
}

// login makes a login's record that has gone from the journal, of what its session's row says.
func (t *trace) login() (broker.Record, error) {
	x, err := decodeSession(t.id, t.row)
	if err != nil {
		return broker.Record{}, err
	}
	return broker.Record{Seq: t.seq, At: x.Created, By: broker.By{Actor: broker.DeviceActor(x.Device)}, Kind: broker.RecordSession,
		Pool: x.Device.Pool, Subject: x.Device.Name.String(), What: broker.WhatOfLogin(&x), Session: t.id}, nil
}

// Append records events that are no writes: see broker.Journal.
func (s *Store) Append(ctx context.Context, by broker.By, events []broker.Event) error {
	const what = "record events"
	if err := broker.CheckEvents(events); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	strangers := slices.ContainsFunc(events, func(e broker.Event) bool { return e.Kind != broker.RecordConnection })
	return during(what, s.submit(ctx, &request{by: by, sums: strangers, do: func(c *change) error {
		for _, e := range events {
			x := entry{Record: broker.Record{Kind: cmp.Or(e.Kind, broker.RecordRefusal), Pool: e.Pool, Subject: e.Subject, What: e.What, Count: e.Count}}
			if err := recordEvent(c, x); err != nil {
				return err
			}
		}
		return nil
	}}))
}

// recordEvent records e: what was done with a device's connections in that device's history, if
// the device is still there.
func recordEvent(c *change, e entry) error {
	if d := e.Device(); e.Kind == broker.RecordConnection && !d.IsZero() {
		switch _, _, _, err := knownDevice(c.tx, d); {
		case err == nil:
			return recordInHistory(c, e)
		case !errors.Is(err, broker.ErrNotFound):
			return err
		}
	}
	c.record(e)
	return nil
}

// A growth tells those that wait of new records.
type growth struct {
	mu   sync.Mutex // guards the fields below
	last uint64
	sum  uint64        // of that record: sumOf
	next chan struct{} // closed at the next record; nil: nobody waits
}

// reached notes the newest record and its sum, which changes when its row is written anew.
func (g *growth) reached(last, sum uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if last == g.last {
		g.sum = sum
	}
	if last <= g.last {
		return
	}
	g.last, g.sum = last, sum
	if g.next != nil {
		close(g.next)
		g.next = nil
	}
}

// above reports whether there is a record above after; if not, it gives what is
// closed when there is a further one.
func (g *growth) above(after uint64) (bool, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last > after {
		return true, nil
	}
	if g.next == nil {
		g.next = make(chan struct{})
	}
	return false, g.next
}

// pollEvery is how often another handle than the first looks for what others wrote.
const pollEvery = 500 * time.Millisecond

// Await waits for a record above after: see broker.Journal. The handle that opened the
// file is told of commits; other handles look for them, as other replicas would.
func (s *Store) Await(ctx context.Context, after uint64) error {
	for {
		ok, err := s.look(ctx, after)
		if err != nil {
			return fmt.Errorf("wait for the journal: %w", err)
		}
		if ok {
			return nil
		}
	}
}

// look waits for a moment at which there may be a record above after, and reports
// whether there is.
func (s *Store) look(ctx context.Context, after uint64) (bool, error) {
	var grown <-chan struct{}
	var tick <-chan time.Time
	if s.second {
		if last, err := s.Last(ctx); err != nil || last > after {
			return err == nil, err
		}
		t := time.NewTimer(pollEvery)
		defer t.Stop()
		tick = t.C
	} else {
		var ok bool
		if ok, grown = s.growth.above(after); ok {
			return true, nil
		}
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-s.over:
		return false, ErrClosed
	case <-s.ended:
		return false, ErrClosed
	case <-grown:
	case <-tick:
	}
	return false, nil
}

package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
)

// maxBatch is how many changes one transaction takes at most.
const maxBatch = 1024

// A request is one change on its way through the writer.
type request struct {
	do      func(*change) error
	traffic bool // it leaves alone what Store.settings remembers
	state   atomic.Int32
	err     error
	done    chan struct{}
}

// A request's states: its caller may still take it back; the writer has it.
const (
	waiting int32 = iota
	taken
	withdrawn
)

// A change is what a closure writes with: one bbolt transaction, shared by a batch.
// Closures check before they write; one that fails after a write costs its
// batch a second run without it.
type change struct {
	tx       *bolt.Tx
	wrote    bool
	settings bool   // the batch may write what Store.settings remembers
	fresh    []byte // index entries of this batch's new sessions
}

func (c *change) put(b *bolt.Bucket, key, value []byte) error {
	c.wrote = true
	return b.Put(key, value)
}

func (c *change) delete(b *bolt.Bucket, key []byte) error {
	c.wrote = true
	return b.Delete(key)
}

// update runs do in the writer and returns when what it wrote is durable. When
// ctx ends first, nothing was or will be written. do may run more than once; only
// its last run counts. It must not call the store, nor end the goroutine (t.Fatal).
func (s *Store) update(ctx context.Context, what string, do func(*change) error) error {
	return s.submit(ctx, what, &request{do: do, done: make(chan struct{})})
}

// updateTraffic is update for what devices cause all the time, and which writes no
// pool, client or flow.
func (s *Store) updateTraffic(ctx context.Context, what string, do func(*change) error) error {
	return s.submit(ctx, what, &request{do: do, traffic: true, done: make(chan struct{})})
}

func (s *Store) submit(ctx context.Context, what string, r *request) error {
	if err := s.await(ctx, r); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (s *Store) await(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.enqueue(ctx, r); err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	if r.state.CompareAndSwap(waiting, withdrawn) {
		return ctx.Err()
	}
	<-r.done // it is being written: say what became of it
	return r.err
}

func (s *Store) enqueue(ctx context.Context, r *request) error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return ErrClosed
	}
	select {
	case s.queue <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writer: it takes whatever waits and commits it together. While
// one batch is being synced the next one gathers, so that the batch size follows the load.
func (s *Store) write() {
	defer s.workers.Done()
	var broken error
	batch := make([]*request, 0, maxBatch)
	for first := range s.queue {
		batch = s.gather(append(batch[:0], first))
		if broken == nil {
			broken = s.commit(batch)
		} else {
			fail(batch, broken)
		}
		clear(batch)
	}
}

// gather takes what waits, and drops what was withdrawn.
func (s *Store) gather(batch []*request) []*request {
	live := batch[:0]
	for r := batch[0]; r != nil; {
		if r.state.CompareAndSwap(waiting, taken) {
			live = append(live, r)
		}
		if len(live) == maxBatch {
			break
		}
		if r = s.poll(); r == nil {
			// Whoever can run may be about to bring more, and a commit costs the
			// same for many as for one. On an idle machine this takes no time.
			runtime.Gosched()
			r = s.poll()
		}
	}
	return live
}

// poll gives the next request, nil if none waits.
func (s *Store) poll() *request {
	select {
	case r := <-s.queue:
		return r
	default:
		return nil
	}
}

// commit writes a batch and tells each caller. Its error means that the file's
// state is unknown.
func (s *Store) commit(batch []*request) error {
	for len(batch) > 0 {
		spoiler, broken := s.tryCommit(batch)
		if spoiler < 0 {
			return broken
		}
		close(batch[spoiler].done)
		batch = append(batch[:spoiler], batch[spoiler+1:]...)
		if broken != nil {
			fail(batch, broken)
			return broken
		}
	}
	return nil
}

// tryCommit runs the batch in one transaction. It returns the index of a change
// that failed after it had written something, in which case nothing was committed;
// -1 when every caller has been told.
func (s *Store) tryCommit(batch []*request) (spoiler int, broken error) {
	tx, err := s.db.Begin(true)
	if err != nil {
		fail(batch, err)
		return -1, nil
	}
	c := &change{tx: tx}
	changes := 0
	for i, r := range batch {
		c.wrote = false
		kept := len(c.fresh)
		if r.err = run(r.do, c); r.err == nil {
			changes++
			c.settings = c.settings || !r.traffic
			continue
		}
		c.fresh = c.fresh[:kept]
		if c.wrote {
			return i, rollback(tx)
		}
	}
	if err := s.finish(c, changes); err != nil {
		if rb := rollback(tx); rb != nil {
			err = errors.Join(err, rb)
		}
		failPassed(batch, err)
		return -1, nil
	}
	if changes == 0 {
		broken = rollback(tx)
	} else if err := s.commitTx(tx); err != nil {
		failPassed(batch, err)
		if errors.Is(err, ErrBroken) {
			broken = err
		}
		return -1, broken
	}
	s.count(c, changes)
	if c.settings {
		s.settings.age.Add(1)
	}
	for _, r := range batch {
		close(r.done)
	}
	return -1, broken
}

// commitTx commits. When the disk is full and the file's head still points to what
// was before, nothing has happened: broker.ErrFull. Any other failure is ErrBroken.
func (s *Store) commitTx(tx *bolt.Tx) error {
	id, head := tx.ID(), 0
	err := tx.Commit()
	if err == nil {
		return nil
	}
	seen := s.db.View(func(now *bolt.Tx) error { head = now.ID(); return nil })
	if seen == nil && head < id && isFull(err) {
		return fmt.Errorf("%w: %w", broker.ErrFull, err)
	}
	return fmt.Errorf("%w: %w", ErrBroken, err)
}

// isFull tells the errors of a disk, a quota or a limit on a file's size that is
// used up. bbolt keeps of some errors no more than the text.
func isFull(err error) bool {
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) || strings.Contains(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}

// finish writes what a batch writes once, and asks whether it may be committed.
func (s *Store) finish(c *change, changes int) error {
	if changes == 0 {
		return nil
	}
	if len(c.fresh) > 0 {
		if err := appendTail(c.tx, c.fresh); err != nil {
			return err
		}
	}
	if s.opts.Faults != nil {
		return s.opts.Faults.BeforeCommit(changes)
	}
	return nil
}

func (s *Store) count(c *change, changes int) {
	if changes > 0 {
		s.stats.commits.Add(1)
		s.stats.changes.Add(int64(changes))
	}
	if s.stats.tail.Add(int64(len(c.fresh)/entrySize)) >= foldAt {
		select {
		case s.fold <- struct{}{}:
		default:
		}
	}
}

// run keeps a panic of a caller's function from ending all other callers' writes.
func run(do func(*change) error, c *change) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.wrote = true // who knows
			err = fmt.Errorf("change panicked: %v", r)
		}
	}()
	return do(c)
}

func rollback(tx *bolt.Tx) error {
	if err := tx.Rollback(); err != nil {
		return fmt.Errorf("%w: roll back: %w", ErrBroken, err)
	}
	return nil
}

// fail tells every caller of the batch that its change failed.
func fail(batch []*request, err error) {
	for _, r := range batch {
		r.err = err
		close(r.done)
	}
}

// failPassed is fail that leaves the callers that failed before their own errors.
func failPassed(batch []*request, err error) {
	for _, r := range batch {
		if r.err == nil {
			r.err = err
		}
		close(r.done)
	}
}

// appendTail keeps a batch's index entries as one row in arrival order.
func appendTail(tx *bolt.Tx, entries []byte) error {
	b := tx.Bucket([]byte(bucketTail))
	seq, err := b.NextSequence()
	if err != nil {
		return fmt.Errorf("number the index's row: %w", err)
	}
	b.FillPercent = appendFill
	return b.Put(binary.BigEndian.AppendUint64(nil, seq), entries)
}

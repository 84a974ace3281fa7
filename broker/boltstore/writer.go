package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
)

// maxBatch is how many changes one transaction takes at most.
const maxBatch = 1024

// A commit costs some 250 us of CPU, nearly the same for many changes as for one, and two syncs.
// So where several write at a time, but few, a batch is kept open for a while for those that are on their
// way, as PostgreSQL's commit_delay does. Who writes alone never waits.
const (
	gatherFor = 2 * time.Millisecond
	manyWrite = 32 // changes, of which each has little of what a commit costs
)

// A request is one change on its way through the writer.
type request struct {
	do    func(*change) error
	by    broker.By
	sums  bool   // of events that anybody may bring about
	house bool   // housekeeping: it changes nothing that a reader could see, and records nothing
	from  *Store // the handle that asks
	state atomic.Int32
	err   error
	done  chan struct{}
	// first and end are where its records are among the batch's.
	first, end int
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
	tx      *bolt.Tx
	cursors map[string]*bolt.Cursor // that get looks with
	tail    *tail
	by      broker.By // who asks for the change that runs
	wrote   bool
	untold  bool     // it wrote a row of which the journal does not tell
	records []entry  // the batch's
	seq     uint64   // of the last of them or, before it, of the journal's last
	logins  int      // among them
	dropped [][]byte // pairs of subject and session, of the batch
	known   *known
}

// get gives a row of a top-level bucket, nil if there is none. It looks with one cursor for
// the whole batch; a bucket makes one for each look.
func (c *change) get(bucket string, key []byte) []byte {
	cur := c.cursors[bucket]
	if cur == nil {
		if c.cursors == nil {
			c.cursors = map[string]*bolt.Cursor{}
		}
		cur = c.tx.Bucket([]byte(bucket)).Cursor()
		c.cursors[bucket] = cur
	}
	if k, v := cur.Seek(key); bytes.Equal(k, key) {
		return v
	}
	return nil
}

func (c *change) put(b *bolt.Bucket, key, value []byte) error {
	c.wrote = true
	return b.Put(key, value)
}

// putUntold is put for a row of which the journal does not tell: see broker.TryOf.Recorded.
func (c *change) putUntold(b *bolt.Bucket, key, value []byte) error {
	c.untold = true
	return c.put(b, key, value)
}

func (c *change) delete(b *bolt.Bucket, key []byte) error {
	c.wrote = true
	return b.Delete(key)
}

// update runs do in the writer and returns when what it wrote is durable. When
// ctx ends first, nothing was or will be written. do may run more than once; only
// its last run counts. It records what it writes. It must not call the store, nor
// end the goroutine (t.Fatal).
func (s *Store) update(ctx context.Context, by broker.By, what string, do func(*change) error) error {
	return during(what, s.submit(ctx, &request{do: do, by: by}))
}

// during says what an error stopped.
func during(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// tidy is update for housekeeping, which changes nothing that a reader could see and
// so records nothing.
func (s *Store) tidy(ctx context.Context, what string, do func(*change) error) error {
	return during(what, s.submit(ctx, &request{do: do, house: true}))
}

func (s *Store) submit(ctx context.Context, r *request) error {
	var err error
	if !r.house {
		err = errors.Join(r.by.Validate(), s.reserve.refuses(r))
	}
	if err == nil {
		err = s.enqueue(ctx, r)
	}
	if err == nil {
		err = s.await(ctx, r)
	}
	return err
}

// await gives what became of a request that was put in.
func (s *Store) await(ctx context.Context, r *request) error {
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

// enqueue puts a request in. The writer takes them in that order.
func (s *Store) enqueue(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.from, r.done = s, make(chan struct{})
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed || s.isOver() {
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

// gather takes what waits, and what comes soon if several write at a time, and drops what was withdrawn.
func (s *Store) gather(batch []*request) []*request {
	live := s.take(batch[:0], batch[0])
	if n := len(live); n > 1 && n < manyWrite && !s.opts.UnsafeNoSync {
		time.Sleep(gatherFor)
		live = s.take(live, s.poll())
	}
	return live
}

// take adds r, if there is one, and what waits.
func (s *Store) take(live []*request, r *request) []*request {
	for r != nil {
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
	c := &change{tx: tx, tail: &s.stats.tail, known: &s.known, records: s.records[:0], seq: tx.Bucket([]byte(bucketJournal)).Sequence()}
	stands := false // what was written
	defer func() {
		s.keepRecords(c.records)
		if !stands {
			s.known = known{}
		}
	}()
	changes := 0
	for i, r := range batch {
		if c.carryOut(r); r.err == nil {
			changes++
		} else if c.wrote {
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
	sum := sumOf(tx, c.seq) // of the newest record, which may be in a row that was written anew
	if changes == 0 {
		broken = rollback(tx)
	} else if err := s.commitTx(tx); errors.Is(err, broker.ErrFull) {
		return -1, s.noRoom(batch, err)
	} else if err != nil {
		failPassed(batch, err)
		if errors.Is(err, ErrBroken) {
			broken = err
		}
		return -1, broken
	}
	stands = true
	s.count(c, changes)
	s.growth.reached(c.seq, sum) // before anybody is told: whoever was has seen his record
	for _, r := range batch {
		if r.err == nil {
			r.from.forget(c.records[r.first:r.end])
		}
		close(r.done)
	}
	return -1, broken
}

// keepRecords keeps the room that a batch's records took for the next batch's, unless it is more
// than a full batch of logins needs.
func (s *Store) keepRecords(records []entry) {
	clear(records)
	if s.records = records[:0]; cap(records) > 4*maxBatch {
		s.records = nil
	}
}

var errNoRecord = errors.New("a change that writes records what it wrote")

// carryOut runs a request's change, and takes back the records of one that failed.
func (c *change) carryOut(r *request) {
	c.wrote, c.untold, c.by = false, false, r.by
	seq, logins := c.seq, c.logins
	r.first = len(c.records)
	r.err = run(r.do, c)
	silent := len(c.records) == r.first
	if r.err == nil && c.wrote && r.house != silent && !(c.untold && silent) {
		r.err = errNoRecord
	}
	if r.err != nil {
		c.records, c.seq, c.logins = c.records[:r.first], seq, logins
	}
	r.end = len(c.records)
}

// commitTx commits. When the disk is full and the file's head still points to what
// was before, nothing has happened: broker.ErrFull. Any other failure is ErrBroken.
func (s *Store) commitTx(tx *bolt.Tx) error {
	id, head, began := tx.ID(), 0, time.Now()
	err := tx.Commit()
	s.stats.committing.Add(int64(time.Since(began)))
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
	if err := s.writeJournal(c); err != nil {
		return err
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
	s.stats.tail.add(c.records)
	s.stats.tail.drop(c.dropped)
	s.stats.dropped.Add(int64(len(c.dropped)))
	s.stats.tail.logins.Add(int64(c.logins))
	s.stats.tail.records.Add(int64(len(c.records)))
	if s.stats.tail.long() {
		select {
		case s.fold <- struct{}{}:
		default:
		}
	}
}

// run turns a panic in a caller's function into its error, so that the writes of the other
// callers go on.
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

// failPassed is fail for those whose own change did not fail; the others keep their errors.
func failPassed(batch []*request, err error) {
	for _, r := range batch {
		if r.err == nil {
			r.err = err
		}
		close(r.done)
	}
}

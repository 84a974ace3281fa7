// Package tail follows a store's journal: it hands each new record, in order and once,
// to those who asked to be told, goes on after errors, and knows whether it is up to
// date. It never writes, and does not care what a record means.
package tail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker"
)

// Journal is the part of broker.Journal that is followed.
type Journal interface {
	Since(ctx context.Context, after uint64, limit int) ([]broker.Record, error)
	Last(ctx context.Context) (uint64, error)
	Await(ctx context.Context, after uint64) error
}

const (
	// FreshFor is how long a Follower that was at the journal's end counts as up to date.
	FreshFor = 2 * time.Second
	// lookEvery is how often it looks again when it hears of nothing.
	lookEvery = time.Second

	page       = 500 // records read in one go
	firstPause = 50 * time.Millisecond
	longPause  = 5 * time.Second
)

// A Follower follows one journal. Its methods are safe for concurrent use; Run is called
// once.
type Follower struct {
	journal Journal
	log     *slog.Logger
	after   uint64                                  // the last record that was told
	mu      sync.Mutex                              // guards seen
	seen    []func(context.Context, *broker.Record) // told of each record
	atEnd   atomic.Pointer[time.Time]               // when it was last known to have seen all; nil: not yet
}

// New makes a Follower of all that is written from now on. Run starts it. Whoever reads
// the store after New is told of every change after that read.
func New(ctx context.Context, j Journal, log *slog.Logger) (*Follower, error) {
	last, err := j.Last(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin to follow the journal: %w", err)
	}
	return After(j, last, log), nil
}

// After makes a Follower that begins behind the record of that Seq, to go on where another
// one ended.
func After(j Journal, seq uint64, log *slog.Logger) *Follower {
	return &Follower{journal: j, log: log, after: seq}
}

// Tell has seen called with each record from now on, one after the other from one
// goroutine. A slow seen delays the others, and Fresh may become false. seen must neither
// keep the record nor write to the store.
func (f *Follower) Tell(seen func(context.Context, *broker.Record)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, seen)
}

// listeners gives the functions that are told of a record.
func (f *Follower) listeners() []func(context.Context, *broker.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[:len(f.seen):len(f.seen)]
}

// Fresh reports whether everything that was written until FreshFor ago has been told. While
// it has, whatever was read from the store and not told of since is at most FreshFor old.
func (f *Follower) Fresh() bool {
	at := f.atEnd.Load()
	return at != nil && time.Since(*at) < FreshFor
}

// Run follows until ctx ends. It logs errors and tries again until the store answers.
func (f *Follower) Run(ctx context.Context) {
	for ctx.Err() == nil {
		f.insist(ctx, func() error { return f.step(ctx) })
	}
}

// insist calls do until it succeeds or ctx ends, and pauses longer after each failure.
func (f *Follower) insist(ctx context.Context, do func() error) {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longPause) {
		err := do()
		if err == nil || ctx.Err() != nil {
			return
		}
		f.log.ErrorContext(ctx, "journal not readable, changes are not heard of", "err", err, "again_in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// step tells of the next page of records and, at the journal's end, waits for more.
func (f *Follower) step(ctx context.Context) error {
	begin := time.Now()
	records, err := f.journal.Since(ctx, f.after, page)
	if err != nil {
		return fmt.Errorf("follow the journal: %w", err)
	}
	for i := range records {
		for _, seen := range f.listeners() {
			seen(ctx, &records[i])
		}
		f.after = records[i].Seq
	}
	if len(records) == page {
		return nil
	}
	f.atEnd.Store(&begin)
	wait, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	if err := f.journal.Await(wait, f.after); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("follow the journal: %w", err)
	}
	return nil
}

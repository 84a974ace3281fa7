package boltstore

import (
	"context"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
)

func newHandle(f *file) *Store {
	s := &Store{file: f, over: make(chan struct{})}
	s.Catalog = broker.NewCatalog(rows{s})
	return s
}

// Handle gives a further handle on the same file, which knows of the others what a
// replica on another machine would: what the file says and, of what it remembers of
// that, what the journal tells. It sees its own writes at once. It is closed by its own
// Close, or with the one that Open gave.
func (s *Store) Handle(ctx context.Context) (*Store, error) {
	h := newHandle(s.file)
	h.second = true
	s.closing.RLock() // or the file might be closed while its followers start
	defer s.closing.RUnlock()
	if s.closed || s.isOver() {
		return nil, fmt.Errorf("further handle: %w", ErrClosed)
	}
	last, err := s.Last(ctx)
	if err != nil {
		return nil, fmt.Errorf("further handle: %w", err)
	}
	s.follow.Do(func() { s.first.start(last) })
	h.start(last)
	return h, nil
}

func (s *Store) start(after uint64) {
	s.workers.Add(1)
	go s.followOthers(after)
}

// followOthers forgets the settings that other handles wrote.
func (s *Store) followOthers(after uint64) {
	defer s.workers.Done()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.over:
			return
		case <-s.ended:
			return
		case <-tick.C:
			after = s.catchUp(after)
		}
	}
}

// catchUp forgets what changed after a record, as Since does, and gives the last that it has seen.
func (s *Store) catchUp(after uint64) uint64 {
	for {
		records, err := s.Since(context.Background(), after, 1000)
		if err != nil {
			s.ForgetAll()
			return after
		}
		if len(records) == 0 {
			return after
		}
		after = records[len(records)-1].Seq
	}
}

var _ broker.Journal = (*Store)(nil)

package tally

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
)

// Journal is the part of broker.Journal that sums are appended to.
type Journal interface {
	Append(ctx context.Context, by broker.By, events []broker.Event) error
}

// maxNamed is how many events of one actor in one Append name somebody. It bounds what
// strangers can make the journal grow by: ten seconds have this many events, and one more for
// each word of what happened.
const maxNamed = 20

// Events counts events by what they are and whom they are about, and appends the counts to the
// journal. Who is named is not proven, so beyond maxNamed names only the rest is kept. It is
// safe for concurrent use.
type Events struct {
	journal Journal
	room    func() error
	log     *slog.Logger

	mu    sync.Mutex // guards sums and named
	sums  map[sumKey]uint32
	named map[broker.Actor]int // of sums: those that name somebody
}

// A sumKey says which events are counted together: those that differ in nothing but their number.
type sumKey struct {
	by broker.Actor
	broker.Event
}

// NewEvents makes an Events. It appends nothing until Run runs, nor while room gives an
// error: strangers bring events about. A nil room never does.
func NewEvents(j Journal, room func() error, log *slog.Logger) *Events {
	if room == nil {
		room = func() error { return nil }
	}
	return &Events{journal: j, room: room, log: log, sums: map[sumKey]uint32{}, named: map[broker.Actor]int{}}
}

// Add counts an event, e.Count times, as one that the journal says was written by that actor.
func (s *Events) Add(by broker.Actor, e broker.Event) {
	n := e.Count
	e.Count = 0
	k := sumKey{by, e}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.sums[k]; !known && k.Subject != "" {
		if s.named[by] == maxNamed {
			k.Event = broker.Event{What: e.What}
		} else {
			s.named[by]++
		}
	}
	s.sums[k] += min(n, math.MaxUint32-s.sums[k])
}

func (s *Events) take() map[broker.Actor][]broker.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	sums := s.sums
	s.sums, s.named = map[sumKey]uint32{}, map[broker.Actor]int{}
	all := make(map[broker.Actor][]broker.Event)
	for k, n := range sums {
		k.Count = n
		all[k.by] = append(all[k.by], k.Event)
	}
	return all
}

// Run appends the counts every ten seconds until ctx ends, and then the last ones.
func (s *Events) Run(ctx context.Context) {
	t := time.NewTicker(Every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			s.flush(last)
			return
		}
	}
}

// flush appends the counts so far. When that fails it keeps them for the next time.
func (s *Events) flush(ctx context.Context) {
	if s.room() != nil {
		return
	}
	for by, events := range s.take() {
		if err := s.journal.Append(ctx, broker.By{Actor: by}, events); err != nil {
			s.log.ErrorContext(ctx, "sums not kept in the journal, trying again", "by", string(by), "err", err)
			for _, e := range events {
				s.Add(by, e)
			}
		}
	}
}

package wrap

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// Journal is the part of broker.Journal that the sums are appended to.
type Journal interface {
	Append(ctx context.Context, by broker.By, events []broker.Event) error
}

// maxNamed is how many events of one Append name a device. It bounds what strangers can
// make the journal grow by: one Append in ten seconds has this many events, and one more
// for each code.
const maxNamed = 20

// Refusals counts refused messages by the device that they claim to be from and by code,
// and appends the counts to the journal. No claim is proven, so beyond maxNamed names
// only the code is kept. It is safe for concurrent use.
type Refusals struct {
	journal Journal
	log     *slog.Logger

	mu    sync.Mutex // guards sums and named
	sums  map[sumKey]uint32
	named int // of sums: those with a device
}

// A sumKey says which refusals are counted together.
type sumKey struct {
	claimed ident.Device // zero: the message names none, or maxNamed are named already
	code    protocol.Code
}

// NewRefusals makes a Refusals. It appends nothing until Run runs.
func NewRefusals(j Journal, log *slog.Logger) *Refusals {
	return &Refusals{journal: j, log: log, sums: map[sumKey]uint32{}}
}

// Wrap makes a Handler that counts what next refuses.
func (r *Refusals) Wrap(next exchange.Handler) exchange.Handler {
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		out := next.Handle(ctx, from, m)
		if out.Err != nil {
			r.add(sumKey{out.Claimed, out.Code}, 1)
		}
		return out
	})
}

func (r *Refusals) add(k sumKey, n uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.sums[k]; !known && !k.claimed.IsZero() {
		if r.named == maxNamed {
			k.claimed = ident.Device{}
		} else {
			r.named++
		}
	}
	r.sums[k] += min(n, math.MaxUint32-r.sums[k])
}

func (r *Refusals) take() map[sumKey]uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	sums := r.sums
	r.sums, r.named = map[sumKey]uint32{}, 0
	return sums
}

// Run appends the counts every ten seconds until ctx ends, and then the last ones.
func (r *Refusals) Run(ctx context.Context) {
	t := time.NewTicker(tally.Every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			r.flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			r.flush(last)
			return
		}
	}
}

// flush appends the counts so far. When that fails it keeps them for the next time.
func (r *Refusals) flush(ctx context.Context) {
	sums := r.take()
	if len(sums) == 0 {
		return
	}
	events := make([]broker.Event, 0, len(sums))
	for k, n := range sums {
		e := broker.Event{Pool: k.claimed.Pool, What: broker.What(slug(k.code.String())), Count: n}
		if !k.claimed.IsZero() {
			e.Subject = k.claimed.Name.String()
		}
		events = append(events, e)
	}
	if err := r.journal.Append(ctx, broker.By{Actor: broker.ActorBroker}, events); err != nil {
		r.log.ErrorContext(ctx, "refusals not kept in the journal, trying again", "err", err)
		for k, n := range maps.All(sums) {
			r.add(k, n)
		}
	}
}

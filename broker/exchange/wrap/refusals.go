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
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// Journal keeps sums of events.
type Journal interface {
	Append(ctx context.Context, by broker.By, events []broker.Event) error
}

// Bounds on what strangers can write into the journal: with one Append in ten seconds
// no more than six times this many events a minute, and one for each code.
const maxNamed = 20 // events that name a device

// Refusals sums refused messages by the device that they claim to be from and by code,
// and appends the sums to the journal. Nothing of a claim is proven: what a flood of
// made-up names claims is kept by code alone.
type Refusals struct {
	journal Journal
	log     *slog.Logger

	mu    sync.Mutex // guards sums and named
	sums  map[refusal]uint32
	named int // of sums: those with a device
}

// A refusal is what is summed up together.
type refusal struct {
	claimed ident.Device // zero: nobody, or there was no room to name more
	code    protocol.Code
}

// NewRefusals makes Refusals that keep nothing until Run runs.
func NewRefusals(j Journal, log *slog.Logger) *Refusals {
	return &Refusals{journal: j, log: log, sums: map[refusal]uint32{}}
}

// Wrap makes a Handler that notes what next refuses.
func (r *Refusals) Wrap(next exchange.Handler) exchange.Handler {
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		out := next.Handle(ctx, from, m)
		if out.Err != nil {
			r.add(refusal{out.Claimed, out.Code}, 1)
		}
		return out
	})
}

func (r *Refusals) add(k refusal, n uint32) {
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

func (r *Refusals) take() map[refusal]uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	sums := r.sums
	r.sums, r.named = map[refusal]uint32{}, 0
	return sums
}

// Run appends the sums every ten seconds until ctx ends, and then what is left.
func (r *Refusals) Run(ctx context.Context) {
	t := time.NewTicker(every)
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

// flush appends the sums so far, or keeps them when that fails.
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

package sim

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"
)

// A stage lets one actor at a time act, and the seed choose who is next.
//
// Whoever was woken, by the clock or by another, waits for its turn before it
// touches what is not its own: the store, the network, the story, shared
// randomness. A turn lasts until everybody in the bubble is blocked again, so the
// order of turns does not depend on the Go scheduler.
type stage struct {
	dice *dice
	wake chan struct{} // somebody waits
	over chan struct{}

	mu      sync.Mutex // guards waiting
	waiting []waiter
}

type waiter struct {
	number int // of the actor
	start  chan struct{}
}

func newStage(d *dice) *stage {
	return &stage{dice: d, wake: make(chan struct{}, 1), over: make(chan struct{})}
}

// conduct gives turns until the stage is over.
func (s *stage) conduct() {
	for {
		select {
		case <-s.wake:
		case <-s.over:
			return
		}
		for synctest.Wait(); s.next(); synctest.Wait() {
		}
	}
}

// next starts the turn of one of those that wait, if there is any.
func (s *stage) next() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return false
	}
	slices.SortFunc(s.waiting, func(a, b waiter) int { return cmp.Compare(a.number, b.number) })
	i := 0
	if len(s.waiting) > 1 {
		i = s.dice.roll(len(s.waiting))
	}
	close(s.waiting[i].start)
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return true
}

// An actor is one line of events: a device, a thief, an operator's command, a
// message on its way. It has its own dice, so that what it does is no other's choice.
type actor struct {
	stage  *stage
	number int // gives those that wait an order
	dice   *dice
}

// newActor makes an actor. Its maker must have its turn.
func (w *World) newActor(d *dice) *actor {
	w.actors++
	return &actor{stage: w.stage, number: w.actors, dice: d}
}

// turn waits until the actor may act.
func (a *actor) turn() {
	me := waiter{number: a.number, start: make(chan struct{})}
	a.stage.mu.Lock()
	a.stage.waiting = append(a.stage.waiting, me)
	a.stage.mu.Unlock()
	select {
	case a.stage.wake <- struct{}{}:
	default: // the conductor will look anyway
	}
	select {
	case <-me.start:
	case <-a.stage.over:
	}
}

// rest lets d pass and then waits for a turn. It does not end early: what was
// cancelled meanwhile is for the actor to see when it acts again.
func (a *actor) rest(d time.Duration) {
	time.Sleep(d)
	a.turn()
}

// sleep is rest for long pauses: it ends early with ctx, which it reports.
func (a *actor) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	a.turn()
	return ctx.Err() == nil
}

// dice are seeded choices.
type dice struct {
	mu  sync.Mutex // guards rng
	rng *mathrand.Rand
}

func (w *World) newDice(format string, args ...any) *dice {
	return &dice{rng: mathrand.New(mathrand.NewChaCha8(w.derive(format, args...)))}
}

// more makes further dice of these, for an actor that these ones' owner sets off.
func (d *dice) more() *dice { return &dice{rng: mathrand.New(mathrand.NewPCG(d.word(), 0))} }

// roll gives 0 <= n < sides.
func (d *dice) roll(sides int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(sides)
}

func (d *dice) word() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Uint64()
}

// upTo gives 0 < d <= most, to the nanosecond so that few things happen at once.
func (d *dice) upTo(most time.Duration) time.Duration { return time.Duration(d.roll(int(most))) + 1 }

// short is the pause of a store call or a write to flash.
func (d *dice) short() time.Duration { return d.upTo(5 * time.Millisecond) }

func (w *World) derive(format string, args ...any) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d "+format, append([]any{w.seed}, args...)...))
}

// reader gives randomness that depends on the seed and the purpose only.
func (w *World) reader(format string, args ...any) *reader {
	return &reader{r: mathrand.NewChaCha8(w.derive(format, args...))}
}

// reader is seeded randomness that many may read.
type reader struct {
	first *actor // nil, or who must have its turn to read

	mu sync.Mutex // guards r
	r  *mathrand.ChaCha8
}

// readerOf is a reader for an agent. An agent reads before it uses any key, so it
// has its turn by then.
func (w *World) readerOf(a *actor, format string, args ...any) *reader {
	r := w.reader(format, args...)
	r.first = a
	return r
}

func (r *reader) Read(b []byte) (int, error) {
	if r.first != nil {
		r.first.turn()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.r.Read(b)
}

package kill

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/protocol/ident"
)

// Settings of the test, from the environment.
const (
	roundsEnv = "SIGNET_KILL_ROUNDS" // how often to kill; 10 if unset
	seedEnv   = "SIGNET_KILL_SEED"   // of what is done and when it is killed; random if unset
	workers   = 6
)

// TestKill9 kills signetd again and again. The seed repeats what is done and the
// moments chosen, not what the scheduler makes of them.
func TestKill9(t *testing.T) {
	rounds := int(setting(t, roundsEnv, 10))
	if testing.Short() {
		rounds = min(rounds, 3)
	}
	seed := setting(t, seedEnv, rand.Uint64()>>1)
	t.Logf("%s=%d", seedEnv, seed)
	h := newHost(t, seed)
	for round := range rounds {
		if err := h.round(t); err != nil {
			t.Fatalf("round %d of %d: %v", round+1, rounds, err)
		}
		if round%10 == 9 || round == rounds-1 {
			if err := boltstore.Check(t.Context(), filepath.Join(h.site.data, "signet.db")); err != nil {
				t.Fatalf("round %d of %d: %v", round+1, rounds, err)
			}
		}
	}
	if err := h.lastLook(t); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(h.site.data, "signet.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rounds, file of %d KiB:\n%s", rounds, info.Size()>>10, h.facts.String()+h.facts.ledger.String())
}

func setting(t *testing.T, name string, or uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return or
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// A host is where signetd lives, with those who remember.
type host struct {
	site    *site
	facts   *facts
	rand    *rand.Rand
	workers []*worker
}

func newHost(t *testing.T, seed uint64) *host {
	t.Helper()
	h := &host{site: newSite(t), rand: rand.New(rand.NewPCG(seed, 0)), facts: &facts{ledger: newLedger(), tally: map[string]int{}}}
	var err error
	if h.facts.pool, err = ident.ParsePool("crash"); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(workers) {
		h.workers = append(h.workers, &worker{t: t, facts: h.facts, rand: rand.New(rand.NewPCG(seed, i+1))})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b := h.site.start(t)
	err = b.awaitReady(ctx, h.site)
	if err == nil {
		err = h.furnish(ctx, b)
	}
	if err = errors.Join(err, b.kill()); err != nil {
		t.Fatalf("%v\n%s", err, b.story())
	}
	return h
}

// furnish makes the pool. Grace is as long as it may be: a slow machine is no reason
// to refuse a lost refresh.
func (h *host) furnish(ctx context.Context, b *life) error {
	name := h.facts.pool.String()
	p, err := b.api.CreatePool(ctx, name)
	if err != nil {
		return err
	}
	if h.facts.pin, err = hex.DecodeString(p.AnchorThumbprint); err != nil {
		return err
	}
	c, err := b.api.In(name).Client(ctx, "default")
	if err != nil {
		return err
	}
	c.Grace = new(adminapi.Duration(time.Hour))
	_, err = b.api.In(name).ReplaceClient(ctx, c)
	return err
}

// round is one life: it starts, is held to what the last one said, works, and is killed.
func (h *host) round(t *testing.T) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if h.rand.IntN(6) == 0 { // this one does not live to serve, or hardly
		b := h.site.start(t)
		time.Sleep(time.Duration(h.rand.Int64N(int64(80 * time.Millisecond))))
		h.facts.count("killed while starting")
		if err := b.kill(); err != nil {
			return fmt.Errorf("%w\n%s", err, b.story())
		}
	}
	b := h.site.start(t)
	err := h.examine(ctx, b)
	if err == nil {
		h.work(ctx, b)
	}
	err = errors.Join(err, b.kill())
	if t.Failed() {
		err = errors.Join(err, errors.New("see above"))
	}
	if err != nil {
		err = fmt.Errorf("%w\nsignetd's last words:\n%s", err, b.story())
	}
	for _, w := range h.workers {
		for _, d := range w.devices {
			d.hangup()
		}
	}
	return err
}

// examine holds a new life to what the last one acknowledged.
func (h *host) examine(ctx context.Context, b *life) error {
	if err := b.awaitReady(ctx, h.site); err != nil {
		return err
	}
	if err := h.facts.ledger.check(ctx, b.api); err != nil {
		return err
	}
	if err := h.each(func(w *worker) error { return w.replay(ctx, b) }); err != nil {
		return err
	}
	if err := settle(ctx, b, h.facts, h.workers); err != nil {
		return err
	}
	return h.each(func(w *worker) error { return w.verify(ctx, b) })
}

// each has all workers do something at the same time.
func (h *host) each(do func(*worker) error) error {
	errs := make([]error, len(h.workers))
	var wg sync.WaitGroup
	for i, w := range h.workers {
		wg.Go(func() { errs[i] = do(w) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// work has all work until the broker is killed: with an acknowledgement on its way
// or some moment after it.
func (h *host) work(ctx context.Context, b *life) {
	var pause time.Duration
	if h.rand.IntN(2) == 0 {
		pause = time.Duration(h.rand.Int64N(int64(3 * time.Millisecond)))
	}
	h.facts.expect(1+h.rand.Int64N(60), func() {
		time.Sleep(pause)
		b.strike()
	})
	_ = h.each(func(w *worker) error { w.run(ctx, b); return nil })
}

// lastLook examines what the last kill left, and that everything ends in order.
func (h *host) lastLook(t *testing.T) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b := h.site.start(t)
	err := h.examine(ctx, b)
	if err == nil {
		err = settle(ctx, b, h.facts, h.workers) // what was made good cost no use
	}
	if err = errors.Join(err, b.kill()); err != nil {
		return fmt.Errorf("%w\nsignetd's last words:\n%s", err, b.story())
	}
	return nil
}

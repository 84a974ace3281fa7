package sim

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
)

// TestClone: of a device whose folder is copied both copies run, on a network that does no
// harm. From when the two first part on, it takes three logins to see that they are two:
// two of either at most.
func TestClone(t *testing.T) {
	for seed := range uint64(10) {
		for _, policy := range broker.AllClones() {
			t.Run(fmt.Sprintf("seed=%d/%s", seed, policy), func(t *testing.T) {
				o := liveAs(t, seed, func(t *testing.T, seed uint64, folder string) (*Outcome, error) {
					return run(t, &World{seed: seed, facts: newFacts(), size: 2}, folder, func(w *World) { w.liveWithClone(policy) })
				})
				judge(t, seed, o)
				if n := o.Counts["login with a key that is shared"]; o.Counts["clone found"] == 0 || n > 3 {
					t.Errorf("found %d times, the first time with login %d of 3", o.Counts["clone found"], n)
				}
			})
			if t.Failed() {
				return // six hours of logins for each of the others would say the same
			}
		}
	}
}

// liveWithClone copies the first device, and waits until that is seen.
func (w *World) liveWithClone(policy broker.Clones) {
	w.net.mu.Lock()
	w.net.calm = true
	w.net.mu.Unlock()
	if _, err := w.dir.ChangePool(w.as(w.fate), broker.By{Actor: broker.ActorLocal}, w.pool, control.PoolChange{Clones: &policy}, nil); err != nil {
		w.facts.violate("set the pool's policy: %v", err)
	}
	w.fate.rest(3 * time.Minute) // all are in
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	d := w.devices[0]
	w.clone(ctx, d)
	for end := time.Now().Add(6 * time.Hour); time.Now().Before(end) && !w.facts.happened("clone found"); {
		w.fate.rest(time.Second)
	}
	w.fate.rest(10 * time.Minute)
	if is := w.facts.isDisabled(d.id); is != (policy == broker.ClonesQuarantine) {
		w.facts.violate("with policy %s %s is not active: %v", policy, d.id, is)
	}
}

func (f *facts) happened(what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[what] > 0
}

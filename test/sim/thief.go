package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
)

// A thief copied a device's state. Without the key nothing may come of it.
type thief struct {
	w      *World
	number int
	victim *device
	prover agent.Prover
	hasKey bool
	record agent.Record
	link   *conn
	actor  *actor
}

// steal copies d's state and perhaps its key, and tells the network of an old grant.
func (w *World) steal(d *device, number int) *thief {
	d.mu.Lock()
	r, a := d.flash, d.agent
	d.mu.Unlock()
	if !r.Enrolled {
		return nil
	}
	th := &thief{w: w, number: number, victim: d, record: r, hasKey: w.fate.dice.roll(2) == 0, actor: w.newActor(w.newDice("thief %d", number))}
	th.prover = prover{w.wrongKey, th.actor}
	switch {
	case th.hasKey:
		th.prover = prover{d.key, th.actor}
		w.facts.shared(d.id)
	case len(w.stolen) > 0: // the signing key in the place of the device's
		th.prover = prover{w.stolen[len(w.stolen)-1], th.actor}
		w.facts.count("thief with the pool's signing key")
	}
	if g := a.Current(); g != nil {
		w.net.mu.Lock()
		w.net.loot[d.id.String()] = &protocol.GrantBody{
			Access: g.Access, ID: g.ID, Refresh: r.Refresh, Session: g.Session, Life: uint32(g.Life / time.Second), Refreshes: 3600,
			Subject: g.Subject, Issuer: g.Issuer, Publish: g.Publish, Subscribe: g.Subscribe, PoolKeys: protocol.PoolKeys{Statement: r.Statement, Anchor: r.Anchor},
		}
		w.net.mu.Unlock()
	}
	w.facts.happens(fmt.Sprintf("thief, with the key: %v", th.hasKey), "a thief copies %s, with the key: %v", d.id, th.hasKey)
	return th
}

// Load gives the stolen state.
func (th *thief) Load(context.Context) (agent.Record, error) { return th.record, nil }

// Save means that the thief got in.
func (th *thief) Save(_ context.Context, r agent.Record) error {
	th.actor.turn()
	th.link.mu.Lock()
	asked, last := th.link.asked, th.link.last
	th.link.mu.Unlock()
	th.w.facts.accepted("the thief of "+th.victim.id.String(), asked, last)
	th.w.facts.count("thief with the key got in")
	if !th.hasKey {
		th.w.facts.violate("a thief without the key of %s got in", th.victim.id)
	}
	th.record = r
	return nil
}

// try uses what was stolen, once or a few times.
func (th *thief) try() {
	a, err := agent.New(th.w.ctx, agent.Config{
		Device: th.victim.id, Prover: th.prover, State: th, Random: th.w.readerOf(th.actor, "thief %d's agent", th.number),
	})
	if err != nil {
		return
	}
	for i := range 1 + th.actor.dice.roll(3) {
		if !th.actor.sleep(th.w.ctx, th.actor.dice.upTo(2*time.Minute)) {
			return
		}
		ctx, cancel := context.WithTimeout(th.w.ctx, 30*time.Second)
		th.link = th.w.connect(th.actor, fmt.Sprintf("thief %d", th.number), i)
		if th.hasKey {
			th.link.key = th.victim.id
		}
		err = th.link.open(ctx, th.w.someReplica(th.actor), th.link.anonymous())
		switch {
		case err != nil:
		case th.actor.dice.roll(3) == 0:
			_, err = a.Renew(ctx, th.link, agent.Ask{})
		default:
			_, err = a.Refresh(ctx, th.link, agent.Ask{})
		}
		th.actor.turn()
		var refusal *protocol.Refusal
		if errors.As(err, &refusal) && !th.hasKey {
			th.w.facts.count("thief without the key refused")
		}
		th.link.end()
		cancel()
	}
}

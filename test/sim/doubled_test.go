package sim

import (
	"context"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/agent"
)

// TestDoubled: where messages are doubled and out of step, and nothing worse, each
// call of a device ends well, at once: nothing is refused but an answer's copy, and
// nothing tried again.
func TestDoubled(t *testing.T) {
	const logins = 10
	cryptotest.SetGlobalRandom(t, 1)
	synctest.Test(t, func(t *testing.T) {
		w := &World{seed: 1, facts: newFacts(), size: devices}
		w.stage = newStage(w.newDice("turns"))
		w.fate = w.newActor(w.newDice("fate"))
		w.ctx, w.stop = context.WithCancel(t.Context())
		if err := w.build(t, t.TempDir()); err != nil {
			t.Fatal(err)
		}
		w.net.doubles = true
		go w.stage.conduct()
		for _, d := range w.devices {
			w.goes(d.actor, func() { w.logIn(t, d, logins) })
		}
		w.busy.Wait()
		w.stop()
		w.shutDown()
		close(w.stage.over)
		if err := w.closeStore(t.Context()); err != nil {
			t.Error(err)
		}
		o := w.facts.outcome()
		for _, v := range o.Violations {
			t.Error(v)
		}
		t.Log(o.Counts)
		if o.Counts["late message passed over by an agent"] == 0 {
			t.Error("no message was late")
		}
		if o.Counts["refused: already used"] == 0 {
			t.Error("no answer's copy was refused")
		}
		if want := devices * (1 + logins); o.Counts["login"] != want {
			t.Errorf("%d logins, want %d", o.Counts["login"], want)
		}
		for _, what := range []string{"refused: denied", "refused: session expired", "grant refused by an agent", "reply refused by an agent"} {
			if n := o.Counts[what]; n > 0 {
				t.Errorf("%d times: %s", n, what)
			}
		}
	})
}

// logIn enrolls a device and lets it log in again and again.
func (w *World) logIn(t *testing.T, d *device, times int) {
	a, err := agent.New(w.ctx, agent.Config{
		Device: d.id, Prover: prover{d.key, d.actor}, State: d, Random: w.readerOf(d.actor, "%s", d.id),
	})
	if err != nil {
		t.Error(err)
		return
	}
	for i := range 1 + times {
		c := d.connect()
		if err := c.open(w.ctx, w.someReplica(d.actor), c.anonymous()); err != nil {
			t.Errorf("%s, call %d: %v", d.id, i, err)
			return
		}
		if i == 0 {
			_, err = a.Enroll(w.ctx, c, agent.Admission{Token: d.token})
		} else {
			_, err = a.Authenticate(w.ctx, c, agent.Ask{})
		}
		if err != nil {
			t.Errorf("%s, call %d: %v", d.id, i, err)
		}
		d.actor.turn()
		c.end()
		d.actor.rest(time.Second)
	}
}

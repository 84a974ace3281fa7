package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// recovery is how long a device may take to be in again: its token's life, if a
// jump of its clock lets it believe in the token for ever, and a few backoffs. So long it may
// take, too, to show that it goes on.
const recovery = accessLife + 4*time.Minute

// heal ends all faults and waits for every device: until it is in, and until it has shown that what
// it was granted is good for what it is for. A device whose sessions are over when they begin logs
// in again and again, and each time it is in.
func (w *World) heal() {
	w.net.settle()
	w.fate.rest(3 * time.Minute) // what is under way arrives, thieves give up
	if left := time.Until(w.rightAt); left > 0 {
		w.fate.rest(left + time.Minute)
	}
	for _, r := range w.replicas {
		w.restart(r)
	}
	for _, d := range w.devices {
		if _, err := w.dir.EnableDevice(w.as(w.fate), broker.By{Actor: broker.ActorLocal}, d.id); err != nil && !errors.Is(err, broker.ErrNotFound) {
			w.facts.violate("enable %s: %v", d.id, err)
		}
	}
	w.facts.say("the last fault is over")
	healed := time.Now()
	missing := func(d *device) bool { return !d.lastIn().After(healed) || d.standing().Device.IsZero() }
	w.await(missing)
	var in []*device
	for _, d := range w.devices {
		if missing(d) {
			w.facts.violate("%s is not in %v after the last fault: %v", d.id, recovery, d.agent.Status().Err)
			continue
		}
		w.facts.happens("device in again", "%s is in %v after the last fault", d.id, d.lastIn().Sub(healed))
		in = append(in, d)
	}
	w.goOn(in, healed)
}

// goOn wants devices that are in to have renewed a session since then or to do so, and when they lose
// their connections after that, to come back by their tokens. Those are fresh, because the replicas'
// clocks may still be minutes apart.
func (w *World) goOn(in []*device, since time.Time) {
	cut, back := map[ident.Device]time.Time{}, map[ident.Device]bool{}
	w.await(func(d *device) bool {
		renewed, taken := w.facts.used(d.id)
		at, ok := cut[d.id]
		back[d.id] = back[d.id] || ok && taken.After(at)
		if has := d.lastIn(); !back[d.id] && renewed.After(since) && has.After(renewed) && has.After(at) {
			cut[d.id] = time.Now()
			d.cut()
		}
		return slices.Contains(in, d) && !back[d.id]
	})
	for _, d := range in {
		switch {
		case cut[d.id].IsZero():
			w.facts.violate("%s is in and does not renew its session in %v: %v", d.id, recovery, d.agent.Status().Err)
		case !back[d.id]:
			w.facts.violate("%s is in and does not come back by its token: %v", d.id, d.agent.Status().Err)
		default:
			w.facts.count("device goes on")
		}
	}
}

// await waits while any of the devices is so, as long as a device may take for it.
func (w *World) await(so func(*device) bool) {
	for began := time.Now(); time.Since(began) < recovery; w.fate.rest(time.Second) {
		w.lookAfter()
		waiting := false
		for _, d := range w.devices {
			waiting = so(d) || waiting
		}
		if !waiting {
			return
		}
	}
}

// used gives when a session of a device was renewed last, and when a credential of its was taken.
func (f *facts) used(id ident.Device) (renewed, back time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.renewed[id], f.back[id]
}

package sim

import (
	"context"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// shared notes that somebody else has a device's key, too.
func (f *facts) shared(id ident.Device) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.copied[id] = true
}

// followed notes what the store makes of a login: only a device whose key somebody else has
// may be taken for two. The caller holds the facts' mu.
func (g *gate) followed(ctx context.Context, l *broker.Login, found *broker.Recorded) {
	f := g.w.facts
	if f.copied[l.Session.Device] && f.counts["clone found"] == 0 && found.Status != "" {
		f.counts["login with a key that is shared"]++
	}
	if !found.Cloned {
		return
	}
	f.counts["clone found"]++
	f.sayLocked("%s was cloned", l.Session.Device)
	if !f.copied[l.Session.Device] {
		f.violateLocked("%s was taken for two", l.Session.Device)
	}
	if found.Status != broker.StatusQuarantined {
		return
	}
	d, err := g.Store.Device(ctx, l.Session.Device)
	if err != nil {
		f.violateLocked("read what was quarantined: %v", err)
		return
	}
	f.changed(&d)
}

// putFolderBackLater lets the owner of a device put an older copy of its folder back, once.
func (w *World) putFolderBackLater() {
	who := w.newActor(w.fate.dice.more())
	d := w.devices[who.dice.roll(len(w.devices))]
	w.goes(who, func() {
		who.rest(who.dice.upTo(2 * time.Minute))
		d.mu.Lock()
		older := d.flash
		d.mu.Unlock()
		who.rest(who.dice.upTo(4 * time.Minute))
		d.mu.Lock()
		possible := older.Enrolled && d.flash.Subject == older.Subject // else it has enrolled anew since
		if possible {
			d.flash = older
		}
		d.mu.Unlock()
		if !possible || w.ctx.Err() != nil {
			return
		}
		w.befalls([]*device{d}, "older folder of a device put back", "%s has an older folder", d.id)
		d.restart()
	})
}

// clone starts a copy of d from its folder, as if both were on different machines.
func (w *World) clone(ctx context.Context, d *device) *device {
	d.mu.Lock()
	twin := &device{w: w, id: d.id, key: d.key, token: d.token, copy: ", a copy", ctx: ctx, flash: d.flash, actor: w.newActor(w.newDice("copy of %s", d.id))}
	d.mu.Unlock()
	w.facts.shared(d.id)
	w.copies = append(w.copies, twin)
	w.goes(twin.actor, twin.live)
	return twin
}

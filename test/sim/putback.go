package sim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/certs"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A backup is a copy of the store, and what was known when it was taken.
type backup struct {
	path   string
	seq    uint64 // the journal's last
	anchor string
	known  known
}

// putBackLater takes a backup, lets keys be rotated, or not, and puts the backup back: with a
// new epoch, as signetd restore does, or without a word, until an operator notices.
func (w *World) putBackLater(silent bool) {
	who := w.newActor(w.fate.dice.more())
	w.goes(who, func() {
		within := 2 * time.Minute
		if who.dice.roll(3) == 0 {
			within = 10 * time.Second // when not all have enrolled
		}
		who.rest(who.dice.upTo(within))
		b, err := w.backUp()
		if err != nil {
			w.facts.violate("backup: %v", err)
			return
		}
		who.rest(who.dice.upTo(time.Minute))
		if who.dice.roll(3) > 0 {
			w.rotate(who)
		}
		who.rest(who.dice.upTo(time.Minute))
		if w.putBack(b, silent) && silent {
			who.rest(who.dice.upTo(30 * time.Second))
			w.facts.happens("older copy accepted", "an operator accepts the older copy")
			w.stopAll()
			w.beginEpoch()
			w.startAll()
		}
	})
}

// rotate has the pool sign with another key, and forgets the one before.
func (w *World) rotate(who *actor) {
	ctx, by := w.as(who), broker.By{Actor: broker.ActorLocal}
	keys, err := w.dir.ListKeys(ctx, w.pool)
	if err != nil {
		w.facts.violate("list keys: %v", err)
		return
	}
	if _, err := w.dir.RotateKey(ctx, by, w.pool, token.EdDSA, true); err != nil {
		w.facts.violate("rotate key: %v", err)
		return
	}
	for _, k := range keys {
		if _, err := w.dir.RetireKey(ctx, by, w.pool, k.ID, true); err != nil {
			w.facts.violate("retire key: %v", err)
		}
	}
	w.facts.happens("keys rotated", "the pool signs with another key")
}

func (w *World) backUp() (*backup, error) {
	pool, err := w.store.Pool(w.ctx, w.pool)
	if err != nil {
		return nil, err
	}
	b := &backup{path: filepath.Join(w.folder, "backup"), anchor: string(pool.Anchor), known: w.facts.remember()}
	if b.seq, err = w.store.Last(w.ctx); err != nil {
		return nil, err
	}
	f, err := os.Create(b.path)
	if err != nil {
		return nil, err
	}
	_, err = w.store.Backup(w.ctx, f)
	w.backedUp = true
	w.facts.say("a backup is taken")
	return b, errors.Join(err, f.Close())
}

// putBack makes the backup the store, between two turns of all others, and reports
// whether it did. One from before the pool had another anchor would lock out all devices
// that have followed to that.
func (w *World) putBack(b *backup, silent bool) bool {
	pool, err := w.store.Pool(w.ctx, w.pool)
	if err != nil {
		w.facts.violate("put back: %v", err)
		return false
	}
	if string(pool.Anchor) != b.anchor { // a rotation was under way
		w.facts.count("backup older than the pool's anchor")
		return false
	}
	w.stopAll()
	if err := w.replaceStore(b); err != nil {
		w.facts.violate("put back: %v", err)
		return false
	}
	w.seen = b.seq
	w.facts.forget(b.known, silent)
	if silent {
		w.facts.happens("older copy put back", "an older copy of the store is put back")
	} else {
		w.facts.happens("backup restored", "the backup is restored")
		w.beginEpoch()
	}
	w.enrollAnew()
	w.startAll()
	return true
}

func (w *World) replaceStore(b *backup) error {
	if err := w.closeStore(w.ctx); err != nil {
		return err
	}
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	path := filepath.Join(w.folder, "restored")
	if err := boltstore.Restore(w.ctx, path, f); err != nil {
		return err
	}
	return w.openStore(path)
}

// beginEpoch is what signetd restore does to a store.
func (w *World) beginEpoch() {
	was, err := w.store.Epoch(w.ctx)
	if err != nil {
		w.facts.violate("epoch: %v", err)
		return
	}
	next, err := broker.NextEpoch(was, w.now())
	if err == nil {
		err = w.store.RaiseEpoch(w.ctx, broker.By{Actor: broker.ActorLocal}, next)
	}
	if err != nil {
		w.facts.violate("new epoch: %v", err)
	}
}

// enrollAnew is what people do about devices that the backup does not know: signet-agent
// enroll. Their tokens were not used, as far as it knows.
func (w *World) enrollAnew() {
	for _, d := range w.devices {
		_, err := w.store.Device(w.ctx, d.id)
		d.mu.Lock()
		if errors.Is(err, broker.ErrNotFound) && d.flash.Enrolled {
			d.anew = true
			w.facts.happens("device enrolls anew", "%s is not in the backup", d.id)
		}
		d.mu.Unlock()
	}
}

// stopAll ends the broker's process, or processes, and all connections with it.
func (w *World) stopAll() {
	for _, r := range w.replicas {
		r.crash()
	}
	for _, d := range w.devices {
		d.cut()
		d.mu.Lock()
		anew := d.anew
		d.mu.Unlock()
		if anew {
			d.restart()
		}
	}
}

func (w *World) startAll() {
	for _, r := range w.replicas {
		w.restart(r)
	}
	for _, d := range w.devices {
		d.mu.Lock()
		anew := d.anew
		d.mu.Unlock()
		if anew {
			d.restart()
		}
	}
}

// wrongClocks sets the broker's clock ten years wrong for a while: that of the machine
// which the store and all replicas are on. Nothing is forgotten by it.
func (w *World) wrongClocks(life time.Duration) {
	who := w.newActor(w.fate.dice.more())
	begin := who.dice.upTo(chaos / 2)
	w.rightAt = time.Now().Add(begin + life)
	w.goes(who, func() {
		who.rest(begin)
		years, what := 10*365*24*time.Hour, "clock of the broker years ahead"
		if who.dice.roll(2) == 0 {
			years, what = -years, "clock of the broker years behind"
		}
		kept := w.keeps()
		w.facts.happens(what, "the broker's clock is %v off", years)
		w.setYears(years)
		who.rest(time.Until(w.rightAt))
		kept()
		w.facts.say("the broker's clock is right again")
		w.setYears(0)
		if who.dice.roll(2) == 0 { // devices come back before they have heard the time anew
			w.stopAll()
			w.startAll()
		}
	})
}

// keeps gives a check that the store still has what it has now, unless it was put back:
// sessions, by which it knows that exchanges were used, and records.
func (w *World) keeps() (check func()) {
	store := w.store
	sessions := w.facts.begun()
	last, err := store.Last(w.ctx)
	if err != nil {
		w.facts.violate("the journal's end: %v", err)
	}
	records := w.recordsUntil(last)
	return func() {
		if w.store != store || w.ctx.Err() != nil {
			return
		}
		w.facts.count("store judged after a wrong clock")
		if now := w.recordsUntil(last); now != records {
			w.facts.violate("of %d records %d are left after a while with a wrong clock", records, now)
		}
		for _, id := range sessions {
			if _, err := store.Session(w.ctx, id); err != nil {
				w.facts.violate("after a while with a wrong clock: %v", err)
			}
		}
	}
}

// recordsUntil counts the journal's records up to last.
func (w *World) recordsUntil(last uint64) (n int) {
	for after := uint64(0); after < last; {
		some, err := w.store.Since(w.ctx, after, 1000)
		if err != nil || len(some) == 0 {
			return n
		}
		for _, r := range some {
			if after = r.Seq; r.Seq <= last {
				n++
			}
		}
	}
	return n
}

// now is the time by the broker's machine.
func (w *World) now() time.Time {
	w.clock.Lock()
	defer w.clock.Unlock()
	return time.Now().Add(w.years)
}

func (w *World) setYears(d time.Duration) {
	w.clock.Lock()
	defer w.clock.Unlock()
	w.years = d
}

// leaf gives when the replica's certificate begins and ends. It makes a new one when its
// clock says that it is time.
func (r *replica) leaf() (from, to time.Time) {
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := &r.shown; now.Before(c.NotBefore) || !now.Before(certs.Due(c)) {
		c.NotBefore = now.Add(-time.Minute)
		c.NotAfter = c.NotBefore.Add(certs.DefaultServerLife)
	}
	return r.shown.NotBefore, r.shown.NotAfter
}

var errLeaf = errors.New("sim: the certificate has ended")

// doubtOf gives what a device thinks of a replica's certificate, as agent/mqttlink judges
// one: an error for good, or a doubt to be asked for later.
func (d *device) doubtOf(r *replica) (doubt func() error, err error) {
	from, to := r.leaf()
	d.mu.Lock()
	a := d.agent
	d.mu.Unlock()
	judge := func(at time.Time) error {
		if at.Before(from) {
			at = from
		}
		if at.After(to) {
			return fmt.Errorf("%w on %v", errLeaf, to)
		}
		return nil
	}
	return func() error { return judge(a.Floor()) }, judge(d.w.built)
}

// known is what is known of the store's rows.
type known struct {
	disabled map[ident.Device]bool
	ended    map[ident.UUID]string // of each family
}

// remember is for a backup that is taken now.
func (f *facts) remember() known {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := known{disabled: map[ident.Device]bool{}, ended: map[ident.UUID]string{}}
	for id, is := range f.disabled {
		k.disabled[id] = is
	}
	for id, fam := range f.families {
		k.ended[id] = fam.ended
	}
	return k
}

// forget makes what is known what it was. What families began since is over, and nothing
// may bring their exchanges back, unless nobody could know that the store is older. Then
// one may be recorded once more, and its device have tokens of it that the store lost: a
// family's tokens follow from its exchange.
func (f *facts) forget(k known, silent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.disabled = k.disabled
	for id, fam := range f.families {
		ended, was := k.ended[id]
		switch {
		case was:
			fam.ended = ended
		case silent:
			f.lost[id] = fam
			delete(f.families, id)
			delete(f.granted, id)
		default:
			fam.ended = "restore"
		}
	}
}

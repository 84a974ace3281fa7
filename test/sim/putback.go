package sim

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/backup"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A snapshot is a copy of the store, and what was known when it was taken.
type snapshot struct {
	path    string
	seq     uint64 // the journal's last
	anchors int    // that the pool has had
	known   known
}

// A returning is how an older copy of the store comes back.
type returning int

const (
	restored returning = iota // with a new epoch, as signetd restore does
	folder                    // with the whole folder, without a word, until an operator notices
	alone                     // the store's file alone, which the folder's mark knows to be older
)

// putBackLater takes a backup, lets keys be rotated, or not, perhaps the pool's anchor, too, and puts
// the backup back.
func (w *World) putBackLater(how returning) {
	who := w.newActor(w.fate.dice.more())
	w.goes(who, func() {
		within := 2 * time.Minute
		if who.dice.roll(3) == 0 {
			within = 10 * time.Second // when not all have enrolled
		}
		who.rest(who.dice.upTo(within))
		for w.rotating {
			who.rest(time.Second)
		}
		b, err := w.backUp()
		if err != nil {
			w.facts.violate("backup: %v", err)
			return
		}
		who.rest(who.dice.upTo(time.Minute))
		if who.dice.roll(3) > 0 {
			w.rotate(who)
		}
		if who.dice.roll(3) == 0 {
			w.replaceAnchor(w.as(who)) // nobody has the old one, which comes back
		}
		who.rest(who.dice.upTo(time.Minute))
		if w.putBack(b, how) && how == folder {
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
	w.befalls(w.devices, "keys rotated", "the pool signs with another key")
}

func (w *World) backUp() (_ *snapshot, err error) {
	b := &snapshot{path: filepath.Join(w.folder, "backup"), anchors: len(w.anchors), known: w.facts.remember()}
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

// putBack makes a backup the store, between two turns of all others, and reports whether it did.
func (w *World) putBack(b *snapshot, how returning) bool {
	what := map[returning]string{restored: "backup restored", folder: "older copy put back", alone: "older store file put back"}[how]
	w.befalls(w.devices, what, "an older copy of the store comes back")
	w.stopAll()
	mark := config.Config{Data: w.folder}
	if err := backup.WriteMark(w.ctx, &mark, w.store); err != nil {
		w.facts.violate("mark: %v", err)
	}
	if err := w.replaceStore(b); err != nil {
		w.facts.violate("put back: %v", err)
		return false
	}
	last := w.seen
	w.seen = b.seq
	w.facts.forget(b.known, how == folder)
	if how != folder {
		if how == alone {
			_, older := errors.AsType[*backup.OlderError](backup.CheckMark(w.ctx, &mark, w.store))
			if older {
				w.facts.count("older store file refused")
			} else if last > b.seq {
				w.facts.violate("a store that is older by %d records is not refused", last-b.seq)
			}
		}
		w.beginEpoch()
	}
	if b.anchors < len(w.anchors) {
		w.facts.happens("older anchor restored", "the pool has its anchor number %d again", b.anchors)
	}
	w.anchor = b.anchors - 1
	w.enrollAnew()
	w.startAll()
	return true
}

func (w *World) replaceStore(b *snapshot) error {
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

// lookAfter is what the owners of devices do that have followed to an anchor which the pool has no
// more, once these say that they do not believe who answers: signet-agent enroll --anchor.
func (w *World) lookAfter() {
	for _, d := range w.devices {
		d.mu.Lock()
		strays := w.anchorNumber(d.flash.Pin) > w.anchor && d.told == nil
		a := d.agent
		d.mu.Unlock()
		if !strays || a.Status().Phase != agent.PhaseDistrust {
			continue
		}
		_, err := w.store.Device(w.ctx, d.id)
		d.mu.Lock()
		d.anew, d.told, d.stranger = true, w.anchors[w.anchor], err != nil
		d.mu.Unlock()
		w.facts.happens("device told to believe an older anchor", "the owner of %s names the anchor", d.id)
		d.restart()
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

// backAndForth is what happens to the broker's keys, store and clock that devices are to get over: those
// that are in, and those that sleep meanwhile.
var backAndForth = []string{
	"anchor rotated", "keys rotated", "backup restored", "older copy put back", "older store file put back",
	"clock of the broker years ahead", "clock of the broker years behind",
}

// What is counted of a fault beside it.
const (
	met    = ", of a device that is in"
	asleep = ", while a device sleeps"
	while  = ", while: " // the fault lasts
)

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
		w.befalls(w.devices, what, "the broker's clock is %v off", years)
		w.setYears(years, what)
		who.rest(time.Until(w.rightAt))
		kept()
		w.facts.say("the broker's clock is right again")
		w.setYears(0, "")
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

// setYears sets the broker's clock wrong; what happens meanwhile is counted as under that fault.
func (w *World) setYears(d time.Duration, fault string) {
	w.facts.mu.Lock()
	w.facts.under = fault
	w.facts.mu.Unlock()
	w.clock.Lock()
	defer w.clock.Unlock()
	w.years = d
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

package sim

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/auth/level"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/core"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/test/harness"
)

// The size of a world and the length of its life, in virtual time.
const (
	devices    = 5
	replicas   = 2
	chaos      = 5 * time.Minute
	accessLife = broker.MinAccessLife
)

// A World is one run.
type World struct {
	seed      uint64
	size      int // devices
	ctx       context.Context
	stop      context.CancelFunc
	busy      sync.WaitGroup
	folder    string
	store     *boltstore.Store // the handle that opened the file: the operators'
	gate      *gate
	opener    int  // the replica that has that handle, too, as a signetd has; the others have their own
	backedUp  bool // there is a backup that is, or was, put back: it has the keys from before
	authority *authority
	rotating  bool       // the pool is being given another anchor
	seen      uint64     // the last record that the watcher has read
	parts     core.Parts // of every broker; a replica has its own clock, randomness and, mostly, handle on the store
	pool      ident.Pool
	issuer    string // of the pool's tokens
	dir       *control.Plane
	stage     *stage
	actors    int    // so far
	fate      *actor // misfortune, and the world's own voice
	watcher   *actor // follows the journal
	replicas  []*replica
	devices   []*device
	copies    []*device // whoever has a device's key and state runs them
	wrongKey  agent.Prover
	net       *network
	facts     *facts
	thieves   int
	stamps    uint32 // messages that devices have sent themselves
	sealer    control.Sealer
	anchors   [][]byte  // thumbprints, the pool's first one first
	anchor    int       // which of them it has
	built     time.Time // before which no device believes that it is
	rightAt   time.Time // when the broker's clocks are right again; zero: they were never years off

	stolen    []*stolenKey // signing keys that the network has
	intruders []*conn      // the network's connections by them
	forged    int          // those that it has tried

	clock sync.Mutex // guards years
	years time.Duration
}

// An Outcome is what a run came to.
type Outcome struct {
	Violations []string
	Story      []string
	Digest     string // of the story and of every byte that was carried: the same seed gives the same
	Counts     map[string]int
}

// Run lives the world of a seed to its end. It must be called in a synctest bubble,
// with the process's randomness seeded (testing/cryptotest).
func Run(t *testing.T, seed uint64, folder string) (*Outcome, error) {
	return run(t, &World{seed: seed, facts: newFacts(), size: devices}, folder, func(w *World) {
		w.net.broker.open = true
		w.misfortune()
		w.intrude(w.replicas...)
	})
}

// run lives a world, the time before it heals as it is told.
func run(t *testing.T, w *World, folder string, life func(*World)) (*Outcome, error) {
	w.stage = newStage(w.newDice("turns"))
	w.fate = w.newActor(w.newDice("fate"))
	w.watcher = w.newActor(w.newDice("journal"))
	w.ctx, w.stop = context.WithCancel(t.Context())
	defer w.stop()
	if err := w.build(t, folder); err != nil {
		return nil, err
	}
	go w.stage.conduct()
	defer close(w.stage.over)
	w.fate.turn()
	w.goes(w.watcher, w.watch)
	for _, d := range w.devices {
		w.goes(d.actor, d.live)
	}
	life(w)
	w.heal()
	w.facts.end()
	w.stop()
	w.shutDown()
	if err := w.closeStore(t.Context()); err != nil {
		return nil, err
	}
	return w.facts.outcome(), nil
}

func (w *World) build(t *testing.T, folder string) (err error) {
	kek, err := atrest.LoadOrCreate(filepath.Join(folder, "kek"))
	if err != nil {
		return err
	}
	w.folder, w.built, w.gate = folder, time.Now().AddDate(-1, 0, 0), &gate{w: w}
	w.opener = w.newDice("who opens the store").roll(replicas + 1)
	if w.authority, err = newAuthority(givenLife(w.newDice("whose certificates").roll(8))); err != nil {
		return err
	}
	if err := w.openStore(filepath.Join(folder, "db")); err != nil {
		return err
	}
	w.sealer = kek
	w.parts = core.Parts{Store: w.gate, Now: w.now, Sealer: kek, Issuer: "https://signet.example", Random: w.reader("operators"), Level: level.Clock{Nap: time.Sleep}}
	operators, err := core.New(w.ctx, w.parts)
	if err != nil {
		return err
	}
	w.dir = operators.Control
	if w.pool, err = ident.ParsePool("demo"); err != nil {
		return err
	}
	pool, err := w.dir.CreatePool(w.ctx, broker.By{Actor: broker.ActorLocal}, w.pool)
	if err != nil {
		return err
	}
	w.issuer = pool.Issuer
	anchor, err := control.Anchor(pool)
	if err != nil {
		return err
	}
	first := anchor.Thumbprint()
	w.anchors = [][]byte{first[:]}
	client := broker.Client{Pool: w.pool, ID: broker.DefaultClient, AccessLife: accessLife, RefreshLife: time.Hour, MaxSessions: broker.DefaultMaxSessions, Grace: w.fate.dice.upTo(3 * time.Minute).Round(time.Second)}
	if _, err := w.dir.Clients().Replace(w.ctx, broker.By{Actor: broker.ActorLocal}, client, nil); err != nil {
		return err
	}
	mine, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	w.net = &network{w: w, mine: mine, calls: map[protocol.CallID]*overheard{}, tried: map[[32]byte]bool{}, loot: map[string]*protocol.GrantBody{}, broker: mqttBroker{known: map[string]bool{}, tried: map[string]bool{}}}
	for i := range replicas {
		r := &replica{w: w, number: i, dice: w.newDice("clock of replica %d", i), sessions: map[string]*session{}}
		if err := r.start(); err != nil {
			return err
		}
		w.replicas = append(w.replicas, r)
	}
	w.wrongKey = harness.NewEd25519(t)
	return w.populate(t)
}

// openStore makes the store at path the world's.
func (w *World) openStore(path string) error {
	s, err := boltstore.Open(w.ctx, path, boltstore.Options{UnsafeNoSync: true, Now: w.now})
	if err != nil {
		return err
	}
	w.store, w.gate.Store = s, s
	return nil
}

// shutDown ends the world, which has stopped.
func (w *World) shutDown() {
	for _, r := range w.replicas {
		r.crash()
	}
	w.busy.Wait()
}

// someReplica is the one that who connects to.
func (w *World) someReplica(who *actor) *replica { return w.replicas[who.dice.roll(len(w.replicas))] }

// closeStore checks that nobody wrote into what its handles share, and closes it.
func (w *World) closeStore(ctx context.Context) error {
	err := w.store.CheckShared(ctx)
	for _, r := range w.replicas {
		err = errors.Join(err, r.gate.CheckShared(ctx))
	}
	return errors.Join(err, w.store.Close())
}

// populate makes the devices, each with a token for one enrollment.
func (w *World) populate(t *testing.T) error {
	for i := range w.size {
		name, err := ident.ParseName(fmt.Sprintf("lamp-%d", i))
		if err != nil {
			return err
		}
		_, text, err := w.dir.CreateEnrollToken(w.ctx, broker.By{Actor: broker.ActorLocal}, control.NewEnrollToken{Pool: w.pool, Uses: 1, Life: 24 * time.Hour})
		if err != nil {
			return err
		}
		tok, err := protocol.ParseEnrollToken(text)
		if err != nil {
			return err
		}
		d := &device{w: w, id: ident.Device{Pool: w.pool, Name: name}, key: harness.NewEd25519(t), token: &tok, actor: w.newActor(w.newDice("lamp %d", i))}
		if i%2 == 1 {
			d.key = harness.NewP256(t)
		}
		w.devices = append(w.devices, d)
	}
	return nil
}

// watch follows the journal, whose records come one after the other. It looks as late as a
// replica may.
func (w *World) watch() {
	me := w.watcher
	for w.ctx.Err() == nil {
		_ = w.store.Await(w.ctx, w.seen) // it ends early when the store is put back
		me.rest(me.dice.upTo(time.Second))
		records, err := w.store.Since(w.ctx, w.seen, 1000)
		if err != nil && w.ctx.Err() == nil {
			w.facts.violate("the journal after %d: %v", w.seen, err)
			return
		}
		for _, r := range records {
			if r.Seq != w.seen+1 {
				w.facts.violate("record %d comes after record %d", r.Seq, w.seen)
			}
			w.seen = r.Seq
		}
	}
}

// misfortune happens for a while.
func (w *World) misfortune() {
	dice := w.fate.dice
	switch dice.roll(7) {
	case 0:
		w.putBackLater(restored)
	case 1:
		w.putBackLater(folder)
	case 2:
		w.putBackLater(alone)
	case 3:
		w.wrongClocks(time.Hour)
		if dice.roll(2) == 0 {
			w.putBackLater(restored)
		}
	case 4, 5: // so short that what was sealed before may come again
		w.wrongClocks(time.Minute + dice.upTo(time.Minute))
	}
	w.putFolderBackLater()
	for end := time.Now().Add(chaos); time.Now().Before(end); {
		w.fate.rest(dice.upTo(6 * time.Second))
		w.lookAfter()
		d := w.devices[dice.roll(len(w.devices))]
		if dice.roll(16) == 0 {
			w.intrude(w.someReplica(w.fate))
		}
		if dice.roll(40) == 0 {
			d.enrollAgain()
		}
		switch dice.roll(16) {
		case 0:
			w.operate(func(ctx context.Context) { _, _ = w.dir.DisableDevice(ctx, broker.By{Actor: broker.ActorLocal}, d.id) }) // it may not be enrolled yet
		case 1, 2, 3:
			w.operate(func(ctx context.Context) {
				_, _ = w.dir.EnableDevice(ctx, broker.By{Actor: broker.ActorLocal}, w.disabled(d).id)
			})
		case 4:
			w.fail(w.replicas[dice.roll(len(w.replicas))], 0)
		case 5:
			years := time.Duration(dice.roll(580)-290) * 365 * 24 * time.Hour // no Duration is longer
			if dice.roll(2) == 0 {
				years /= 8
			}
			w.befalls([]*device{d}, "clock of a device jumps", "the clock of %s is %v off", d.id, years)
			d.jump(years)
		case 6:
			w.facts.happens("reboot", "%s reboots", d.id)
			if dice.roll(3) == 0 {
				w.befalls([]*device{d}, "device sleeps", "%s sleeps", d.id)
				d.mu.Lock()
				d.nap = dice.upTo(3 * time.Minute)
				d.mu.Unlock()
			}
			d.restart()
		case 7:
			w.facts.happens("connection lost", "%s loses its connection", d.id)
			if dice.roll(2) == 0 {
				d.lose()
			} else {
				d.cut()
			}
		case 8, 9:
			d.hint() // not signed: anyone can make a device renew
		case 11, 12:
			w.operate(func(ctx context.Context) { _, _ = w.dir.RevokeSessions(ctx, broker.By{Actor: broker.ActorLocal}, d.id) })
		case 10:
			w.replicas[dice.roll(len(w.replicas))].skew()
		case 13:
			w.loseSigningKey()
		case 15:
			w.rotateAnchor()
		default:
			w.thieves++
			if th := w.steal(d, w.thieves); th != nil {
				w.goes(th.actor, th.try)
			}
		}
	}
}

// befalls is what happens to devices, to all of them if it is the broker's. Those that are in are
// counted as well: what meets none of them shows nothing.
func (w *World) befalls(whom []*device, what, format string, args ...any) {
	in := 0
	for _, d := range whom {
		if !d.standing().Device.IsZero() {
			in++
		}
	}
	w.facts.add(what+met, in)
	w.facts.happens(what, format, args...)
}

// disabled gives a device that is disabled, or d if none is.
func (w *World) disabled(d *device) *device {
	if i := slices.IndexFunc(w.devices, func(d *device) bool { return w.facts.isDisabled(d.id) }); i >= 0 {
		return w.devices[i]
	}
	return d
}

// operate lets an operator do something, at his own pace.
func (w *World) operate(f func(context.Context)) {
	who := w.newActor(w.fate.dice.more())
	w.goes(who, func() { f(w.as(who)) })
}

// as is a context for what who asks of the store.
func (w *World) as(who *actor) context.Context {
	return context.WithValue(w.ctx, requestKey{}, &request{who: who})
}

// fail crashes a replica within a time and starts it again.
func (w *World) fail(r *replica, within time.Duration) {
	who := w.newActor(w.fate.dice.more())
	w.goes(who, func() {
		if within > 0 {
			who.rest(who.dice.upTo(within))
		}
		if within == 0 && who.dice.roll(2) == 0 {
			w.facts.happens("replica restarted", "replica %d is restarted", r.number)
			r.leave(who)
		} else {
			w.facts.happens("replica crashes", "replica %d crashes", r.number)
			r.crash()
		}
		if who.sleep(w.ctx, who.dice.upTo(30*time.Second)) {
			w.restart(r)
		}
	})
}

// restart starts a replica, which crashes before if it runs.
func (w *World) restart(r *replica) {
	r.crash()
	if err := r.start(); err != nil && w.ctx.Err() == nil {
		w.facts.violate("replica %d does not start: %v", r.number, err)
	}
}

// goes lets who do f, from its next turn on, and the world wait for its end.
func (w *World) goes(who *actor, f func()) {
	w.busy.Go(func() {
		who.turn()
		f()
	})
}

package sim

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/directory"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/test/harness"
)

// The size of a world and the length of its life, in virtual time.
const (
	devices  = 5
	replicas = 2
	chaos    = 8 * time.Minute
	// recovery is how long a device may take to be in again: its token's life, if a
	// jump of its clock lets it believe in the token for ever, and a few backoffs.
	recovery   = accessLife + 4*time.Minute
	accessLife = broker.MinAccessLife
)

// A World is one run.
type World struct {
	seed     uint64
	ctx      context.Context
	stop     context.CancelFunc
	busy     sync.WaitGroup
	store    *boltstore.Store
	secrets  *atrest.Key
	cluster  []byte
	pool     ident.Pool
	dir      *directory.Directory
	verifier *verify.Verifier
	replicas []*replica
	devices  []*device
	wrongKey agent.Prover
	net      *network
	facts    *facts
	thieves  int

	fate *dice // misfortune's own
}

// An Outcome is what a run came to.
type Outcome struct {
	Violations []string
	Story      []string
	Digest     string // of the whole story: the same seed gives the same
	Counts     map[string]int
}

// Run lives the world of a seed to its end. It must be called in a synctest bubble.
func Run(t *testing.T, seed uint64, folder string) (*Outcome, error) {
	w := &World{seed: seed, facts: newFacts()}
	w.fate = w.newDice("fate")
	w.ctx, w.stop = context.WithCancel(t.Context())
	defer w.stop()
	if err := w.build(t, folder); err != nil {
		return nil, err
	}
	for _, d := range w.devices {
		w.goes(d.live)
	}
	w.misfortune()
	w.heal()
	w.stop()
	w.busy.Wait()
	if err := w.store.Close(); err != nil {
		return nil, err
	}
	return w.facts.outcome(), nil
}

func (w *World) build(t *testing.T, folder string) (err error) {
	if w.secrets, err = atrest.LoadOrCreate(filepath.Join(folder, "kek")); err != nil {
		return err
	}
	if w.store, err = boltstore.Open(w.ctx, filepath.Join(folder, "db"), boltstore.Options{UnsafeNoSync: true}); err != nil {
		return err
	}
	w.cluster = make([]byte, 32)
	if _, err := w.reader("cluster").Read(w.cluster); err != nil {
		return err
	}
	g := &gate{Store: w.store, w: w, dice: w.newDice("operators")}
	if w.dir, err = directory.New(directory.Config{Store: g, Sealer: w.secrets, Notifier: w, Issuer: "https://signet.example"}); err != nil {
		return err
	}
	if w.pool, err = ident.ParsePool("demo"); err != nil {
		return err
	}
	if _, err := w.dir.CreatePool(w.ctx, w.pool); err != nil {
		return err
	}
	client := broker.Client{Pool: w.pool, ID: broker.DefaultClient, AccessLife: accessLife, RefreshLife: time.Hour, Grace: w.fate.upTo(3 * time.Minute).Round(time.Second)}
	if err := w.store.PutClient(w.ctx, client); err != nil {
		return err
	}
	mine, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	w.net = &network{w: w, mine: mine, calls: map[protocol.CallID]*overheard{}, loot: map[string]*protocol.GrantBody{}}
	for i := range replicas {
		r := &replica{w: w, number: i}
		if err := r.start(); err != nil {
			return err
		}
		w.replicas = append(w.replicas, r)
	}
	if w.verifier, err = w.newVerifier(); err != nil {
		return err
	}
	w.wrongKey = harness.NewEd25519(t)
	return w.populate(t)
}

func (w *World) newVerifier() (*verify.Verifier, error) {
	ring, err := mint.NewKeys(w.store, w.secrets, nil).Ring(w.ctx, w.pool)
	if err != nil {
		return nil, err
	}
	set, err := verify.NewKeySet(ring.Verifiers...)
	if err != nil {
		return nil, err
	}
	return verify.New(verify.Config{Issuer: ring.Issuer, Audience: w.pool.String(), Algorithms: []token.Alg{token.ES256}, Keys: set})
}

// populate makes the devices, each with a token for one enrolment.
func (w *World) populate(t *testing.T) error {
	for i := range devices {
		name, err := ident.ParseName(fmt.Sprintf("lamp-%d", i))
		if err != nil {
			return err
		}
		_, text, err := w.dir.CreateEnrolToken(w.ctx, directory.NewEnrolToken{Pool: w.pool, Uses: 1, Life: 24 * time.Hour})
		if err != nil {
			return err
		}
		tok, err := protocol.ParseEnrolToken(text)
		if err != nil {
			return err
		}
		d := &device{w: w, id: ident.Device{Pool: w.pool, Name: name}, key: harness.NewEd25519(t), token: &tok, dice: w.newDice("lamp %d", i)}
		if i%2 == 1 {
			d.key = harness.NewP256(t)
		}
		w.devices = append(w.devices, d)
	}
	return nil
}

// DeviceChanged ends the connection of a device that may no longer have one.
func (w *World) DeviceChanged(_ context.Context, id ident.Device, s broker.Status) {
	for _, d := range w.devices {
		if d.id == id && s != broker.StatusActive {
			d.cut()
		}
	}
}

// misfortune happens for a while.
func (w *World) misfortune() {
	for end := time.Now().Add(chaos); time.Now().Before(end); {
		w.sleep(w.fate.upTo(6 * time.Second))
		d := w.devices[w.fate.roll(len(w.devices))]
		switch w.fate.roll(12) {
		case 0:
			w.goes(func() { _, _ = w.dir.DisableDevice(w.ctx, d.id) }) // it may not be enrolled yet
		case 1, 2, 3:
			w.goes(func() { _, _ = w.dir.EnableDevice(w.ctx, d.id) })
		case 4:
			r, down := w.replicas[w.fate.roll(len(w.replicas))], w.fate.upTo(30*time.Second)
			w.facts.say("replica %d crashes", r.number)
			r.crash()
			w.goes(func() {
				if w.sleep(down) {
					w.restart(r)
				}
			})
		case 5:
			years := time.Duration(w.fate.roll(80)-40) * 365 * 24 * time.Hour
			w.facts.say("the clock of %s is %v off", d.id, years)
			d.jump(years)
		case 6:
			w.facts.say("%s reboots", d.id)
			d.restart()
		case 7:
			w.facts.say("%s loses its connection", d.id)
			d.cut()
		case 8, 9:
			d.hint() // not signed: anyone can make a device renew
		default:
			w.thieves++
			if th := w.steal(d, w.thieves); th != nil {
				w.goes(th.try)
			}
		}
		synctest.Wait() // one after another, or who is first would not be the seed's choice
	}
}

func (w *World) restart(r *replica) {
	r.crash()
	if err := r.start(); err != nil && w.ctx.Err() == nil {
		w.facts.violate("replica %d does not start: %v", r.number, err)
	}
}

// heal ends all faults and waits for every device.
func (w *World) heal() {
	w.net.settle()
	w.sleep(3 * time.Minute) // what is under way arrives, thieves give up
	for _, r := range w.replicas {
		w.restart(r)
	}
	for _, d := range w.devices {
		if _, err := w.dir.EnableDevice(w.ctx, d.id); err != nil && !errors.Is(err, broker.ErrNotFound) {
			w.facts.violate("enable %s: %v", d.id, err)
		}
	}
	w.facts.say("the last fault is over")
	healed := time.Now()
	for time.Since(healed) < recovery {
		w.sleep(time.Second)
		missing := 0
		for _, d := range w.devices {
			if !d.lastIn().After(healed) {
				missing++
			}
		}
		if missing == 0 {
			return
		}
	}
	for _, d := range w.devices {
		if !d.lastIn().After(healed) {
			w.facts.violate("%s is not in %v after the last fault: %v", d.id, recovery, d.agent.Status().Err)
		}
	}
}

// goes runs f and lets the world wait for its end.
func (w *World) goes(f func()) { w.busy.Go(f) }

// sleep reports whether the world is still there after d.
func (w *World) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.ctx.Done():
		return false
	}
}

// dice are one actor's choices. Each actor has its own, so that what one does at
// some instant is no other's choice at the same instant.
type dice struct {
	mu  sync.Mutex // guards rng
	rng *mathrand.Rand
}

func (w *World) newDice(format string, args ...any) *dice {
	return &dice{rng: mathrand.New(mathrand.NewChaCha8(w.derive(format, args...)))}
}

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

// upTo gives 0 < d <= most, to the nanosecond so that no two things happen at once.
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

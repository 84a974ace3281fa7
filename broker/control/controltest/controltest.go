// Package controltest has a world for tests of what operators do: a Plane over a real
// store that need not be durable, a sealer with a key of its own, a clock that
// stands still and a notifier that remembers.
package controltest

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/proof"
)

// A Clock stands still until it is moved.
type Clock struct {
	mu sync.Mutex // guards at
	at time.Time
}

// NewClock makes a clock that shows at.
func NewClock(at time.Time) *Clock { return &Clock{at: at} }

// Now gives the time that the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// A World is a Plane over an empty store with all that it stands on.
type World struct {
	*control.Plane
	Store  *boltstore.Store
	Sealer *atrest.Key
	Clock  *Clock
}

// New makes a World that begins on 1 January 2026 and ends with the test.
func New(t testing.TB) *World {
	t.Helper()
	sealer, err := atrest.New(make([]byte, atrest.KeyLen))
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Sealer: sealer, Clock: NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}
	w.Store, err = boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), boltstore.Options{
		Now: w.Clock.Now, SweepEvery: -1, UnsafeNoSync: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Store.CheckShared(context.Background()); err != nil {
			t.Error(err)
		}
		_ = w.Store.Close()
	})
	w.Plane, err = control.New(control.Config{
		Store: w.Store, Sealer: sealer, Issuer: "https://signet.example:8443", Makers: proof.Makers(), Now: w.Clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// PutClient writes a client as a test has it in one line. Zero lives and audiences are
// what the API would make of absent ones. With create it must be new, without it must exist.
func PutClient(ctx context.Context, p *control.Plane, by broker.By, c broker.Client, create bool) (broker.Client, error) {
	usual := broker.NewClient(c.Pool, c.ID)
	if c.AccessLife == 0 {
		c.AccessLife = usual.AccessLife
	}
	if len(c.Audiences) == 0 {
		c.Audiences = usual.Audiences
	}
	return put(ctx, by, p.Clients(), c, create)
}

// PutFlow writes a flow. With create it must be new, without it must exist.
func PutFlow(ctx context.Context, p *control.Plane, by broker.By, f broker.Flow, create bool) (broker.Flow, error) {
	return put(ctx, by, p.Flows(), f, create)
}

func put[N any](ctx context.Context, by broker.By, s control.Settings[N], n N, create bool) (N, error) {
	if create {
		n, _, err := s.Create(ctx, by, n)
		return n, err
	}
	return s.Replace(ctx, by, n, nil)
}

// CreateHook registers a hook, with the usual timeout if h has none, and gives its secret.
func CreateHook(ctx context.Context, p *control.Plane, by broker.By, h broker.Hook) (broker.Hook, string, error) {
	if h.Timeout == 0 {
		h.Timeout = broker.DefaultHookTimeout
	}
	return p.Hooks().Create(ctx, by, h)
}

// Package controltest has a world for tests of what operators do: a Plane over a real
// store that need not be durable, a sealer with a key of its own, a clock that
// stands still and a notifier that remembers.
package controltest

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
)

// A Change is one call of a Notifier.
type Change struct {
	ID      ident.Device
	Status  broker.Status
	Session ident.UUID // of SessionEnded
}

// A Notifier remembers what it was told.
type Notifier struct {
	mu   sync.Mutex // guards seen
	seen []Change
}

// DeviceChanged implements control.Notifier.
func (n *Notifier) DeviceChanged(_ context.Context, id ident.Device, status broker.Status) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, Change{ID: id, Status: status})
}

// SessionEnded implements control.Notifier.
func (n *Notifier) SessionEnded(_ context.Context, id ident.Device, session ident.UUID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, Change{ID: id, Session: session})
}

// Seen gives all changes so far.
func (n *Notifier) Seen() []Change {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.seen)
}

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
	Store    *boltstore.Store
	Notifier *Notifier
	Sealer   *atrest.Key
	Clock    *Clock
}

// New makes a World that begins on 1 January 2026 and ends with the test.
func New(t testing.TB) *World {
	t.Helper()
	sealer, err := atrest.New(make([]byte, atrest.KeyLen))
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Notifier: &Notifier{}, Sealer: sealer, Clock: NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}
	w.Store, err = boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), boltstore.Options{
		Now: w.Clock.Now, SweepEvery: -1, UnsafeNoSync: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Store.Close() })
	w.Plane, err = control.New(control.Config{
		Store: w.Store, Sealer: sealer, Notifier: w.Notifier, Issuer: "https://signet.example:8443", Now: w.Clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

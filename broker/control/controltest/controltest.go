// Package controltest has a world for tests of what operators do: a Plane over a real
// store that need not be durable, a sealer with a key of its own, a clock that
// stands still and a notifier that remembers.
package controltest

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/control"
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
	t.Cleanup(func() { _ = w.Store.Close() })
	w.Plane, err = control.New(control.Config{
		Store: w.Store, Sealer: sealer, Issuer: "https://signet.example:8443", Now: w.Clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

package controltest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
)

var _ control.Store = (*Store)(nil)

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

// A World is a directory over an empty store with all that it stands on.
type World struct {
	*control.Plane
	Store    *Store
	Notifier *Notifier
	Sealer   *atrest.Key
	Clock    *Clock
}

// New makes a World that begins on 1 January 2026.
func New() (*World, error) {
	sealer, err := atrest.New(make([]byte, atrest.KeyLen))
	if err != nil {
		return nil, err
	}
	w := &World{
		Store: NewStore(), Notifier: &Notifier{}, Sealer: sealer,
		Clock: NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
	}
	w.Plane, err = control.New(control.Config{
		Store: w.Store, Sealer: sealer, Notifier: w.Notifier, Issuer: "https://signet.example:8443", Now: w.Clock.Now,
	})
	return w, err
}

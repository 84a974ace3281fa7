package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/core"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

var errCrashed = errors.New("sim: the replica crashed")

// maxSkew is how far a replica's clock is off at most, so that two replicas are up
// to five minutes apart.
const maxSkew = 150 * time.Second

// A replica is one process of the cluster: its own clock, keys, randomness, and handle on the
// shared store with what that remembers. A crash loses all it has in memory, its connections,
// and all it was doing.
type replica struct {
	w      *World
	number int
	dice   *dice

	mu     sync.Mutex // guards the fields below
	off    time.Duration
	starts int
	shown  *x509.Certificate // of its TLS
	gate   *gate             // of its last start
	door   *door             // nil: it is down
	kill   context.CancelFunc
	kept   [][]byte // of its MQTT server, over a planned restart

	sessions map[string]*session // by client id; the facts' mu guards them
}

func (r *replica) start() error {
	r.mu.Lock()
	r.starts++
	random := r.w.reader("replica %d, start %d", r.number, r.starts)
	r.mu.Unlock()
	store := r.w.store
	if r.number != r.w.opener {
		var err error
		if store, err = r.w.store.Handle(r.w.ctx); err != nil {
			return err
		}
	}
	r.gate = &gate{Store: store, w: r.w}
	parts := r.w.parts
	parts.Store, parts.Now, parts.Random = r.gate, r.clock, random
	c, err := core.New(r.w.ctx, parts)
	if err != nil {
		return err
	}
	ctx, kill := context.WithCancel(r.w.ctx)
	d, err := r.newDoor(ctx, c)
	if err != nil {
		kill()
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.door, r.kill = d, kill
	phase := r.dice.upTo(time.Second)
	go func() { // until the crash or the end of the world
		time.Sleep(phase) // it looks when what it reads by does not
		c.Tail.Run(ctx)
	}()
	return nil
}

// clock is the replica's own time.
func (r *replica) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.w.now().Add(r.off)
}

// when gives the true time at which the replica's clock will show t.
func (r *replica) when(t time.Time) time.Time { return time.Now().Add(t.Sub(r.clock())) }

// at gives what the replica's clock shows at the true time t.
func (r *replica) at(t time.Time) time.Time { return r.clock().Add(time.Until(t)) }

// skew sets the replica's clock wrong.
func (r *replica) skew() {
	r.mu.Lock()
	r.off = r.dice.upTo(2*maxSkew) - maxSkew
	off := r.off
	r.mu.Unlock()
	r.w.facts.happens("clock of a replica set", "the clock of replica %d is %v off", r.number, off)
	if apart := r.w.replicas[0].clock().Sub(r.w.replicas[1].clock()).Abs(); apart > auth.SessionLife {
		r.w.facts.count("replicas further apart than a challenge lives")
	}
}

// running is the replica's MQTT server, nil while it is down.
func (r *replica) running() *door {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.door
}

// leave ends the replica in good order, as for a planned restart: its MQTT sessions outlive it.
func (r *replica) leave(who *actor) {
	d := r.running()
	if d == nil {
		return
	}
	const look = 50 * time.Millisecond // longer than the server takes to look whether it is done, which it may be at once
	began := time.Now()
	kept, sessions := d.leave(), r.sessions
	who.rest(look - time.Since(began)%look)
	if r.running() != d {
		return // it crashed meanwhile
	}
	r.crash()
	r.kept, r.sessions = kept, sessions
}

func (r *replica) crash() {
	r.mu.Lock()
	d := r.door
	if d != nil {
		r.kill()
		r.door = nil
	}
	r.mu.Unlock()
	if d == nil {
		return
	}
	d.crash()
	r.w.facts.mu.Lock()
	r.kept, r.sessions = nil, map[string]*session{}
	r.w.facts.mu.Unlock()
	if r.gate.Store != r.w.store {
		_ = r.gate.Close() // of a further handle nothing fails
	}
}

// upToDate wants a replica that has heard all to go by the pool as it is now.
func (r *replica) upToDate(ctx context.Context, c *core.Core, now *broker.Pool) {
	mine, err := r.gate.Catalog.Pool(ctx, r.w.pool)
	if err == nil && mine.Rev != now.Rev {
		r.w.facts.violate("replica %d has heard of all, and reads the pool of revision %d, not %d", r.number, mine.Rev, now.Rev)
	}
	ring, err := c.Keys.Ring(ctx, r.w.pool)
	if err == nil && !bytes.Equal(ring.Anchor, now.Anchor) {
		r.w.facts.violate("replica %d has heard of all, and signs for the anchor from before", r.number)
	}
}

// answered notes what the replica made of a request.
func (r *replica) answered(ctx context.Context, reply *exchange.Reply) {
	if reply.Message == nil {
		r.w.facts.count("message not answered")
		return
	}
	r.w.facts.replied(requestOf(ctx), reply)
	if ctx.Err() != nil {
		r.w.facts.count("reply lost in a crash")
		return
	}
	a := reply.Admitted
	if a == nil {
		return
	}
	if a.Newer != "" {
		r.w.facts.happens("device has more than the store knows of", "%s has %s", a.Standing.Device, a.Newer)
		if strings.Contains(a.Newer, "key statement") {
			r.w.facts.count("device shows a newer key statement")
		}
	}
	if !a.Here {
		r.w.facts.count("grant on a connection that the device did not name")
	}
}

// refreshIn gives the refresh token's handle that a message presents, and the hash of what it proves;
// zero of a message that is no refresh.
func refreshIn(raw []byte) (handle string, proved [sha256.Size]byte) {
	m, err := protocol.Decode(raw)
	if err != nil {
		return "", proved
	}
	refresh, ok := m.(*protocol.Refresh)
	if !ok {
		return "", proved
	}
	body, err := protocol.DecodeRefreshBody(refresh.Body)
	if err != nil {
		return "", proved
	}
	return string(body.Handle), sha256.Sum256(refresh.Body)
}

type requestKey struct{}

func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{}
}

// gate is the way to the store: it pauses before and after each call, so that
// replicas and operators interleave in every order, and a crash comes before a
// commit as well as between it and its acknowledgement.
type gate struct {
	*boltstore.Store
	w *World
}

func (g *gate) pause(ctx context.Context) error {
	who := requestOf(ctx).who
	if who == nil {
		return nil // the world is being made
	}
	who.rest(who.dice.short())
	if ctx.Err() != nil {
		return errCrashed
	}
	return nil
}

// Device reads between two pauses.
func (g *gate) Device(ctx context.Context, id ident.Device) (broker.Device, error) {
	if err := g.pause(ctx); err != nil {
		return broker.Device{}, err
	}
	d, err := g.Store.Device(ctx, id)
	return d, errors.Join(err, g.pause(ctx))
}

// RecordLogin commits and tells facts in one step.
func (g *gate) RecordLogin(ctx context.Context, by broker.By, l broker.Login) (broker.Recorded, error) {
	g.ambush(ctx, l.Session.Device)
	if err := g.pause(ctx); err != nil {
		g.w.facts.count("crash before a commit")
		return broker.Recorded{}, err
	}
	f := g.w.facts
	f.mu.Lock()
	found, err := g.Store.RecordLogin(ctx, by, l)
	if err == nil {
		f.loggedIn(requestOf(ctx), &l.Session)
	}
	g.followed(ctx, &l, &found)
	f.mu.Unlock()
	return found, g.after(ctx, err)
}

// ambush lets the device be disabled, or the replica crash, at about the time of a
// commit, now and then.
func (g *gate) ambush(ctx context.Context, id ident.Device) {
	r := requestOf(ctx)
	if r.replica == nil || g.w.net.kind() {
		return
	}
	switch r.who.dice.roll(40) {
	case 0, 1:
		g.w.facts.count("disabling during a commit")
		g.w.operate(func(ctx context.Context) { _, _ = g.w.dir.DisableDevice(ctx, broker.By{Actor: broker.ActorLocal}, id) })
	case 2:
		g.w.fail(r.replica, 10*time.Millisecond)
	}
}

// UpdateSession commits and tells facts in one step.
func (g *gate) UpdateSession(ctx context.Context, by broker.By, id ident.UUID, change func(*broker.Session, *broker.Device) error) (broker.Session, error) {
	var of ident.Device
	if s, err := g.Store.Session(ctx, id); err == nil {
		of = s.Device
		g.ambush(ctx, of)
	}
	if err := g.pause(ctx); err != nil {
		g.w.facts.count("crash before a commit")
		return broker.Session{}, err
	}
	f := g.w.facts
	f.mu.Lock()
	s, err := g.Store.UpdateSession(ctx, by, id, change)
	if err == nil {
		f.refreshed(requestOf(ctx), &s)
	} else {
		f.notRefreshed(id, of)
	}
	f.mu.Unlock()
	return s, g.after(ctx, err)
}

// UpdateDevice is the operators'.
func (g *gate) UpdateDevice(ctx context.Context, by broker.By, id ident.Device, change func(*broker.Device) error) (broker.Device, error) {
	if err := g.pause(ctx); err != nil {
		return broker.Device{}, err
	}
	f := g.w.facts
	f.mu.Lock()
	d, err := g.Store.UpdateDevice(ctx, by, id, change)
	if err == nil {
		f.changed(&d)
	}
	f.mu.Unlock()
	return d, g.after(ctx, err)
}

// after pauses when the store has answered. It gives the store's own error before a crash's.
func (g *gate) after(ctx context.Context, err error) error {
	crash := g.pause(ctx)
	switch {
	case errors.Is(err, broker.ErrUsed):
		g.w.facts.count("commit of a used exchange refused")
	case errors.Is(err, broker.ErrOvertaken):
		g.w.facts.count("login overtaken")
	case errors.Is(err, broker.ErrInactive):
		g.w.facts.count("commit of a login refused after disabling")
	case err == nil && crash != nil:
		g.w.facts.count("crash between a commit and its acknowledgement")
	}
	if err != nil {
		return err
	}
	return crash
}

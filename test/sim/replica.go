package sim

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
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

// A replica is one process of the cluster: its own clock, keys, caches and randomness
// over the shared store. A crash loses all it has in memory and all it was doing.
type replica struct {
	w      *World
	number int
	dice   *dice

	mu     sync.Mutex // guards the fields below
	off    time.Duration
	starts int
	made   time.Time  // when its certificate begins
	core   *core.Core // nil: it is down
	ctx    context.Context
	kill   context.CancelFunc
}

func (r *replica) start() error {
	r.mu.Lock()
	r.starts++
	random := r.w.reader("replica %d, start %d", r.number, r.starts)
	r.mu.Unlock()
	parts := r.w.parts
	parts.Now, parts.Random = r.clock, random
	c, err := core.New(r.w.ctx, parts)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.core = c
	r.ctx, r.kill = context.WithCancel(r.w.ctx)
	go c.Tail.Run(r.ctx) // until the crash or the end of the world
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

func (r *replica) up() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core != nil
}

func (r *replica) crash() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.core != nil {
		r.kill()
		r.core = nil
	}
}

// handle answers one message and gives the reply to the network, unless it crashes first.
func (r *replica) handle(from *conn, raw []byte, who *actor) {
	r.mu.Lock()
	core, ctx := r.core, r.ctx
	r.mu.Unlock()
	if core == nil {
		r.w.facts.count("message to a replica that is down")
		return
	}
	req := &request{who: who, replica: r, handle: handleIn(raw)}
	reply := core.Exchange.Respond(context.WithValue(ctx, requestKey{}, req), exchange.Caller{Channel: access.Channel{Name: from.far[:]}}, raw)
	if reply.Message == nil {
		r.w.facts.count("message not answered")
		return
	}
	r.w.facts.replied(req, &reply)
	if ctx.Err() != nil {
		r.w.facts.count("reply lost in a crash")
		return
	}
	if a := reply.Admitted; a != nil && a.Newer != "" {
		r.w.facts.happens("device has more than the store knows of", "%s has %s", a.Standing.Device, a.Newer)
		if strings.Contains(a.Newer, "key statement") {
			r.w.facts.count("device shows a newer key statement")
		}
	}
	if a := reply.Admitted; a != nil && a.Here {
		if a.Standing.Device != from.key {
			r.w.facts.violate("a connection of %s became %s's", from.owner, a.Standing.Device)
		}
		r.upgrade(core.Access, from, a.Standing)
	} else if a != nil {
		r.w.facts.count("grant on a connection that the device did not name")
	}
	r.w.net.reply(from, reply.Message)
}

// admit decides on a credential.
func (r *replica) admit(ctx context.Context, c access.Connect) (access.Standing, error) {
	r.mu.Lock()
	core := r.core
	r.mu.Unlock()
	if core == nil {
		return access.Standing{}, errDown
	}
	st, err := core.Access.Admit(ctx, c)
	switch f := r.w.facts; {
	case err == nil:
		f.admitted(c.Device, st.Session)
	case errors.Is(err, broker.ErrInactive):
		f.count("credential of a disabled device refused")
	case errors.Is(err, access.ErrEnded):
		f.count("credential of an ended session refused")
	default:
		f.count("credential refused")
	}
	return st, err
}

// upgrade makes the connection the device's, as an MQTT front does, unless something
// has changed since the request came in.
func (r *replica) upgrade(rule *access.Rule, c *conn, st access.Standing) {
	judge, _, err := rule.Review(r.w.ctx, st.Device, st.Session)
	if err != nil {
		r.w.facts.count("connection not upgraded")
		return
	}
	if st, ok := judge(st); ok {
		c.stands(st, r.when(st.Expires))
	} else {
		r.w.facts.count("connection not upgraded after a change")
	}
}

// handleIn gives the refresh token's handle that a message presents, "" if none.
func handleIn(raw []byte) string {
	m, err := protocol.Decode(raw)
	if err != nil {
		return ""
	}
	refresh, ok := m.(*protocol.Refresh)
	if !ok {
		return ""
	}
	body, err := protocol.DecodeRefreshBody(refresh.Body)
	if err != nil {
		return ""
	}
	return string(body.Handle)
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

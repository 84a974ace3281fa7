package sim

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

var errCrashed = errors.New("sim: the replica crashed")

// A replica is one process of the cluster: its own keys, caches and randomness over
// the shared store. A crash loses all it has in memory and all it was doing.
type replica struct {
	w      *World
	number int

	mu     sync.Mutex // guards the fields below
	starts int
	core   *exchange.Responder // nil: it is down
	ctx    context.Context
	kill   context.CancelFunc
}

func (r *replica) start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts++
	g := &gate{Store: r.w.store, w: r.w}
	random := r.w.reader("replica %d, start %d", r.number, r.starts)
	a, err := auth.New(auth.Config{Directory: g, Secrets: r.w.secrets, SessionKey: r.w.cluster, Random: random})
	if err != nil {
		return err
	}
	m, err := mint.New(mint.Config{Clients: g, Keys: mint.NewKeys(r.w.store, r.w.secrets, nil), RefreshKey: r.w.cluster, Random: random})
	if err != nil {
		return err
	}
	r.core = exchange.New(a, m, g, slog.New(slog.DiscardHandler))
	r.ctx, r.kill = context.WithCancel(r.w.ctx)
	return nil
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
func (r *replica) handle(from *conn, raw []byte, pauses *dice) {
	r.mu.Lock()
	core, ctx := r.core, r.ctx
	r.mu.Unlock()
	if core == nil {
		return
	}
	req := &request{dice: pauses}
	if m, err := protocol.Decode(raw); err == nil {
		if refresh, ok := m.(*protocol.Refresh); ok {
			if body, err := protocol.DecodeRefreshBody(refresh.Body); err == nil {
				req.handle = string(body.Handle)
			}
		}
	}
	reply := core.Respond(context.WithValue(ctx, requestKey{}, req), exchange.Caller{}, raw)
	if reply.Admitted != nil {
		m, err := protocol.Decode(reply.Message)
		g, ok := m.(*protocol.Grant)
		if err != nil || !ok {
			r.w.facts.violate("%s was admitted without a grant", reply.Admitted.Device)
			return
		}
		r.w.facts.grant(req, reply.Admitted.Device, g)
	}
	if ctx.Err() != nil || reply.Message == nil {
		return
	}
	if reply.Admitted != nil {
		from.until(reply.Admitted.Expires)
	}
	r.w.net.reply(from, reply.Message)
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
	w    *World
	dice *dice // of who makes no requests
}

func (g *gate) pause(ctx context.Context) error {
	choices := requestOf(ctx).dice
	if choices == nil {
		choices = g.dice
	}
	select {
	case <-time.After(choices.short()):
		return nil
	case <-ctx.Done():
		return errCrashed
	}
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
func (g *gate) RecordLogin(ctx context.Context, l broker.Login) (broker.Device, error) {
	g.ambush(ctx, l.Session.Device)
	if err := g.pause(ctx); err != nil {
		return broker.Device{}, err
	}
	f := g.w.facts
	f.mu.Lock()
	d, err := g.Store.RecordLogin(ctx, l)
	if err == nil {
		f.loggedIn(requestOf(ctx), &l.Session)
	}
	f.mu.Unlock()
	return d, after(err, g.pause(ctx))
}

// ambush lets an operator disable the device at about the time of its commit, now and then.
func (g *gate) ambush(ctx context.Context, id ident.Device) {
	choices := requestOf(ctx).dice
	if choices == nil || g.w.net.isCalm() || choices.roll(15) != 0 {
		return
	}
	operator := &request{dice: &dice{rng: rand.New(rand.NewPCG(choices.word(), 0))}}
	g.w.goes(func() {
		_, _ = g.w.dir.DisableDevice(context.WithValue(g.w.ctx, requestKey{}, operator), id)
	})
}

// UpdateSession commits and tells facts in one step.
func (g *gate) UpdateSession(ctx context.Context, id ident.UUID, change func(*broker.Session, *broker.Device) error) (broker.Session, error) {
	if err := g.pause(ctx); err != nil {
		return broker.Session{}, err
	}
	f := g.w.facts
	f.mu.Lock()
	s, err := g.Store.UpdateSession(ctx, id, change)
	if err == nil {
		f.refreshed(requestOf(ctx), &s)
	}
	f.mu.Unlock()
	return s, after(err, g.pause(ctx))
}

// UpdateDevice is the operators'.
func (g *gate) UpdateDevice(ctx context.Context, id ident.Device, change func(*broker.Device) error) (broker.Device, error) {
	if err := g.pause(ctx); err != nil {
		return broker.Device{}, err
	}
	f := g.w.facts
	f.mu.Lock()
	d, err := g.Store.UpdateDevice(ctx, id, change)
	if err == nil {
		f.changed(&d)
	}
	f.mu.Unlock()
	return d, after(err, g.pause(ctx))
}

// after gives the store's own error before a crash's.
func after(err, crash error) error {
	if err != nil {
		return err
	}
	return crash
}

// reader is seeded randomness that many may read.
type reader struct {
	mu sync.Mutex // guards r
	r  *rand.ChaCha8
}

var _ io.Reader = (*reader)(nil)

func (r *reader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.r.Read(b)
}

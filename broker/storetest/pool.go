package storetest

import (
	"errors"
	"time"

	"github.com/signetd/signet/broker"
)

var errStop = errors.New("the caller says no")

func poolTests() []test {
	return []test{
		{"a pool comes back as it was", func(e *env) {
			want := broker.Pool{Name: e.pool("a"), Issuer: "https://x/pools/a", Flow: "main", Created: start(),
				Anchor: []byte{1}, AnchorSealed: []byte{2}, AnswerSealed: []byte{3}}
			e.ok(e.pools.CreatePool(e.ctx, by(), want, nil, nil, nil))
			got, err := e.pools.Pool(e.ctx, want.Name)
			e.ok(err)
			e.same(want, got)
		}},
		{"with its first keys, clients and flows", func(e *env) {
			k, c, f := signingKey(e, "a", "k1"), client(e, "a", "app"), flow(e, "a", "main")
			e.ok(e.pools.CreatePool(e.ctx, by(), broker.Pool{Name: e.pool("a")}, []broker.SigningKey{k}, []broker.Client{c}, []broker.Flow{f}))
			keys, err := e.keys.ListSigningKeys(e.ctx, e.pool("a"))
			e.ok(err)
			e.same([]broker.SigningKey{k}, keys)
			gotC, err := e.clients.Client(e.ctx, e.pool("a"), "app")
			e.ok(err)
			e.same(c, gotC)
			gotF, err := e.flows.Flow(e.ctx, e.pool("a"), "main")
			e.ok(err)
			e.same(f, gotF)
		}},
		{"exists", func(e *env) {
			e.addPool("a")
			e.wants(broker.ErrExists, e.pools.CreatePool(e.ctx, by(), broker.Pool{Name: e.pool("a"), Flow: "other"}, nil, nil, nil))
			p, err := e.pools.Pool(e.ctx, e.pool("a"))
			e.ok(err)
			e.same("", p.Flow)
		}},
		{"invalid parts make no pool", func(e *env) {
			bad := client(e, "a", "app")
			bad.AccessLife = time.Second
			e.wants(broker.ErrInvalid, e.pools.CreatePool(e.ctx, by(), broker.Pool{Name: e.pool("a")}, nil, []broker.Client{bad}, nil))
			other := flow(e, "b", "main")
			e.wants(broker.ErrInvalid, e.pools.CreatePool(e.ctx, by(), broker.Pool{Name: e.pool("a")}, nil, nil, []broker.Flow{other}))
			_, err := e.pools.Pool(e.ctx, e.pool("a"))
			e.wants(broker.ErrNotFound, err)
		}},
		{"missing", func(e *env) {
			_, err := e.pools.Pool(e.ctx, e.pool("a"))
			e.wants(broker.ErrNotFound, err)
			e.wants(broker.ErrNotFound, e.pools.DeletePool(e.ctx, by(), e.pool("a")))
		}},
		{"list in order of names", func(e *env) {
			for _, n := range []string{"b", "c", "a"} {
				e.addPool(n)
			}
			all, err := e.pools.ListPools(e.ctx)
			e.ok(err)
			var names []string
			for _, p := range all {
				names = append(names, p.Name.String())
			}
			e.same([]string{"a", "b", "c"}, names)
		}},
		{"update changes the flow and nothing else", updatedPool},
	}
}

func updatedPool(e *env) {
	e.addPool("a")
	name := e.pool("a")
	got, err := e.pools.UpdatePool(e.ctx, by(), name, func(p *broker.Pool) error { p.Flow = "two"; return nil })
	e.ok(err)
	e.same("two", got.Flow)
	stored, err := e.pools.Pool(e.ctx, name)
	e.ok(err)
	e.same(got, stored)
	for _, change := range []func(*broker.Pool){
		func(p *broker.Pool) { p.Name = e.pool("b") }, func(p *broker.Pool) { p.Issuer += "x" },
		func(p *broker.Pool) { p.Anchor = []byte{1} }, func(p *broker.Pool) { p.AnswerSealed = []byte{1} },
	} {
		_, err := e.pools.UpdatePool(e.ctx, by(), name, func(p *broker.Pool) error { change(p); return nil })
		e.wants(broker.ErrInvalid, err)
	}
	_, err = e.pools.UpdatePool(e.ctx, by(), name, func(p *broker.Pool) error { p.Flow = "three"; return broker.ErrConflict })
	e.wants(broker.ErrConflict, err)
	stored, err = e.pools.Pool(e.ctx, name)
	e.ok(err)
	e.same("two", stored.Flow)
	_, err = e.pools.UpdatePool(e.ctx, by(), e.pool("none"), func(*broker.Pool) error { return nil })
	e.wants(broker.ErrNotFound, err)
}

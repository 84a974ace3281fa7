package storetest

import (
	"errors"
	"time"

	"github.com/signetd/signet/broker"
)

var errStop = errors.New("the caller says no")

func poolTests() []test {
	return []test{
		{"a pool comes back as it was, with its first keys", func(e *env) {
			want := broker.Pool{Name: e.pool("a"), Issuer: "https://x/pools/a", Created: start(), Clones: broker.ClonesQuarantine,
				Anchor: []byte{1}, AnchorSealed: []byte{2}, AnswerSealed: []byte{3}}
			k := signingKey(e, "a", "k1")
			e.ok(e.createPool(want, k))
			got, err := e.pools.Pool(e.ctx, want.Name)
			e.ok(err)
			want.Rev = got.Rev
			e.same(want, *got)
			keys, err := e.keys.ListSigningKeys(e.ctx, e.pool("a"))
			e.ok(err)
			e.same([]broker.SigningKey{k}, keys)
		}},
		{"exists", func(e *env) {
			e.addPool("a")
			e.wants(broker.ErrExists, e.createPool(broker.Pool{Name: e.pool("a"), Issuer: "other"}))
			p, err := e.pools.Pool(e.ctx, e.pool("a"))
			e.ok(err)
			e.same("https://signet.example/pools/a", p.Issuer)
		}},
		{"invalid parts make no pool", func(e *env) {
			e.wants(broker.ErrInvalid, e.createPool(broker.Pool{Name: e.pool("a"), Issuer: "https://x"}, signingKey(e, "b", "k1")))
			e.wants(broker.ErrInvalid, e.createPool(broker.Pool{Name: e.pool("a")}))
			e.wants(broker.ErrInvalid, e.createPool(broker.Pool{Name: e.pool("a"), Issuer: "https://x", Flow: "none"}))
			e.wants(broker.ErrInvalid, e.createPool(broker.Pool{Issuer: "https://x"}))
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
		{"update changes the flow and the anchor and nothing else", updatedPool},
		{"a new anchor is a whole one", anchoredPool},
	}
}

// anchoredPool: a pool's anchor changes with all that belongs to it, or not at all.
func anchoredPool(e *env) {
	name := e.pool("a")
	e.ok(e.createPool(broker.Pool{Name: name, Issuer: "https://signet.example/pools/a", Anchor: []byte{1}, AnchorSealed: []byte{1, 1}, AnchorSince: start()}))
	first, err := e.pools.Pool(e.ctx, name)
	e.ok(err)
	update := func(change func(*broker.Pool)) error {
		return e.change(func(tx broker.SettingsTx) error {
			p, err := tx.Pool(name)
			if err != nil {
				return err
			}
			change(&p)
			_, err = tx.UpdatePool(p)
			return err
		})
	}
	second := func(p *broker.Pool) {
		p.Anchor, p.AnchorSealed, p.AnchorSince = []byte{2}, []byte{2, 2}, start().Add(time.Hour)
		p.Successions = []broker.Succession{{From: first.Anchor, Signed: []byte{1, 2}, At: start().Add(time.Hour)}}
	}
	e.ok(update(second))
	stored, err := e.pools.Pool(e.ctx, name)
	e.ok(err)
	want := *first
	second(&want)
	want.Rev = stored.Rev
	e.same(want, *stored)
	third := func(p *broker.Pool) {
		p.Anchor, p.AnchorSealed, p.AnchorSince = []byte{3}, []byte{3, 3}, start().Add(2*time.Hour)
		p.Successions = append(p.Successions, broker.Succession{From: []byte{2}, Signed: []byte{2, 3}, At: start().Add(2 * time.Hour)})
	}
	for _, change := range []func(*broker.Pool){
		func(p *broker.Pool) { third(p); p.AnchorSealed = nil }, func(p *broker.Pool) { third(p); p.Anchor = nil },
		func(p *broker.Pool) { third(p); p.AnchorSince = start() }, func(p *broker.Pool) { third(p); p.Successions[1].From = []byte{3} },
		func(p *broker.Pool) { p.Successions = nil }, func(p *broker.Pool) { p.AnchorSealed = []byte{9} },
		func(p *broker.Pool) { p.AnchorSince = p.AnchorSince.Add(1) },
	} {
		e.wants(broker.ErrInvalid, update(change))
	}
	e.ok(update(third))
	e.ok(update(func(p *broker.Pool) { // without the word of the one before
		p.Anchor, p.AnchorSealed, p.Successions = []byte{4}, []byte{4, 4}, nil
	}))
}

func updatedPool(e *env) {
	name := e.addPool("a")
	e.ok(e.put(document(e, "a", "flow", "two"), document(e, "a", "flow", "three")))
	first, err := e.pools.Pool(e.ctx, name)
	e.ok(err)
	update := func(old *broker.Pool, change func(*broker.Pool) error) error {
		return e.change(func(tx broker.SettingsTx) error {
			p := *old
			stop := change(&p)
			if _, err := tx.UpdatePool(p); err != nil {
				return err
			}
			return stop
		})
	}
	e.ok(update(first, func(p *broker.Pool) error { p.Flow = "two"; return nil }))
	second, err := e.pools.Pool(e.ctx, name)
	e.ok(err)
	e.same("two", second.Flow)
	if second.Rev == first.Rev {
		e.t.Fatal("a write without a revision of its own")
	}
	e.wants(broker.ErrStale, update(first, func(p *broker.Pool) error { p.Flow = "three"; return nil }))
	for _, change := range []func(*broker.Pool){
		func(p *broker.Pool) { p.Issuer += "x" }, func(p *broker.Pool) { p.Created = p.Created.Add(1) },
		func(p *broker.Pool) { p.Anchor = []byte{1} }, func(p *broker.Pool) { p.AnswerSealed = []byte{1} },
	} {
		e.wants(broker.ErrInvalid, update(second, func(p *broker.Pool) error { change(p); return nil }))
	}
	e.wants(errStop, update(second, func(p *broker.Pool) error { p.Flow = "three"; return errStop }))
	stored, err := e.pools.Pool(e.ctx, name)
	e.ok(err)
	e.same(second, stored)
	e.wants(broker.ErrNotFound, update(&broker.Pool{Name: e.pool("none")}, func(*broker.Pool) error { return nil }))
}

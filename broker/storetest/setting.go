package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
)

// change is one transaction.
func (e *env) change(edit func(tx broker.SettingsTx) error) error {
	e.t.Helper()
	return e.settings.ChangeSettings(e.ctx, by(), edit)
}

func document(e *env, pool, kind, name string, refs ...broker.Ref) broker.Document {
	return broker.Document{Pool: e.pool(pool), Kind: kind, Name: name, Body: []byte(`{"of":"` + name + `"}`), Refs: refs,
		Created: start(), Updated: start()}
}

// put writes documents in one transaction.
func (e *env) put(all ...broker.Document) error {
	e.t.Helper()
	return e.putBy(by(), all...)
}

func (e *env) putBy(by broker.By, all ...broker.Document) error {
	e.t.Helper()
	return e.settings.ChangeSettings(e.ctx, by, func(tx broker.SettingsTx) error {
		for _, d := range all {
			if _, err := tx.PutSetting(d); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *env) drop(all ...broker.Document) error {
	e.t.Helper()
	return e.change(func(tx broker.SettingsTx) error {
		for _, d := range all {
			if err := tx.DeleteSetting(d.Pool, d.Kind, d.Name); err != nil {
				return err
			}
		}
		return nil
	})
}

// kept gives the document as it is stored.
func (e *env) kept(d broker.Document) broker.Document {
	e.t.Helper()
	got, err := e.settings.Setting(e.ctx, d.Pool, d.Kind, d.Name)
	e.ok(err)
	return got
}

func (e *env) gone(d broker.Document) {
	e.t.Helper()
	_, err := e.settings.Setting(e.ctx, d.Pool, d.Kind, d.Name)
	e.wants(broker.ErrNotFound, err)
}

func (e *env) names(pool ident.Pool, kind, after string, limit int) []string {
	e.t.Helper()
	all, err := e.settings.ListSettings(e.ctx, pool, kind, after, limit)
	e.ok(err)
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	return names
}

func settingTests() []test {
	return []test{
		{"a document comes back", func(e *env) {
			e.addPool("a")
			other := document(e, "a", "flow", "two")
			want := document(e, "a", "thing", "one", broker.Ref{Kind: "flow", Name: "two"})
			want.Updated = start().Add(time.Second)
			e.ok(e.put(other, want))
			got := e.kept(want)
			if want.Rev = got.Rev; got.Rev == 0 {
				e.t.Fatal("it has no revision")
			}
			e.same(want, got)
		}},
		{"lists in order of names, of its pool and kind, page by page", func(e *env) {
			p := e.addPool("a")
			e.addPool("b")
			e.ok(e.put(document(e, "a", "thing", "b"), document(e, "a", "thing", "c"), document(e, "a", "thing", "a-long"), document(e, "a", "thing", "a"),
				document(e, "a", "thin", "x"), document(e, "a", "things", "y"), document(e, "b", "thing", "z")))
			e.same([]string{"a", "a-long", "b", "c"}, e.names(p, "thing", "", 1000))
			e.same([]string{"a", "a-long"}, e.names(p, "thing", "", 2))
			e.same([]string{"b", "c"}, e.names(p, "thing", "a-long", 2))
			e.same([]string{"c"}, e.names(p, "thing", "bb", 2))
			e.same([]string(nil), e.names(p, "thing", "c", 2))
			for _, limit := range []int{0, -1, 1001} {
				_, err := e.settings.ListSettings(e.ctx, p, "thing", "", limit)
				e.wants(broker.ErrInvalid, err)
			}
			_, err := e.settings.ListSettings(e.ctx, e.pool("none"), "thing", "", 1)
			e.wants(broker.ErrNotFound, err)
		}},
		{"deletes", func(e *env) {
			e.addPool("a")
			d := document(e, "a", "thing", "one")
			e.ok(e.put(d))
			e.ok(e.drop(d))
			e.gone(d)
			e.wants(broker.ErrNotFound, e.drop(d))
			e.same([]string(nil), e.names(d.Pool, "thing", "", 10))
		}},
		{"a write is for one revision", func(e *env) {
			e.addPool("a")
			d := document(e, "a", "thing", "one")
			d.Rev = 1
			e.wants(broker.ErrNotFound, e.put(d))
			d.Rev = 0
			e.ok(e.put(d))
			e.wants(broker.ErrExists, e.put(d))
			first := e.kept(d)
			changed := first
			changed.Body = []byte("2")
			e.ok(e.put(changed))
			e.wants(broker.ErrStale, e.put(changed))
			second := e.kept(d)
			e.same([]byte("2"), second.Body)
			e.ok(e.drop(d))
			e.wants(broker.ErrNotFound, e.put(second))
			e.ok(e.put(d))
			third := e.kept(d)
			if first.Rev == second.Rev || third.Rev == first.Rev || third.Rev == second.Rev {
				e.t.Fatalf("revisions %d, %d, %d: one came twice", first.Rev, second.Rev, third.Rev)
			}
			e.wants(broker.ErrStale, e.put(second))
		}},
		{"no revision comes back with a pool of the same name", func(e *env) {
			e.addPool("a")
			d := document(e, "a", "thing", "one")
			e.ok(e.put(d))
			old := e.kept(d)
			e.ok(e.pools.DeletePool(e.ctx, by(), d.Pool))
			e.addPool("a")
			e.gone(d)
			e.ok(e.put(d))
			e.wants(broker.ErrStale, e.put(old))
		}},
		{"all or nothing, over several pools", allOrNothing},
		{"an edit sees what it wrote", func(e *env) {
			p := e.addPool("a")
			d := document(e, "a", "thing", "one")
			e.ok(e.change(func(tx broker.SettingsTx) error {
				rev, err := tx.PutSetting(d)
				if err != nil {
					return err
				}
				got, err := tx.Setting(p, "thing", "one")
				if err != nil || got.Rev != rev {
					return fmt.Errorf("revision %d, %w, want %d", got.Rev, err, rev)
				}
				all, err := tx.ListSettings(p, "thing", "", 10)
				if err != nil || len(all) != 1 {
					return fmt.Errorf("%d listed, %w", len(all), err)
				}
				if err := tx.DeleteSetting(p, "thing", "one"); err != nil {
					return err
				}
				if _, err := tx.Setting(p, "thing", "one"); !errors.Is(err, broker.ErrNotFound) {
					return fmt.Errorf("after its deletion: %w", err)
				}
				_, err = tx.PutSetting(d)
				return err
			}))
			e.kept(d)
		}},
		{"what a store cannot keep is refused", func(e *env) {
			e.addPool("a")
			long, nul, big, label := document(e, "a", "thing", "x"), document(e, "a", "thing", "a\x00b"), document(e, "a", "thing", "x"), document(e, "a", "no kind", "x")
			long.Name, big.Body = string(make([]byte, 129)), make([]byte, broker.MaxDocument+1)
			for _, d := range []broker.Document{long, nul, big, label, document(e, "a", "thing", "")} {
				e.wants(broker.ErrInvalid, e.put(d))
			}
			e.wants(broker.ErrNotFound, e.put(document(e, "none", "thing", "x")))
		}},
		{"of many that change one revision, one wins", oneRevisionWins},
	}
}

func allOrNothing(e *env) {
	e.addPool("a")
	e.addPool("b")
	kept, left := document(e, "a", "thing", "kept"), document(e, "b", "thing", "left")
	e.ok(e.put(kept, left))
	before := e.kept(kept)
	for _, end := range []error{errStop, broker.ErrNotFound} {
		e.wants(end, e.change(func(tx broker.SettingsTx) error {
			changed := before
			changed.Body = []byte("changed")
			if _, err := tx.PutSetting(changed); err != nil {
				return err
			}
			if _, err := tx.PutSetting(document(e, "b", "thing", "new")); err != nil {
				return err
			}
			if err := tx.DeleteSetting(left.Pool, "thing", "left"); err != nil {
				return err
			}
			if err := tx.CreatePool(broker.Pool{Name: e.pool("c"), Issuer: "https://x"}, nil); err != nil {
				return err
			}
			return end
		}))
		e.same(before, e.kept(kept))
		e.kept(left)
		e.gone(document(e, "b", "thing", "new"))
		_, err := e.pools.Pool(e.ctx, e.pool("c"))
		e.wants(broker.ErrNotFound, err)
	}
}

func oneRevisionWins(e *env) {
	e.addPool("a")
	d := document(e, "a", "thing", "one")
	e.ok(e.put(d))
	for range 10 {
		seen := e.kept(d)
		e.same(1, e.tally(e.together(8, func(i int, h *handle) error {
			mine := seen
			mine.Body = fmt.Appendf(nil, "writer %d", i)
			return h.settings.ChangeSettings(e.ctx, by(), func(tx broker.SettingsTx) error {
				_, err := tx.PutSetting(mine)
				return err
			})
		}), broker.ErrStale))
	}
}

func referenceTests() []test {
	hook := broker.Ref{Kind: "hook", Name: "pin"}
	return []test{
		{"lead somewhere, in whatever order they were written", func(e *env) {
			e.addPool("a")
			flow, pin := document(e, "a", "flow", "two", hook), document(e, "a", "hook", "pin")
			err := e.put(flow)
			e.wants(broker.ErrInvalid, err)
			broken := broker.ViolationsOf(err)
			e.same(1, len(broken))
			e.same(broker.Ref{Kind: "flow", Name: "two"}, broken[0].Of)
			e.same(hook, broken[0].Needs)
			e.gone(flow)
			e.ok(e.put(flow, pin))
			e.kept(flow)
		}},
		{"every broken one is told", func(e *env) {
			e.addPool("a")
			err := e.put(document(e, "a", "flow", "x", hook), document(e, "a", "flow", "y", hook))
			e.same(2, len(broker.ViolationsOf(err)))
		}},
		{"hold what they lead to", func(e *env) {
			e.addPool("a")
			flow, pin := document(e, "a", "flow", "two", hook), document(e, "a", "hook", "pin")
			e.ok(e.put(flow, pin))
			err := e.drop(pin)
			e.wants(broker.ErrConflict, err)
			e.same(broker.Ref{Kind: "hook", Name: "pin"}, broker.ViolationsOf(err)[0].Of)
			e.kept(pin)
			e.ok(e.drop(pin, flow))
			e.gone(pin)
		}},
		{"end with the document, or with what it says", func(e *env) {
			e.addPool("a")
			pin := document(e, "a", "hook", "pin")
			e.ok(e.put(document(e, "a", "flow", "x", hook), document(e, "a", "flow", "y", hook), pin))
			free := e.kept(document(e, "a", "flow", "x"))
			free.Refs = nil
			e.ok(e.put(free))
			e.wants(broker.ErrConflict, e.drop(pin))
			e.ok(e.drop(document(e, "a", "flow", "y")))
			e.ok(e.drop(pin))
		}},
		{"stay in their pool", func(e *env) {
			e.addPool("a")
			e.addPool("b")
			e.ok(e.put(document(e, "b", "hook", "pin")))
			e.wants(broker.ErrInvalid, e.put(document(e, "a", "flow", "two", hook)))
		}},
		{"a pool holds its default flow", func(e *env) {
			name := e.addPool("a")
			setFlow := func(tx broker.SettingsTx, flow string) error {
				p, err := tx.Pool(name)
				if err != nil {
					return err
				}
				p.Flow = flow
				_, err = tx.UpdatePool(p)
				return err
			}
			e.wants(broker.ErrInvalid, e.change(func(tx broker.SettingsTx) error { return setFlow(tx, "two") }))
			two := document(e, "a", "flow", "two")
			e.ok(e.change(func(tx broker.SettingsTx) error {
				if err := setFlow(tx, "two"); err != nil {
					return err
				}
				_, err := tx.PutSetting(two)
				return err
			}))
			e.wants(broker.ErrConflict, e.drop(two))
			e.ok(e.change(func(tx broker.SettingsTx) error {
				if err := tx.DeleteSetting(name, "flow", "two"); err != nil {
					return err
				}
				return setFlow(tx, "")
			}))
		}},
	}
}

// nounTests: what a store's Catalog gives.
func nounTests() []test {
	return []test{
		{"each kind comes back", func(e *env) {
			p := e.addPool("a")
			h := broker.Hook{Pool: p, Name: "check", URL: "https://hooks.example/", Sealed: []byte{1}, Timeout: time.Second}
			f := broker.Flow{Pool: p, Name: "main", Steps: []string{"hook:check", challenge.Key}, HookFirst: true}
			c := broker.Client{Pool: p, ID: "app", Flow: "main", Audiences: []string{"x", "y"}, AccessLife: time.Hour, RefreshLife: 48 * time.Hour, Grace: time.Minute}
			t := broker.EnrollToken{Pool: p, ID: "0a", Key: []byte{1}, Uses: 3, Expires: start(), Groups: []string{"g"},
				Attributes: map[string]string{"a": "b"}, Replace: true, NamePattern: "lamp-*", Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Approve: true}
			save(e, broker.HookKind(), &h)
			save(e, broker.FlowKind(), &f)
			save(e, broker.ClientKind(), &c)
			save(e, broker.EnrollTokenKind(), &t)
			for range 2 { // read, then remembered
				gotH, err := e.nouns.Hook(e.ctx, p, "check")
				e.ok(err)
				e.same(h, *gotH)
				gotF, err := e.nouns.Flow(e.ctx, p, "main")
				e.ok(err)
				e.same(f, *gotF)
				gotC, err := e.nouns.Client(e.ctx, p, "app")
				e.ok(err)
				e.same(c, *gotC)
				gotT, err := e.nouns.EnrollToken(e.ctx, p, "0a")
				e.ok(err)
				e.same(t, *gotT)
			}
		}},
		{"saying the same is no write", func(e *env) {
			p := e.addPool("a")
			f := broker.Flow{Pool: p, Name: "main", Steps: []string{challenge.Key}}
			save(e, broker.FlowKind(), &f)
			again := broker.Flow{Pool: p, Name: "main", Steps: []string{challenge.Key}}
			save(e, broker.FlowKind(), &again)
			e.same(f, again)
		}},
		{"an enrollment token's uses change, its key never", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 1, nil)
			more := tok
			more.Uses = 7
			save(e, broker.EnrollTokenKind(), &more)
			got, err := e.nouns.EnrollToken(e.ctx, tok.Pool, tok.ID)
			e.ok(err)
			e.same(more, *got)
			got.Key = []byte{9}
			e.wants(broker.ErrInvalid, Save(e.ctx, e.settings, by(), broker.EnrollTokenKind(), got, start()))
		}},
		{"invalid ones are refused", func(e *env) {
			p := e.addPool("a")
			f := broker.Flow{Pool: p, Name: "main", Steps: []string{"guess"}}
			e.wants(broker.ErrInvalid, Save(e.ctx, e.settings, by(), broker.FlowKind(), &f, start()))
			_, err := e.nouns.Flow(e.ctx, p, "main")
			e.wants(broker.ErrNotFound, err)
		}},
		{"what one broker sets, another goes by within two seconds", settingTravels},
	}
}

// save writes a noun as a document of its pool.
func save[N any](e *env, k broker.Kind[N], n *N) {
	e.t.Helper()
	e.ok(Save(e.ctx, e.settings, by(), k, n, start()))
}

// Save writes n at now, over the one of its name if there is one, and gives it its new
// revision. Operators' use cases check more before they write.
func Save[N any](ctx context.Context, s broker.Settings, by broker.By, k broker.Kind[N], n *N, now time.Time) error {
	return s.ChangeSettings(ctx, by, func(tx broker.SettingsTx) error {
		h := k.Head(n)
		switch old, err := k.Get(tx, *h.Pool, *h.Name); {
		case errors.Is(err, broker.ErrNotFound):
			*h.Rev = 0
		case err != nil:
			return err
		default:
			k.CarryOver(&old, n)
		}
		_, err := k.Put(tx, n, now)
		return err
	})
}

// settingTravels: brokers may remember settings, though not for long.
func settingTravels(e *env) {
	p := e.addPool("a")
	c := broker.Client{Pool: p, ID: "app", AccessLife: time.Hour}
	reads := func(want func(*broker.Client, error) bool) {
		e.t.Helper()
		for until := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			got, err := e.other.nouns.Client(e.ctx, p, "app")
			if want(got, err) {
				return
			}
			if time.Now().After(until) {
				e.t.Fatalf("still %+v, %v", got, err)
			}
		}
	}
	isNow := func(got *broker.Client, err error) bool { return err == nil && got.AccessLife == c.AccessLife }
	save(e, broker.ClientKind(), &c)
	reads(isNow)
	c.AccessLife += time.Minute
	save(e, broker.ClientKind(), &c)
	reads(isNow)
	e.ok(e.change(func(tx broker.SettingsTx) error { return broker.ClientKind().Delete(tx, p, "app") }))
	reads(func(_ *broker.Client, err error) bool { return errors.Is(err, broker.ErrNotFound) })
}

package storetest

import (
	"errors"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

func client(e *env, pool, id string) broker.Client {
	return broker.Client{Pool: e.pool(pool), ID: id, Flow: "main", Audiences: []string{"x", "y"}, AccessLife: time.Hour,
		RefreshLife: 48 * time.Hour, Grace: time.Minute, Created: start()}
}

func flow(e *env, pool, name string) broker.Flow {
	return broker.Flow{Pool: e.pool(pool), Name: name, Steps: []string{broker.KindKey, "hook:check"}, Created: start()}
}

func hook(e *env, pool, name string) broker.Hook {
	return broker.Hook{Pool: e.pool(pool), Name: name, URL: "https://hooks.example/", Sealed: []byte{1}, Timeout: time.Second, Created: start()}
}

// A kind is one of the small things of a pool that are put, read, listed and deleted alike.
type kind[D any] struct {
	make func(e *env, pool, id string) D
	put  func(*env, D) error
	get  func(*env, ident.Pool, string) (D, error)
	list func(*env, ident.Pool) ([]D, error)
	drop func(*env, ident.Pool, string) error
}

func (k kind[D]) tests(what string) []test {
	return []test{
		{what + " comes back", func(e *env) {
			p := e.addPool("a")
			want := k.make(e, "a", "one")
			e.ok(k.put(e, want))
			got, err := k.get(e, p, "one")
			e.ok(err)
			e.same(want, got)
		}},
		{what + " lists in order, of its pool", func(e *env) {
			p, other := e.addPool("a"), e.addPool("b")
			for _, id := range []string{"b", "c", "a"} {
				e.ok(k.put(e, k.make(e, "a", id)))
			}
			e.ok(k.put(e, k.make(e, "b", "z")))
			all, err := k.list(e, p)
			e.ok(err)
			e.same([]D{k.make(e, "a", "a"), k.make(e, "a", "b"), k.make(e, "a", "c")}, all)
			_, err = k.get(e, other, "a")
			e.wants(broker.ErrNotFound, err)
		}},
		{what + " deletes", func(e *env) {
			p := e.addPool("a")
			e.ok(k.put(e, k.make(e, "a", "one")))
			e.ok(k.drop(e, p, "one"))
			_, err := k.get(e, p, "one")
			e.wants(broker.ErrNotFound, err)
			e.wants(broker.ErrNotFound, k.drop(e, p, "one"))
			all, err := k.list(e, p)
			e.ok(err)
			e.same(0, len(all))
		}},
	}
}

func settingTests() []test {
	clients := kind[broker.Client]{client,
		func(e *env, c broker.Client) error { return e.clients.PutClient(e.ctx, by(), c) },
		func(e *env, p ident.Pool, id string) (broker.Client, error) { return e.clients.Client(e.ctx, p, id) },
		func(e *env, p ident.Pool) ([]broker.Client, error) { return e.clients.ListClients(e.ctx, p) },
		func(e *env, p ident.Pool, id string) error { return e.clients.DeleteClient(e.ctx, by(), p, id) }}
	flows := kind[broker.Flow]{flow,
		func(e *env, f broker.Flow) error { return e.flows.PutFlow(e.ctx, by(), f) },
		func(e *env, p ident.Pool, id string) (broker.Flow, error) { return e.flows.Flow(e.ctx, p, id) },
		func(e *env, p ident.Pool) ([]broker.Flow, error) { return e.flows.ListFlows(e.ctx, p) },
		func(e *env, p ident.Pool, id string) error { return e.flows.DeleteFlow(e.ctx, by(), p, id) }}
	hooks := kind[broker.Hook]{hook,
		func(e *env, h broker.Hook) error { return e.hooks.PutHook(e.ctx, by(), h) },
		func(e *env, p ident.Pool, id string) (broker.Hook, error) { return e.hooks.Hook(e.ctx, p, id) },
		func(e *env, p ident.Pool) ([]broker.Hook, error) { return e.hooks.ListHooks(e.ctx, p) },
		func(e *env, p ident.Pool, id string) error { return e.hooks.DeleteHook(e.ctx, by(), p, id) }}
	tokens := kind[broker.EnrolToken]{
		func(e *env, pool, id string) broker.EnrolToken {
			return broker.EnrolToken{Pool: e.pool(pool), ID: id, Key: []byte{1}, Uses: 3, Used: 1, Expires: start(), Groups: []string{"g"},
				Attributes: map[string]string{"a": "b"}, Replace: true, Approve: true, Created: start()}
		},
		func(e *env, t broker.EnrolToken) error { return e.tokens.CreateEnrolToken(e.ctx, by(), t) },
		func(e *env, p ident.Pool, id string) (broker.EnrolToken, error) {
			return e.tokens.EnrolToken(e.ctx, p, id)
		},
		func(e *env, p ident.Pool) ([]broker.EnrolToken, error) { return e.tokens.ListEnrolTokens(e.ctx, p) },
		func(e *env, p ident.Pool, id string) error { return e.tokens.DeleteEnrolToken(e.ctx, by(), p, id) }}
	all := append(clients.tests("client"), flows.tests("flow")...)
	all = append(append(all, hooks.tests("hook")...), tokens.tests("enrolment token")...)
	all = append(all, test{"an enrolment token's uses change, its key never", updatedToken},
		test{"what one broker sets, another goes by within two seconds", settingTravels})
	return append(all, test{"put writes over, create does not", func(e *env) {
		p := e.addPool("a")
		c := client(e, "a", "app")
		e.ok(e.clients.PutClient(e.ctx, by(), c))
		c.Audiences = nil
		e.ok(e.clients.PutClient(e.ctx, by(), c))
		got, err := e.clients.Client(e.ctx, p, "app")
		e.ok(err)
		e.same(c, got)
		tok := e.addToken("a", 5, nil)
		tok.Uses = 9
		e.wants(broker.ErrExists, e.tokens.CreateEnrolToken(e.ctx, by(), tok))
		kept, err := e.tokens.EnrolToken(e.ctx, p, tok.ID)
		e.ok(err)
		e.same(5, kept.Uses)
	}}, test{"invalid settings are refused", func(e *env) {
		e.addPool("a")
		c := client(e, "a", "App!")
		e.wants(broker.ErrInvalid, e.clients.PutClient(e.ctx, by(), c))
		f := flow(e, "a", "main")
		f.Steps = []string{"guess"}
		e.wants(broker.ErrInvalid, e.flows.PutFlow(e.ctx, by(), f))
		e.wants(broker.ErrInvalid, e.hooks.PutHook(e.ctx, by(), hook(e, "a", "")))
	}})
}

func updatedToken(e *env) {
	e.addPool("a")
	tok := e.addToken("a", 1, nil)
	got, err := e.tokens.UpdateEnrolToken(e.ctx, by(), tok.Pool, tok.ID, func(t *broker.EnrolToken) error { t.Uses = 7; return nil })
	e.ok(err)
	e.same(7, got.Uses)
	stored, err := e.tokens.EnrolToken(e.ctx, tok.Pool, tok.ID)
	e.ok(err)
	e.same(got, stored)
	for _, change := range []func(*broker.EnrolToken){
		func(t *broker.EnrolToken) { t.ID = "00" }, func(t *broker.EnrolToken) { t.Key = []byte{9} },
	} {
		_, err := e.tokens.UpdateEnrolToken(e.ctx, by(), tok.Pool, tok.ID, func(t *broker.EnrolToken) error { change(t); return nil })
		e.wants(broker.ErrInvalid, err)
	}
	_, err = e.tokens.UpdateEnrolToken(e.ctx, by(), tok.Pool, "none", func(*broker.EnrolToken) error { return nil })
	e.wants(broker.ErrNotFound, err)
}

// settingTravels: brokers may remember settings, though not for long.
func settingTravels(e *env) {
	p := e.addPool("a")
	c := client(e, "a", "app")
	reads := func(want func(broker.Client, error) bool) {
		e.t.Helper()
		for until := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			got, err := e.other.clients.Client(e.ctx, p, "app")
			if want(got, err) {
				return
			}
			if time.Now().After(until) {
				e.t.Fatalf("still %+v, %v", got, err)
			}
		}
	}
	isNow := func(got broker.Client, err error) bool { return err == nil && got.AccessLife == c.AccessLife }
	e.ok(e.clients.PutClient(e.ctx, by(), c))
	reads(isNow)
	c.AccessLife += time.Minute
	e.ok(e.clients.PutClient(e.ctx, by(), c))
	reads(isNow)
	e.ok(e.clients.DeleteClient(e.ctx, by(), p, "app"))
	reads(func(_ broker.Client, err error) bool { return errors.Is(err, broker.ErrNotFound) })
}

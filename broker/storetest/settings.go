package storetest

import (
	"crypto/sha256"
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

func signingKey(e *env, pool, id string) broker.SigningKey {
	return broker.SigningKey{Pool: e.pool(pool), ID: id, Alg: "ES256", State: broker.KeyActive, Public: []byte{1}, Sealed: []byte{2}, Created: start(), Changed: start()}
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
		func(e *env, c broker.Client) error { return e.PutClient(e.ctx, by(), c) },
		func(e *env, p ident.Pool, id string) (broker.Client, error) { return e.Client(e.ctx, p, id) },
		func(e *env, p ident.Pool) ([]broker.Client, error) { return e.ListClients(e.ctx, p) },
		func(e *env, p ident.Pool, id string) error { return e.DeleteClient(e.ctx, by(), p, id) }}
	flows := kind[broker.Flow]{flow,
		func(e *env, f broker.Flow) error { return e.PutFlow(e.ctx, by(), f) },
		func(e *env, p ident.Pool, id string) (broker.Flow, error) { return e.Flow(e.ctx, p, id) },
		func(e *env, p ident.Pool) ([]broker.Flow, error) { return e.ListFlows(e.ctx, p) },
		func(e *env, p ident.Pool, id string) error { return e.DeleteFlow(e.ctx, by(), p, id) }}
	hooks := kind[broker.Hook]{hook,
		func(e *env, h broker.Hook) error { return e.PutHook(e.ctx, by(), h) },
		func(e *env, p ident.Pool, id string) (broker.Hook, error) { return e.Hook(e.ctx, p, id) },
		func(e *env, p ident.Pool) ([]broker.Hook, error) { return e.ListHooks(e.ctx, p) },
		func(e *env, p ident.Pool, id string) error { return e.DeleteHook(e.ctx, by(), p, id) }}
	tokens := kind[broker.EnrolToken]{
		func(e *env, pool, id string) broker.EnrolToken {
			return broker.EnrolToken{Pool: e.pool(pool), ID: id, Key: []byte{1}, Uses: 3, Used: 1, Expires: start(), Groups: []string{"g"},
				Attributes: map[string]string{"a": "b"}, Replace: true, Approve: true, Created: start()}
		},
		func(e *env, t broker.EnrolToken) error { return e.CreateEnrolToken(e.ctx, by(), t) },
		func(e *env, p ident.Pool, id string) (broker.EnrolToken, error) { return e.EnrolToken(e.ctx, p, id) },
		func(e *env, p ident.Pool) ([]broker.EnrolToken, error) { return e.ListEnrolTokens(e.ctx, p) },
		func(e *env, p ident.Pool, id string) error { return e.DeleteEnrolToken(e.ctx, by(), p, id) }}
	all := append(clients.tests("client"), flows.tests("flow")...)
	all = append(append(all, hooks.tests("hook")...), tokens.tests("enrolment token")...)
	return append(all, test{"put writes over, create does not", func(e *env) {
		p := e.addPool("a")
		c := client(e, "a", "app")
		e.ok(e.PutClient(e.ctx, by(), c))
		c.Audiences = nil
		e.ok(e.PutClient(e.ctx, by(), c))
		got, err := e.Client(e.ctx, p, "app")
		e.ok(err)
		e.same(c, got)
		tok := e.addToken("a", 5, nil)
		tok.Uses = 9
		e.wants(broker.ErrExists, e.CreateEnrolToken(e.ctx, by(), tok))
		kept, err := e.EnrolToken(e.ctx, p, tok.ID)
		e.ok(err)
		e.same(5, kept.Uses)
	}}, test{"invalid settings are refused", func(e *env) {
		e.addPool("a")
		c := client(e, "a", "App!")
		e.wants(broker.ErrInvalid, e.PutClient(e.ctx, by(), c))
		f := flow(e, "a", "main")
		f.Steps = []string{"guess"}
		e.wants(broker.ErrInvalid, e.PutFlow(e.ctx, by(), f))
		e.wants(broker.ErrInvalid, e.PutHook(e.ctx, by(), hook(e, "a", "")))
	}})
}

func keyTests() []test {
	return []test{
		{"change replaces all", func(e *env) {
			p := e.addPool("a")
			e.addPool("b")
			k1, k2, k3 := signingKey(e, "a", "k1"), signingKey(e, "a", "k2"), signingKey(e, "a", "k3")
			e.ok(e.ChangeSigningKeys(e.ctx, by(), p, func(k []broker.SigningKey) ([]broker.SigningKey, error) {
				e.sees(0, len(k))
				return []broker.SigningKey{k2, k1}, nil
			}))
			e.ok(e.ChangeSigningKeys(e.ctx, by(), p, func(k []broker.SigningKey) ([]broker.SigningKey, error) {
				e.sees([]broker.SigningKey{k1, k2}, k)
				k[1].State = broker.KeyRetired
				return []broker.SigningKey{k[1], k3}, nil
			}))
			k2.State = broker.KeyRetired
			got, err := e.ListSigningKeys(e.ctx, p)
			e.ok(err)
			e.same([]broker.SigningKey{k2, k3}, got)
			none, err := e.ListSigningKeys(e.ctx, e.pool("b"))
			e.ok(err)
			e.same(0, len(none))
		}},
		{"an error or a foreign key changes nothing", func(e *env) {
			p := e.addPool("a")
			k1 := signingKey(e, "a", "k1")
			e.ok(e.ChangeSigningKeys(e.ctx, by(), p, func([]broker.SigningKey) ([]broker.SigningKey, error) { return []broker.SigningKey{k1}, nil }))
			e.wants(errStop, e.ChangeSigningKeys(e.ctx, by(), p, func([]broker.SigningKey) ([]broker.SigningKey, error) { return nil, errStop }))
			for _, bad := range [][]broker.SigningKey{{signingKey(e, "b", "k2")}, {k1, k1}, {signingKey(e, "a", "")}} {
				e.wants(broker.ErrInvalid, e.ChangeSigningKeys(e.ctx, by(), p, func([]broker.SigningKey) ([]broker.SigningKey, error) { return bad, nil }))
			}
			got, err := e.ListSigningKeys(e.ctx, p)
			e.ok(err)
			e.same([]broker.SigningKey{k1}, got)
		}},
	}
}

func tryTests() []test {
	return []test{
		{"counts from one, by exchange", func(e *env) {
			a, b := e.uuid(), e.uuid()
			for want := 1; want <= 4; want++ {
				n, err := e.CountTry(e.ctx, by(), a, start().Add(time.Minute))
				e.ok(err)
				e.same(want, n)
			}
			n, err := e.CountTry(e.ctx, by(), b, start().Add(time.Minute))
			e.ok(err)
			e.same(1, n)
		}},
	}
}

func operatorTests() []test {
	operator := func(name string) broker.Operator {
		h := sha256.Sum256([]byte(name))
		return broker.Operator{Name: name, Hash: h[:], Expires: start().Add(time.Hour), Created: start()}
	}
	return []test{
		{"found by hash, listed by name", func(e *env) {
			ann, bob := operator("ann"), operator("bob")
			e.ok(e.PutOperator(e.ctx, by(), bob))
			e.ok(e.PutOperator(e.ctx, by(), ann))
			got, err := e.OperatorByHash(e.ctx, bob.Hash)
			e.ok(err)
			e.same(bob, got)
			all, err := e.ListOperators(e.ctx)
			e.ok(err)
			e.same([]broker.Operator{ann, bob}, all)
		}},
		{"a new token ends the old one", func(e *env) {
			ann := operator("ann")
			e.ok(e.PutOperator(e.ctx, by(), ann))
			old := ann.Hash
			ann.Hash = operator("new").Hash
			e.ok(e.PutOperator(e.ctx, by(), ann))
			_, err := e.OperatorByHash(e.ctx, old)
			e.wants(broker.ErrNotFound, err)
			_, err = e.OperatorByHash(e.ctx, ann.Hash)
			e.ok(err)
		}},
		{"deletes", func(e *env) {
			ann := operator("ann")
			e.ok(e.PutOperator(e.ctx, by(), ann))
			e.ok(e.DeleteOperator(e.ctx, by(), "ann"))
			_, err := e.OperatorByHash(e.ctx, ann.Hash)
			e.wants(broker.ErrNotFound, err)
			e.wants(broker.ErrNotFound, e.DeleteOperator(e.ctx, by(), "ann"))
		}},
		{"two operators never share a token", func(e *env) {
			ann, bob := operator("ann"), operator("bob")
			bob.Hash = ann.Hash
			e.ok(e.PutOperator(e.ctx, by(), ann))
			e.wants(broker.ErrExists, e.PutOperator(e.ctx, by(), bob))
		}},
	}
}

func secretTests() []test {
	return []test{
		{"made once", func(e *env) {
			made := 0
			create := func() ([]byte, error) { made++; return []byte{byte(made)}, nil }
			for range 3 {
				got, err := e.SecretOnce(e.ctx, by(), "cluster", create)
				e.ok(err)
				e.same([]byte{1}, got)
			}
			other, err := e.SecretOnce(e.ctx, by(), "other", create)
			e.ok(err)
			e.same([]byte{2}, other)
		}},
		{"a failure leaves none", func(e *env) {
			_, err := e.SecretOnce(e.ctx, by(), "cluster", func() ([]byte, error) { return nil, errStop })
			e.wants(errStop, err)
			got, err := e.SecretOnce(e.ctx, by(), "cluster", func() ([]byte, error) { return []byte("x"), nil })
			e.ok(err)
			e.same([]byte("x"), got)
		}},
	}
}

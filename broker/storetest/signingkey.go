package storetest

import (
	"fmt"
	"strings"

	"github.com/signetd/signet/broker"
)

func signingKey(e *env, pool, id string) broker.SigningKey {
	return broker.SigningKey{Pool: e.pool(pool), ID: id, Alg: "ES256", State: broker.KeyActive, Public: []byte{1}, Sealed: []byte{2}, Created: start(), Changed: start()}
}

func keyTests() []test {
	return []test{
		{"change replaces all", func(e *env) {
			p := e.addPool("a")
			e.addPool("b")
			k1, k2, k3 := signingKey(e, "a", "k1"), signingKey(e, "a", "k2"), signingKey(e, "a", "k3")
			e.ok(e.keys.ChangeSigningKeys(e.ctx, by(), p, func(k []broker.SigningKey) ([]broker.SigningKey, error) {
				e.sees(0, len(k))
				return []broker.SigningKey{k2, k1}, nil
			}))
			e.ok(e.keys.ChangeSigningKeys(e.ctx, by(), p, func(k []broker.SigningKey) ([]broker.SigningKey, error) {
				e.sees([]broker.SigningKey{k1, k2}, k)
				k[1].State = broker.KeyVerifying
				return []broker.SigningKey{k[1], k3}, nil
			}))
			k2.State = broker.KeyVerifying
			got, err := e.keys.ListSigningKeys(e.ctx, p)
			e.ok(err)
			e.same([]broker.SigningKey{k2, k3}, got)
			none, err := e.keys.ListSigningKeys(e.ctx, e.pool("b"))
			e.ok(err)
			e.same(0, len(none))
		}},
		{"what is no sound set of keys changes nothing", func(e *env) {
			p := e.addPool("a")
			var many []broker.SigningKey
			for i := range broker.MaxSigningKeys + 1 {
				many = append(many, signingKey(e, "a", fmt.Sprintf("k%02d", i)))
			}
			set := func(keys []broker.SigningKey) error {
				return e.keys.ChangeSigningKeys(e.ctx, by(), p, func([]broker.SigningKey) ([]broker.SigningKey, error) { return keys, nil })
			}
			e.wants(broker.ErrInvalid, set(many))
			for _, spoil := range []func(*broker.SigningKey){
				func(k *broker.SigningKey) { k.ID = strings.Repeat("x", broker.MaxSubject+1) }, func(k *broker.SigningKey) { k.ID = "a\x00b" },
				func(k *broker.SigningKey) { k.State = "lost" }, func(k *broker.SigningKey) { k.Public = nil }, func(k *broker.SigningKey) { k.Sealed = nil },
			} {
				k := signingKey(e, "a", "k1")
				spoil(&k)
				e.wants(broker.ErrInvalid, set([]broker.SigningKey{k}))
			}
			got, err := e.keys.ListSigningKeys(e.ctx, p)
			e.ok(err)
			e.same(0, len(got))
			e.ok(set(many[1:]))
		}},
		{"an error or a foreign key changes nothing", func(e *env) {
			p := e.addPool("a")
			k1 := signingKey(e, "a", "k1")
			e.ok(e.keys.ChangeSigningKeys(e.ctx, by(), p, func([]broker.SigningKey) ([]broker.SigningKey, error) { return []broker.SigningKey{k1}, nil }))
			e.wants(errStop, e.keys.ChangeSigningKeys(e.ctx, by(), p, func([]broker.SigningKey) ([]broker.SigningKey, error) { return nil, errStop }))
			for _, bad := range [][]broker.SigningKey{{signingKey(e, "b", "k2")}, {k1, k1}, {signingKey(e, "a", "")}} {
				e.wants(broker.ErrInvalid, e.keys.ChangeSigningKeys(e.ctx, by(), p, func([]broker.SigningKey) ([]broker.SigningKey, error) { return bad, nil }))
			}
			got, err := e.keys.ListSigningKeys(e.ctx, p)
			e.ok(err)
			e.same([]broker.SigningKey{k1}, got)
		}},
	}
}

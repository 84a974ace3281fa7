package storetest

import (
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

func operatorTests() []test {
	operator := func(name string) broker.Operator {
		h := sha256.Sum256([]byte(name))
		return broker.Operator{Name: name, Hash: h[:], Expires: start().Add(time.Hour), Created: start(), Scope: broker.OperatorRead}
	}
	return []test{
		{"found by hash, listed by name", func(e *env) {
			ann, bob := operator("ann"), operator("bob")
			bob.Scope, bob.Pools = broker.OperatorWrite, []ident.Pool{e.pool("a"), e.pool("b")}
			e.ok(e.operators.CreateOperator(e.ctx, by(), bob))
			e.ok(e.operators.CreateOperator(e.ctx, by(), ann))
			got, err := e.operators.OperatorByHash(e.ctx, bob.Hash)
			e.ok(err)
			e.same(bob, got)
			all, err := e.operators.ListOperators(e.ctx)
			e.ok(err)
			e.same([]broker.Operator{ann, bob}, all)
		}},
		{"a new token ends the old one", func(e *env) {
			ann := operator("ann")
			e.ok(e.operators.CreateOperator(e.ctx, by(), ann))
			old := ann.Hash
			ann.Hash, ann.Scope, ann.Pools = operator("new").Hash, broker.OperatorEnroll, []ident.Pool{e.pool("a")}
			got, err := e.operators.UpdateOperator(e.ctx, by(), "ann", func(o *broker.Operator, _ []broker.Operator) error {
				e.sees(operator("ann"), *o)
				*o = ann
				return nil
			})
			e.ok(err)
			e.same(ann, got)
			_, err = e.operators.OperatorByHash(e.ctx, old)
			e.wants(broker.ErrNotFound, err)
			got, err = e.other.operators.OperatorByHash(e.ctx, ann.Hash)
			e.ok(err)
			e.same(ann, got)
		}},
		{"an update may fail, and keeps the name", func(e *env) {
			ann := operator("ann")
			e.ok(e.operators.CreateOperator(e.ctx, by(), ann))
			for want, edit := range map[error]func(*broker.Operator, []broker.Operator) error{
				errStop: func(o *broker.Operator, _ []broker.Operator) error {
					o.Scope = broker.OperatorAdmin
					return errStop
				},
				broker.ErrInvalid: func(o *broker.Operator, _ []broker.Operator) error { o.Name = "bob"; return nil },
			} {
				_, err := e.operators.UpdateOperator(e.ctx, by(), "ann", edit)
				e.wants(want, err)
			}
			_, err := e.operators.UpdateOperator(e.ctx, by(), "bob", func(*broker.Operator, []broker.Operator) error { return nil })
			e.wants(broker.ErrNotFound, err)
			all, err := e.operators.ListOperators(e.ctx)
			e.ok(err)
			e.same([]broker.Operator{ann}, all)
		}},
		{"deletes", func(e *env) {
			ann := operator("ann")
			e.ok(e.operators.CreateOperator(e.ctx, by(), ann))
			e.ok(e.operators.DeleteOperator(e.ctx, by(), "ann", nil))
			_, err := e.operators.OperatorByHash(e.ctx, ann.Hash)
			e.wants(broker.ErrNotFound, err)
			e.wants(broker.ErrNotFound, e.operators.DeleteOperator(e.ctx, by(), "ann", nil))
		}},
		{"a rule over all operators holds whoever else writes", func(e *env) {
			ann, bob := operator("ann"), operator("bob")
			notLast := func(o *broker.Operator, others []broker.Operator) error {
				if len(others) == 0 {
					return errStop
				}
				e.sees(map[string]broker.Operator{"ann": bob, "bob": ann}[o.Name], others[0])
				return nil
			}
			e.ok(e.operators.CreateOperator(e.ctx, by(), bob))
			for range 20 {
				e.ok(e.operators.CreateOperator(e.ctx, by(), ann))
				results := make(chan error, 2)
				for name, at := range map[string]handle{"ann": e.handle, "bob": e.other} {
					go func() {
						results <- at.operators.DeleteOperator(e.ctx, by(), name, notLast)
					}()
				}
				one, two := <-results, <-results
				e.same(true, (one == nil) != (two == nil))
				e.wants(errStop, errors.Join(one, two))
				all, err := e.operators.ListOperators(e.ctx)
				e.ok(err)
				e.same(1, len(all))
				if all[0].Name == "ann" {
					_, err = e.operators.UpdateOperator(e.ctx, by(), "ann", func(_ *broker.Operator, others []broker.Operator) error {
						e.sees(0, len(others))
						return nil
					})
					e.ok(err)
					e.ok(e.operators.CreateOperator(e.ctx, by(), bob))
					e.ok(e.operators.DeleteOperator(e.ctx, by(), "ann", nil))
				}
			}
		}},
		{"of many who make one operator at once, one does", func(e *env) {
			all := make([]broker.Operator, 50)
			for i := range all {
				all[i] = operator("ann")
				h := sha256.Sum256([]byte{byte(i)})
				all[i].Hash = h[:]
			}
			errs := e.together(len(all), func(i int, h *handle) error { return h.operators.CreateOperator(e.ctx, by(), all[i]) })
			e.same(1, e.tally(errs, broker.ErrExists))
			for i, err := range errs { // the token that was told is the one that holds
				_, look := e.operators.OperatorByHash(e.ctx, all[i].Hash)
				e.same(err == nil, look == nil)
			}
		}},
		{"an operator without a proper name, hash or end is not kept", func(e *env) {
			e.ok(e.operators.CreateOperator(e.ctx, by(), operator("bob")))
			for _, change := range []func(*broker.Operator){
				func(o *broker.Operator) { o.Name = "" },
				func(o *broker.Operator) { o.Name = strings.Repeat("x", broker.MaxLabel+1) },
				func(o *broker.Operator) { o.Name = "Ann" },
				func(o *broker.Operator) { o.Hash = o.Hash[1:] },
				func(o *broker.Operator) { o.Scope = "" },
				func(o *broker.Operator) { o.Scope = "root" },
				func(o *broker.Operator) { o.Pools = []ident.Pool{{}} },
				func(o *broker.Operator) { o.Pools = []ident.Pool{e.pool("b"), e.pool("a")} },
				func(o *broker.Operator) { o.Pools = []ident.Pool{e.pool("a"), e.pool("a")} },
				func(o *broker.Operator) { o.Pools = make([]ident.Pool, broker.MaxOperatorPools+1) },
				func(o *broker.Operator) { o.Expires = time.Time{} },
				func(o *broker.Operator) { o.Expires = o.Created.Add(broker.MinOperatorLife - 1) },
				func(o *broker.Operator) { o.Expires = o.Created.Add(broker.MaxOperatorLife + 1) },
			} {
				o := operator("ann")
				change(&o)
				e.wants(broker.ErrInvalid, e.operators.CreateOperator(e.ctx, by(), o))
				_, err := e.operators.UpdateOperator(e.ctx, by(), "bob", func(was *broker.Operator, _ []broker.Operator) error {
					change(was)
					return nil
				})
				e.wants(broker.ErrInvalid, err)
			}
		}},
		{"two operators never share a token", func(e *env) {
			ann, bob := operator("ann"), operator("bob")
			bob.Hash = ann.Hash
			e.ok(e.operators.CreateOperator(e.ctx, by(), ann))
			e.wants(broker.ErrExists, e.operators.CreateOperator(e.ctx, by(), bob))
			bob = operator("bob")
			e.ok(e.operators.CreateOperator(e.ctx, by(), bob))
			_, err := e.operators.UpdateOperator(e.ctx, by(), "bob", func(o *broker.Operator, _ []broker.Operator) error { o.Hash = ann.Hash; return nil })
			e.wants(broker.ErrExists, err)
		}},
	}
}

package storetest

import (
	"crypto/sha256"
	"time"

	"github.com/signetd/signet/broker"
)

func operatorTests() []test {
	operator := func(name string) broker.Operator {
		h := sha256.Sum256([]byte(name))
		return broker.Operator{Name: name, Hash: h[:], Expires: start().Add(time.Hour), Created: start()}
	}
	return []test{
		{"found by hash, listed by name", func(e *env) {
			ann, bob := operator("ann"), operator("bob")
			e.ok(e.operators.PutOperator(e.ctx, by(), bob))
			e.ok(e.operators.PutOperator(e.ctx, by(), ann))
			got, err := e.operators.OperatorByHash(e.ctx, bob.Hash)
			e.ok(err)
			e.same(bob, got)
			all, err := e.operators.ListOperators(e.ctx)
			e.ok(err)
			e.same([]broker.Operator{ann, bob}, all)
		}},
		{"a new token ends the old one", func(e *env) {
			ann := operator("ann")
			e.ok(e.operators.PutOperator(e.ctx, by(), ann))
			old := ann.Hash
			ann.Hash = operator("new").Hash
			e.ok(e.operators.PutOperator(e.ctx, by(), ann))
			_, err := e.operators.OperatorByHash(e.ctx, old)
			e.wants(broker.ErrNotFound, err)
			_, err = e.operators.OperatorByHash(e.ctx, ann.Hash)
			e.ok(err)
		}},
		{"deletes", func(e *env) {
			ann := operator("ann")
			e.ok(e.operators.PutOperator(e.ctx, by(), ann))
			e.ok(e.operators.DeleteOperator(e.ctx, by(), "ann"))
			_, err := e.operators.OperatorByHash(e.ctx, ann.Hash)
			e.wants(broker.ErrNotFound, err)
			e.wants(broker.ErrNotFound, e.operators.DeleteOperator(e.ctx, by(), "ann"))
		}},
		{"two operators never share a token", func(e *env) {
			ann, bob := operator("ann"), operator("bob")
			bob.Hash = ann.Hash
			e.ok(e.operators.PutOperator(e.ctx, by(), ann))
			e.wants(broker.ErrExists, e.operators.PutOperator(e.ctx, by(), bob))
		}},
	}
}

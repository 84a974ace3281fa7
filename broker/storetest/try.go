package storetest

import (
	"sync/atomic"
	"time"
)

func tryTests() []test {
	return []test{
		{"counts from one, by exchange", func(e *env) {
			a, b := e.uuid(), e.uuid()
			for want := 1; want <= 4; want++ {
				n, err := e.tries.CountTry(e.ctx, by(), a, start().Add(time.Minute))
				e.ok(err)
				e.same(want, n)
			}
			n, err := e.tries.CountTry(e.ctx, by(), b, start().Add(time.Minute))
			e.ok(err)
			e.same(1, n)
		}},
		{"no try is lost", func(e *env) {
			id := e.uuid()
			var seen [101]atomic.Int32
			e.tally(e.together(100, func(_ int, h *handle) error {
				n, err := h.tries.CountTry(e.ctx, by(), id, start().Add(time.Minute))
				seen[n].Add(1)
				return err
			}), nil)
			for n := 1; n <= 100; n++ {
				e.same(int32(1), seen[n].Load())
			}
		}},
	}
}

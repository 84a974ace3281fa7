package storetest

import (
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker"
)

func tryTests() []test {
	return []test{
		{"counts from one, by account, and then has everybody wait", triesAreCounted},
		{"an answer that is repeated is no further try", repeatedTries},
		{"an answer that is repeated later is a try like any other", lateRepeats},
		{"a right answer takes its try back, and settling all of them", triesTakenBack},
		{"a code is good once, for everyone who brings it", codesAreUsedUp},
		{"no try is lost", func(e *env) {
			of := e.tried("demo", "lamp-1", "hook:door")
			var counted, waiting atomic.Int32
			e.tally(e.together(100, func(i int, h *handle) error {
				t, err := h.tries.Try(e.ctx, by(), of, broker.TryMark{1, byte(i)}, start())
				if t.Wait > 0 {
					waiting.Add(1)
				} else {
					counted.Add(1)
				}
				return err
			}), nil)
			e.same(int32(broker.FreeTries), counted.Load())
			e.same(int32(100-broker.FreeTries), waiting.Load())
		}},
		{"of two who bring one code at once one is let in", func(e *env) {
			of := e.tried("demo", "lamp-1", "totp")
			e.same(1, e.tally(e.together(8, func(i int, h *handle) error {
				return h.tries.Accept(e.ctx, by(), of, broker.TryMark{1, byte(i)}, 42)
			}), broker.ErrUsed))
		}},
	}
}

// tried names a device's own account.
func (e *env) tried(pool, name, what string) broker.TryOf {
	return broker.TryOf{Device: e.id(pool, name), What: what}
}

// try counts one and tells how many there are, and whether one has to wait.
func (e *env) try(of broker.TryOf, mark byte, at time.Time) (n int, wait time.Duration) {
	e.t.Helper()
	t, err := e.tries.Try(e.ctx, by(), of, broker.TryMark{mark}, at)
	e.ok(err)
	return t.N, t.Wait
}

func triesAreCounted(e *env) {
	own := e.tried("demo", "lamp-1", "hook:door")
	token, exchange := own, own
	token.Enroll = "00"
	exchange.Exchange = e.uuid()
	accounts := []broker.TryOf{
		own, token, exchange, e.tried("demo", "lamp-1", "hook:gate"), e.tried("demo", "lamp-1", "totp"), e.tried("demo", "lamp-2", "hook:door"), e.tried("other", "lamp-1", "hook:door"),
	}
	for want := 1; want <= broker.FreeTries; want++ {
		for _, of := range accounts {
			n, wait := e.try(of, byte(want), start())
			e.same(want, n)
			e.same(time.Duration(0), wait)
		}
	}
	at := start()
	for n := broker.FreeTries; n < broker.FreeTries+10; n++ {
		_, wait := e.try(own, byte(100+n), at)
		e.same(broker.WaitAfter(n), wait)
		at = at.Add(wait - time.Millisecond)
		_, wait = e.try(own, byte(100+n), at)
		e.same(time.Millisecond, wait)
		at = at.Add(wait)
		got, wait := e.try(own, byte(100+n), at)
		e.same(n+1, got)
		e.same(time.Duration(0), wait)
	}
}

func repeatedTries(e *env) {
	of := e.tried("demo", "lamp-1", "hook:door")
	for range 5 {
		n, wait := e.try(of, 1, start())
		e.same(1, n)
		e.same(time.Duration(0), wait)
	}
	for mark := byte(2); mark <= broker.FreeTries; mark++ {
		e.try(of, mark, start())
	}
	if _, wait := e.try(of, 1, start()); wait != 0 {
		e.t.Errorf("an answer that was looked at must wait %v", wait)
	}
}

func lateRepeats(e *env) {
	of := e.tried("demo", "lamp-1", "totp")
	at := start()
	for want := 1; want <= broker.FreeTries; want++ {
		n, wait := e.try(of, 1, at)
		e.same(want, n)
		e.same(time.Duration(0), wait)
		at = at.Add(broker.RepeatTime)
	}
	_, wait := e.try(of, 1, at)
	e.same(broker.WaitAfter(broker.FreeTries)-broker.RepeatTime, wait)
	n, wait := e.try(of, 1, at.Add(wait))
	e.same(broker.FreeTries+1, n)
	e.same(time.Duration(0), wait)
}

func triesTakenBack(e *env) {
	of, other := e.tried("demo", "lamp-1", "hook:door"), e.tried("demo", "lamp-1", "hook:gate")
	e.try(of, 1, start())
	e.try(other, 1, start())
	e.try(of, 2, start())
	for range 3 { // sent again
		e.ok(e.tries.Accept(e.ctx, by(), of, broker.TryMark{2}, 0))
	}
	n, _ := e.try(of, 3, start())
	e.same(2, n)
	e.ok(e.tries.Settle(e.ctx, by(), []broker.TryOf{of, e.tried("demo", "lamp-9", "hook:door")}))
	n, _ = e.try(of, 4, start())
	e.same(1, n)
	n, _ = e.try(other, 2, start())
	e.same(2, n)
}

func codesAreUsedUp(e *env) {
	of := e.tried("demo", "lamp-1", "totp")
	enroll := of
	enroll.Enroll = "00"
	right := func(of broker.TryOf, mark byte, step uint64) error {
		e.try(of, mark, start())
		return e.tries.Accept(e.ctx, by(), of, broker.TryMark{mark}, step)
	}
	e.ok(right(of, 1, 100))
	e.ok(right(of, 1, 100)) // the same answer again
	e.wants(broker.ErrUsed, right(of, 2, 100))
	e.wants(broker.ErrUsed, right(enroll, 3, 100))
	e.wants(broker.ErrUsed, right(enroll, 3, 99))
	e.ok(right(enroll, 4, 101))
	e.wants(broker.ErrUsed, right(of, 5, 101))
	n, _ := e.try(of, 6, start())
	e.same(3, n) // the two that were used up count
	e.ok(right(e.tried("demo", "lamp-2", "totp"), 1, 100))
}

package storetest

import "github.com/signetd/signet/broker"

func epochTests() []test {
	return []test{
		{"only grows", func(e *env) {
			at := func(want uint64) {
				got, err := e.other.epochs.Epoch(e.ctx)
				e.ok(err)
				e.same(want, got)
			}
			at(0)
			e.ok(e.epochs.RaiseEpoch(e.ctx, by(), 7))
			at(7)
			for _, to := range []uint64{0, 6, 7, broker.MaxEpoch + 1} {
				e.wants(broker.ErrInvalid, e.epochs.RaiseEpoch(e.ctx, by(), to))
			}
			at(7)
			e.ok(e.epochs.RaiseEpoch(e.ctx, by(), broker.MaxEpoch))
			at(broker.MaxEpoch)
		}},
		{"one of many raises it to a number", func(e *env) {
			e.same(1, e.tally(e.together(20, func(_ int, h *handle) error { return h.epochs.RaiseEpoch(e.ctx, by(), 3) }), broker.ErrInvalid))
		}},
	}
}

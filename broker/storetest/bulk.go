package storetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// bulkTests: devices that come many at once.
func bulkTests() []test {
	return []test{
		{"many come in as each alone would", manyDevices},
		{"of many, each has its own error", manyErrors},
		{"of many with one name or key, one comes in", manyOfOne},
		{"none at all", func(e *env) { e.same(0, len(e.devices.CreateDevices(e.ctx, by(), nil))) }},
		{"an ended context creates none", func(e *env) {
			e.addPool("a")
			ctx, cancel := context.WithCancel(e.ctx)
			cancel()
			for _, err := range e.devices.CreateDevices(ctx, by(), []broker.Device{e.device("a", "one"), e.device("a", "two")}) {
				e.wants(context.Canceled, err)
			}
			all, err := e.other.devices.ListDevices(e.ctx, e.pool("a"), "", 10)
			e.ok(err)
			e.same(0, len(all))
		}},
		{"nobody creates none", func(e *env) {
			e.addPool("a")
			e.wants(broker.ErrInvalid, e.devices.CreateDevices(e.ctx, broker.By{}, []broker.Device{e.device("a", "one")})[0])
			_, err := e.devices.Device(e.ctx, e.id("a", "one"))
			e.wants(broker.ErrNotFound, err)
		}},
		{"a call that ends while it waits says what was created", bulkGivenUp},
		{"two that create the same at once create each once", bulkRace},
	}
}

// some gives n devices of pool a in an order that is not that of their names.
func (e *env) some(n int) []broker.Device {
	all := make([]broker.Device, n)
	for i := range all {
		all[i] = e.device("a", fmt.Sprintf("d%04d", i*7919%n))
	}
	return all
}

func manyDevices(e *env) {
	e.addPool("a")
	all := e.some(2500)
	for i, err := range e.devices.CreateDevices(e.ctx, by(), all) {
		if err != nil {
			e.t.Fatalf("device %d: %v", i, err)
		}
	}
	alone := e.addDevice("a", "alone")
	for _, d := range all {
		got := e.stored(d.ID)
		d.Rev = alone.Rev
		e.same(d, got)
	}
	e.wants(broker.ErrKeyBound, e.devices.CreateDevice(e.ctx, by(), func() broker.Device {
		d := e.device("a", "other")
		d.Authenticators = all[1234].Authenticators
		return d
	}()))
}

func manyErrors(e *env) {
	e.addPool("a")
	e.addPool("b")
	there := e.addDevice("a", "there")
	exists, bound, invalid, nowhere := e.device("a", "there"), e.device("a", "bound"), e.device("a", "invalid"), e.device("none", "one")
	exists.Authenticators[0] = publicKey("another", start())
	bound.Authenticators = there.Authenticators
	invalid.Subject = ident.UUID{}
	elsewhere := e.device("b", "there")
	elsewhere.Authenticators = there.Authenticators
	all := []broker.Device{e.device("a", "z"), exists, bound, e.device("a", "y"), invalid, nowhere, elsewhere, e.device("a", "x")}
	got := e.devices.CreateDevices(e.ctx, by(), all)
	for i, want := range []error{nil, broker.ErrExists, broker.ErrKeyBound, nil, broker.ErrInvalid, broker.ErrNotFound, nil, nil} {
		if !errors.Is(got[i], want) || (got[i] == nil) != (want == nil) {
			e.t.Errorf("%s: %v, want %v", all[i].ID, got[i], want)
		}
		if want == nil {
			e.stored(all[i].ID)
		}
	}
	e.same(there, e.stored(there.ID))
	for _, d := range []broker.Device{bound, invalid} {
		_, err := e.other.devices.Device(e.ctx, d.ID)
		e.wants(broker.ErrNotFound, err)
	}
}

func manyOfOne(e *env) {
	e.addPool("a")
	all := e.some(2500)
	first, second := e.device("a", "same"), e.device("a", "same")
	first.Authenticators[0], second.Authenticators[0] = publicKey("first", start()), publicKey("second", start())
	low, high := e.device("a", "a"), e.device("a", "zz")
	low.Authenticators[0], high.Authenticators[0] = publicKey("shared", start()), publicKey("shared", start())
	all = append(append([]broker.Device{high, first}, all...), second, low)
	got := e.devices.CreateDevices(e.ctx, by(), all)
	for i, err := range got {
		switch i {
		case 0: // high
			e.wants(broker.ErrKeyBound, err)
		case len(all) - 2: // second
			e.wants(broker.ErrExists, err)
		default:
			e.ok(err)
		}
	}
	e.same(first.Subject, e.stored(first.ID).Subject)
}

func bulkGivenUp(e *env) {
	e.addPool("a")
	all := e.some(2500)
	ctx, cancel := context.WithCancel(e.ctx)
	go cancel()
	for i, err := range e.devices.CreateDevices(ctx, by(), all) {
		_, got := e.other.devices.Device(e.ctx, all[i].ID)
		if (err == nil) != (got == nil) {
			e.t.Fatalf("device %d: %v, and reading it: %v", i, err, got)
		}
	}
}

func bulkRace(e *env) {
	e.addPool("a")
	all := e.some(600)
	created := make([]int, len(all))
	results := make([][]error, 4)
	e.together(len(results), func(i int, h *handle) error {
		results[i] = h.devices.CreateDevices(e.ctx, by(), all)
		return nil
	})
	for _, errs := range results {
		for i, err := range errs {
			if err == nil {
				created[i]++
			} else {
				e.wants(broker.ErrExists, err)
			}
		}
	}
	for i, n := range created {
		if n != 1 {
			e.t.Fatalf("%s was created %d times", all[i].ID, n)
		}
	}
}

package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

func loginTests() []test {
	return []test{
		{"leaves a session and gives the device", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			l := e.login(d)
			l.Session.Previous, l.Session.Rotated = []byte("p"), start().Add(time.Second)
			e.same(d, e.record(l))
			got, err := e.sessions.Session(e.ctx, l.Session.ID)
			e.ok(err)
			e.same(l.Session, got)
			e.same(d, e.stored(d.ID)) // the device's record isn't rewritten
		}},
		{"a subject is filled in", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			l := e.login(d)
			l.Session.Subject = ident.UUID{}
			e.record(l)
			got, err := e.sessions.Session(e.ctx, l.Session.ID)
			e.ok(err)
			e.same(d.Subject, got.Subject)
		}},
		{"once", func(e *env) {
			e.addPool("a")
			d, other := e.addDevice("a", "one"), e.addDevice("a", "two")
			l := e.login(d)
			e.record(l)
			_, err := e.sessions.RecordLogin(e.ctx, by(), l)
			e.wants(broker.ErrUsed, err)
			again := e.login(other) // not for another device either
			again.Session.ID = l.Session.ID
			_, err = e.sessions.RecordLogin(e.ctx, by(), again)
			e.wants(broker.ErrUsed, err)
		}},
		{"only of an active device", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			for _, s := range []broker.Status{broker.StatusPending, broker.StatusDisabled, broker.StatusQuarantined} {
				e.setStatus(d.ID, s)
				l := e.login(d)
				got, err := e.sessions.RecordLogin(e.ctx, by(), l)
				e.wants(broker.ErrInactive, err)
				e.same(s, got.Status)
				_, err = e.sessions.Session(e.ctx, l.Session.ID)
				e.wants(broker.ErrNotFound, err)
			}
			e.setStatus(d.ID, broker.StatusActive)
			e.record(e.login(d))
		}},
		{"not of a missing device", func(e *env) {
			e.addPool("a")
			_, err := e.sessions.RecordLogin(e.ctx, by(), e.login(e.device("a", "one")))
			e.wants(broker.ErrNotFound, err)
		}},
		{"not of one that was made again", func(e *env) {
			e.addPool("a")
			l := e.login(e.addDevice("a", "one"))
			e.ok(e.devices.DeleteDevice(e.ctx, by(), l.Session.Device))
			e.addDevice("a", "one")
			_, err := e.sessions.RecordLogin(e.ctx, by(), l)
			e.wants(broker.ErrNotFound, err)
		}},
		{"no more sessions of a client than MaxSessions: the first recorded end", func(e *env) {
			e.addPool("a")
			d, other := e.addDevice("a", "one"), e.addDevice("a", "two")
			begin := func(d broker.Device, client string, most int) ident.UUID {
				l := e.login(d)
				l.Session.Client, l.MaxSessions = client, most
				e.record(l)
				return l.Session.ID
			}
			over := func(want bool, ids ...ident.UUID) {
				e.t.Helper()
				for _, id := range ids {
					x, err := e.other.sessions.Session(e.ctx, id)
					e.ok(err)
					e.same(want, x.Revoked)
				}
			}
			a, b, apart, others := begin(d, "app", 0), begin(d, "app", 2), begin(d, "else", 1), begin(other, "app", 1)
			over(false, a, b, apart, others)
			c := begin(d, "app", 2)
			over(true, a)
			over(false, b, c, apart, others)
			last := begin(d, "app", 1)
			over(true, a, b, c)
			over(false, last, apart, others)
		}},
		{"no more sessions of a device than MaxKeptSessions", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			var ids []ident.UUID
			var all []broker.Login
			for range broker.MaxKeptSessions + 3 {
				l := e.login(d)
				all, ids = append(all, l), append(ids, l.Session.ID)
				e.record(l)
			}
			for i, id := range ids {
				_, err := e.other.sessions.Session(e.ctx, id)
				if i >= 3 {
					e.ok(err)
					continue
				}
				e.wants(broker.ErrNotFound, err)
				_, err = e.sessions.RecordLogin(e.ctx, by(), all[i])
				e.wants(broker.ErrUsed, err)
			}
		}},
		{"needs an exchange and a device", func(e *env) {
			e.addPool("a")
			l := e.login(e.addDevice("a", "one"))
			l.Session.ID = ident.UUID{}
			_, err := e.sessions.RecordLogin(e.ctx, by(), l)
			e.wants(broker.ErrInvalid, err)
			_, err = e.sessions.RecordLogin(e.ctx, by(), broker.Login{Session: broker.Session{ID: e.uuid()}})
			e.wants(broker.ErrInvalid, err)
		}},
	}
}

// loginRaceTests: many logins at once, and calls that are given up.
func loginRaceTests() []test {
	return []test{
		{"nothing is granted after a disable returned", disableRace},
		{"100 recordings of one exchange", func(e *env) {
			e.addPool("a")
			l := e.login(e.addDevice("a", "one"))
			e.same(1, e.tally(e.together(100, func(_ int, h *handle) error { _, err := h.sessions.RecordLogin(e.ctx, by(), l); return err }), broker.ErrUsed))
		}},
		{"an ended context writes nothing", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			ctx, cancel := context.WithCancel(e.ctx)
			cancel()
			l := e.login(d)
			_, err := e.sessions.RecordLogin(ctx, by(), l)
			e.wants(context.Canceled, err)
			_, err = e.devices.Device(ctx, d.ID)
			e.wants(context.Canceled, err)
			_, err = e.sessions.Session(e.ctx, l.Session.ID)
			e.wants(broker.ErrNotFound, err)
		}},
		{"a call that ends while it waits writes all or nothing", func(e *env) {
			e.addPool("a")
			var d broker.Device
			logins := make([]broker.Login, 200)
			for i := range logins {
				if i%(broker.MaxKeptSessions/2) == 0 { // more are not kept of one device
					d = e.addDevice("a", fmt.Sprintf("d-%d", i))
				}
				logins[i] = e.login(d)
			}
			errs := e.together(len(logins), func(i int, h *handle) error {
				ctx, cancel := context.WithCancel(e.ctx)
				go cancel()
				_, err := h.sessions.RecordLogin(ctx, by(), logins[i])
				return err
			})
			for i, err := range errs {
				_, got := e.other.sessions.Session(e.ctx, logins[i].Session.ID)
				if (err == nil) != (got == nil) {
					e.t.Fatalf("login %d: %v, and its session: %v", i, err, got)
				}
			}
		}},
	}
}

// disableRace: many log in while one disables; a login that began after the
// disable returned must fail, and so its session must not be there.
func disableRace(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "one")
	var disabled atomic.Bool
	var late atomic.Int32
	errs := e.together(64, func(i int, h *handle) error {
		if i == 0 {
			_, err := h.devices.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Status = broker.StatusDisabled; return nil })
			disabled.Store(true)
			return err
		}
		for range 50 {
			after := disabled.Load()
			_, err := h.sessions.RecordLogin(e.ctx, by(), e.login(d))
			if err == nil && after {
				late.Add(1)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	e.tally(errs, broker.ErrInactive)
	e.same(int32(0), late.Load())
	e.ok(errs[0])
}

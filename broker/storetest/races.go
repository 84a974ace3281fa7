package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker"
)

// together runs f n times at once and gives the errors.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-gate
			errs[i] = f(i)
		})
	}
	close(gate)
	wg.Wait()
	return errs
}

// tally counts how many went well; every other error must be want.
func (e *env) tally(errs []error, want error) int {
	e.Helper()
	good := 0
	for _, err := range errs {
		if err == nil {
			good++
		} else if !errors.Is(err, want) {
			e.Fatalf("error %v, want none or %v", err, want)
		}
	}
	return good
}

// oneWinsTests: of many that want the same, one gets it.
func oneWinsTests() []test {
	return []test{
		{"100 uses of a one-use token", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 1, nil)
			var logins []broker.Login
			for i := range 100 {
				logins = append(logins, e.enrolment(e.device("a", fmt.Sprint("d", i)), tok.ID))
			}
			e.same(1, e.tally(together(100, func(i int) error { _, err := e.RecordLogin(e.ctx, by(), logins[i]); return err }), broker.ErrUsed))
			e.same(1, e.used(tok))
			all, err := e.ListDevices(e.ctx, e.pool("a"), "", 1000)
			e.ok(err)
			e.same(1, len(all))
		}},
		{"100 recordings of one exchange", func(e *env) {
			e.addPool("a")
			l := e.login(e.addDevice("a", "one"))
			e.same(1, e.tally(together(100, func(int) error { _, err := e.RecordLogin(e.ctx, by(), l); return err }), broker.ErrUsed))
		}},
		{"one key, 50 devices", func(e *env) {
			e.addPool("a")
			var devices []broker.Device
			for i := range 50 {
				d := e.device("a", fmt.Sprint("d", i))
				d.Authenticators[0] = publicKey("the one key", start())
				devices = append(devices, d)
			}
			e.same(1, e.tally(together(50, func(i int) error { return e.CreateDevice(e.ctx, by(), devices[i]) }), broker.ErrKeyBound))
		}},
		{"one secret", func(e *env) {
			var made atomic.Int32
			var got sync.Map
			e.tally(together(50, func(i int) error {
				b, err := e.SecretOnce(e.ctx, by(), "s", func() ([]byte, error) { made.Add(1); return []byte{byte(i)}, nil })
				got.Store(string(b), true)
				return err
			}), nil)
			n := 0
			got.Range(func(any, any) bool { n++; return true })
			e.same(1, n)
			e.same(int32(1), made.Load())
		}},
	}
}

// nothingLostTests: of many that write the same, none undoes what another did.
func nothingLostTests() []test {
	return []test{
		{"nothing is granted after a disable returned", disableRace},
		{"nothing is refreshed after a disable returned", refreshRace},
		{"no update is lost", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			e.tally(together(100, func(i int) error {
				_, err := e.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Attributes[fmt.Sprint(i)] = "x"; return nil })
				return err
			}), nil)
			got := e.stored(d.ID)
			e.same(101, len(got.Attributes))
			e.same(d.Rev+100, got.Rev)
		}},
		{"no rotation is lost", func(e *env) {
			e.addPool("a")
			l := e.login(e.addDevice("a", "one"))
			e.record(l)
			e.tally(together(100, func(int) error {
				_, err := e.UpdateSession(e.ctx, by(), l.Session.ID, func(s *broker.Session, _ *broker.Device) error { s.Generation++; return nil })
				return err
			}), nil)
			got, err := e.Session(e.ctx, l.Session.ID)
			e.ok(err)
			e.same(uint32(101), got.Generation)
		}},
		{"no try is lost", func(e *env) {
			id := e.uuid()
			var seen [101]atomic.Int32
			e.tally(together(100, func(int) error {
				n, err := e.CountTry(e.ctx, by(), id, start().Add(time.Minute))
				seen[n].Add(1)
				return err
			}), nil)
			for n := 1; n <= 100; n++ {
				e.same(int32(1), seen[n].Load())
			}
		}},
		{"one failure spoils no other", func(e *env) {
			e.addPool("a")
			for i := range 20 {
				e.addDevice("a", fmt.Sprint("d", i))
			}
			errs := together(200, func(i int) error {
				_, err := e.UpdateDevice(e.ctx, by(), e.id("a", fmt.Sprint("d", i%20)), func(d *broker.Device) error {
					d.Groups = append(d.Groups, fmt.Sprint(i))
					if i%3 == 0 {
						return errStop
					}
					return nil
				})
				return err
			})
			for i, err := range errs {
				if want := i%3 == 0; want != errors.Is(err, errStop) {
					e.Fatalf("call %d: %v", i, err)
				}
			}
			groups := 0
			for i := range 20 {
				groups += len(e.stored(e.id("a", fmt.Sprint("d", i))).Groups) - 2
			}
			e.same(133, groups)
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
	errs := together(64, func(i int) error {
		if i == 0 {
			_, err := e.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Status = broker.StatusDisabled; return nil })
			disabled.Store(true)
			return err
		}
		for range 50 {
			after := disabled.Load()
			_, err := e.RecordLogin(e.ctx, by(), e.login(d))
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

// refreshRace is the same for refreshes, which see the device in their transaction.
func refreshRace(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "one")
	l := e.login(d)
	e.record(l)
	var disabled atomic.Bool
	var late atomic.Int32
	errs := together(32, func(i int) error {
		if i == 0 {
			_, err := e.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Status = broker.StatusDisabled; return nil })
			disabled.Store(true)
			return err
		}
		for range 50 {
			after := disabled.Load()
			_, err := e.UpdateSession(e.ctx, by(), l.Session.ID, func(s *broker.Session, d *broker.Device) error {
				if d.Status != broker.StatusActive {
					return broker.ErrInactive
				}
				s.Generation++
				return nil
			})
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
}

func contextTests() []test {
	return []test{
		{"an ended context writes nothing", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			ctx, cancel := context.WithCancel(e.ctx)
			cancel()
			l := e.login(d)
			_, err := e.RecordLogin(ctx, by(), l)
			e.wants(context.Canceled, err)
			_, err = e.Device(ctx, d.ID)
			e.wants(context.Canceled, err)
			_, err = e.Session(e.ctx, l.Session.ID)
			e.wants(broker.ErrNotFound, err)
		}},
		{"a call that ends while it waits writes all or nothing", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			logins := make([]broker.Login, 200)
			for i := range logins {
				logins[i] = e.login(d)
			}
			errs := together(len(logins), func(i int) error {
				ctx, cancel := context.WithCancel(e.ctx)
				go cancel()
				_, err := e.RecordLogin(ctx, by(), logins[i])
				return err
			})
			for i, err := range errs {
				_, got := e.Session(e.ctx, logins[i].Session.ID)
				if (err == nil) != (got == nil) {
					e.Fatalf("login %d: %v, and its session: %v", i, err, got)
				}
			}
		}},
	}
}

package storetest

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

func sessionTests() []test {
	return []test{
		{"missing", func(e *env) {
			_, err := e.sessions.Session(e.ctx, e.uuid())
			e.wants(broker.ErrNotFound, err)
			_, err = e.sessions.UpdateSession(e.ctx, by(), e.uuid(), func(*broker.Session, *broker.Device) error { return nil })
			e.wants(broker.ErrNotFound, err)
			_, err = e.sessions.SessionsLike(e.ctx, e.id("a", "one"), e.uuid().Prefix())
			e.wants(broker.ErrNotFound, err)
			e.addPool("a")
			_, err = e.sessions.ListSessions(e.ctx, e.id("a", "one"))
			e.wants(broker.ErrNotFound, err)
		}},
		{"update sees the device and writes the session only", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			l := e.login(d)
			e.record(l)
			want := l.Session
			want.Generation, want.Handle, want.Previous, want.Rotated, want.Revoked, want.DeviceRev = 2, []byte("h2"), l.Session.Handle, start().Add(time.Second), true, 7
			got, err := e.sessions.UpdateSession(e.ctx, by(), l.Session.ID, func(s *broker.Session, seen *broker.Device) error {
				e.sees(l.Session, *s)
				e.sees(d, *seen)
				*s = want
				seen.Groups = nil
				return nil
			})
			e.ok(err)
			e.same(want, got)
			got, err = e.sessions.Session(e.ctx, l.Session.ID)
			e.ok(err)
			e.same(want, got)
			e.same(d, e.stored(d.ID))
		}},
		{"update may fail, and keeps who it is of", func(e *env) {
			e.addPool("a")
			l := e.login(e.addDevice("a", "one"))
			e.record(l)
			for want, edit := range map[error]func(*broker.Session){
				errStop:           func(s *broker.Session) { s.Revoked = true },
				broker.ErrInvalid: func(s *broker.Session) { s.Device = e.id("a", "two") },
			} {
				_, err := e.sessions.UpdateSession(e.ctx, by(), l.Session.ID, func(s *broker.Session, _ *broker.Device) error {
					edit(s)
					if s.Revoked {
						return errStop
					}
					return nil
				})
				e.wants(want, err)
			}
			got, err := e.sessions.Session(e.ctx, l.Session.ID)
			e.ok(err)
			e.same(l.Session, got)
		}},
		{"counted by client, while they live", func(e *env) {
			e.addPool("a")
			e.addPool("b")
			counts := func(want broker.SessionCount, now time.Time) {
				e.t.Helper()
				got, err := e.other.sessions.CountSessions(e.ctx, e.pool("a"), "app", now)
				e.ok(err)
				e.same(want, got)
			}
			counts(broker.SessionCount{}, start())
			one, two, far := e.addDevice("a", "one"), e.addDevice("a", "two"), e.addDevice("b", "one")
			begin := func(d broker.Device, client string, life time.Duration) ident.UUID {
				l := e.login(d)
				l.Session.Client, l.Session.Expires = client, time.Time{}
				if life != 0 {
					l.Session.Expires = start().Add(life)
				}
				e.record(l)
				return l.Session.ID
			}
			begin(one, "app", time.Hour)
			ended := begin(one, "app", time.Hour)
			begin(two, "app", 0) // no refresh token: as long as an access token may be valid
			begin(two, broker.DefaultClient, time.Hour)
			begin(far, "app", time.Hour)
			counts(broker.SessionCount{Sessions: 3, Devices: 2}, start())
			_, err := e.sessions.UpdateSession(e.ctx, by(), ended, func(x *broker.Session, _ *broker.Device) error {
				x.Revoked = true
				return nil
			})
			e.ok(err)
			counts(broker.SessionCount{Sessions: 2, Devices: 2}, start())
			counts(broker.SessionCount{Sessions: 1, Devices: 1}, start().Add(time.Hour))
			counts(broker.SessionCount{}, start().Add(broker.MaxAccessLife))
			_, err = e.devices.UpdateDevice(e.ctx, by(), one.ID, func(d *broker.Device) error {
				d.EndSessions(start())
				return nil
			})
			e.ok(err)
			counts(broker.SessionCount{Sessions: 1, Devices: 1}, start())
			e.ok(e.devices.DeleteDevice(e.ctx, by(), two.ID))
			e.addDevice("a", "two") // the session was another's
			counts(broker.SessionCount{}, start())
		}},
		{"counted no further than anybody wants to know", func(e *env) {
			e.addPool("a")
			for i := range broker.MaxCounted/broker.MaxKeptSessions + 1 {
				d := e.addDevice("a", fmt.Sprintf("d%d", i))
				for range broker.MaxKeptSessions {
					_, err := e.sessions.RecordLogin(e.ctx, by(), e.login(d))
					e.ok(err)
				}
			}
			got, err := e.sessions.CountSessions(e.ctx, e.pool("a"), broker.DefaultClient, start())
			e.ok(err)
			e.same(broker.SessionCount{Sessions: broker.MaxCounted, Devices: broker.MaxCounted / broker.MaxKeptSessions, More: true}, got)
		}},
		{"end with their device", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			l := e.login(d)
			e.record(l)
			e.ok(e.devices.DeleteDevice(e.ctx, by(), d.ID))
			_, err := e.other.sessions.Session(e.ctx, l.Session.ID)
			e.wants(broker.ErrNotFound, err)
			_, err = e.other.sessions.ListSessions(e.ctx, d.ID)
			e.wants(broker.ErrNotFound, err)
			e.addDevice("a", "one") // the sessions were another's
			_, err = e.sessions.Session(e.ctx, l.Session.ID)
			e.wants(broker.ErrNotFound, err)
			all, err := e.sessions.ListSessions(e.ctx, d.ID)
			e.ok(err)
			e.same(0, len(all))
		}},
		{"list newest first, at most 100, the device's own", func(e *env) {
			e.addPool("a")
			e.addPool("b")
			d, others := e.addDevice("a", "one"), []broker.Device{e.addDevice("a", "two"), e.addDevice("b", "one")}
			var want []string
			for range 103 {
				l := e.login(d)
				e.record(l)
				want = append(want, l.Session.ID.String())
				e.record(e.login(others[len(want)%2]))
			}
			slices.Reverse(want)
			all, err := e.sessions.ListSessions(e.ctx, d.ID)
			e.ok(err)
			var got []string
			for _, s := range all {
				got = append(got, s.ID.String())
			}
			e.same(want[:100], got)
		}},
	}
}

func sessionPrefixTests() []test {
	return []test{
		{"like: the device's that begin so, in order", func(e *env) {
			e.addPool("a")
			d, other := e.addDevice("a", "one"), e.addDevice("a", "two")
			late, early := e.loginLike(d, 2, 9), e.loginLike(d, 2, 1)
			for _, l := range []broker.Login{late, e.loginLike(other, 2, 5), e.loginLike(d, 1, 255), early, e.loginLike(d, 3, 0)} {
				e.record(l)
			}
			e.like([]broker.Session{early.Session, late.Session}, d.ID, 2)
			e.none(other.ID, 1)
			e.none(d.ID, 4)
		}},
		{"like: as they are", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			l := e.loginLike(d, 1, 1)
			e.record(l)
			want, err := e.other.sessions.UpdateSession(e.ctx, by(), l.Session.ID, func(s *broker.Session, _ *broker.Device) error { s.Revoked = true; return nil })
			e.ok(err)
			e.like([]broker.Session{want}, d.ID, 1)
		}},
		{"like: end with their device", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			e.record(e.loginLike(d, 1, 1))
			e.ok(e.devices.DeleteDevice(e.ctx, by(), d.ID))
			e.none(d.ID, 1)
			d = e.addDevice("a", "one") // the session was another's
			e.none(d.ID, 1)
			l := e.loginLike(d, 1, 2)
			e.record(l)
			e.like([]broker.Session{l.Session}, d.ID, 1)
		}},
		{"like: no more than MaxAlike are looked at", func(e *env) {
			e.addPool("a")
			d, other := e.addDevice("a", "one"), e.addDevice("a", "two")
			l := e.loginLike(d, 1, 200)
			e.record(l)
			for i := range broker.MaxAlike {
				e.like([]broker.Session{l.Session}, d.ID, 1)
				e.record(e.loginLike(other, 1, byte(i)))
			}
			e.none(d.ID, 1)
		}},
	}
}

// loginLike is a login of d whose session's id begins with a prefix of that number and
// ends in end.
func (e *env) loginLike(d broker.Device, number, end byte) broker.Login {
	l := e.login(d)
	l.Session.ID = prefixed(number, end)
	return l
}

func prefixed(number, end byte) ident.UUID {
	return ident.UUID{0: 1, 5: number, 6: 0x70, 7: 0xff, 8: 0x80, 15: end}
}

func (e *env) like(want []broker.Session, id ident.Device, number byte) {
	e.t.Helper()
	got, err := e.other.sessions.SessionsLike(e.ctx, id, prefixed(number, 0).Prefix())
	e.ok(err)
	e.same(want, got)
}

func (e *env) none(id ident.Device, number byte) {
	e.t.Helper()
	_, err := e.other.sessions.SessionsLike(e.ctx, id, prefixed(number, 0).Prefix())
	e.wants(broker.ErrNotFound, err)
}

func sessionRaceTests() []test {
	return []test{
		{"nothing is refreshed after a disable returned", refreshRace},
		{"no rotation is lost", func(e *env) {
			e.addPool("a")
			l := e.login(e.addDevice("a", "one"))
			e.record(l)
			e.tally(e.together(100, func(_ int, h *handle) error {
				_, err := h.sessions.UpdateSession(e.ctx, by(), l.Session.ID, func(s *broker.Session, _ *broker.Device) error { s.Generation++; return nil })
				return err
			}), nil)
			got, err := e.other.sessions.Session(e.ctx, l.Session.ID)
			e.ok(err)
			e.same(uint32(101), got.Generation)
		}},
	}
}

// refreshRace is the same for refreshes, which see the device in their transaction.
func refreshRace(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "one")
	l := e.login(d)
	e.record(l)
	var disabled atomic.Bool
	var late atomic.Int32
	errs := e.together(32, func(i int, h *handle) error {
		if i == 0 {
			_, err := h.devices.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Status = broker.StatusDisabled; return nil })
			disabled.Store(true)
			return err
		}
		for range 50 {
			after := disabled.Load()
			_, err := h.sessions.UpdateSession(e.ctx, by(), l.Session.ID, func(s *broker.Session, d *broker.Device) error {
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

package storetest

import (
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// enrollTests: what an enrollment token lets in.
func enrollTests() []test {
	return []test{
		{"a token brings a device in", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 2, nil)
			d := e.device("a", "one")
			l := e.enrollment(d, tok.ID)
			got := e.record(l)
			d.Rev = got.Rev
			e.same(d, got)
			e.same(d, e.stored(d.ID))
			e.same(1, e.used(tok))
			_, err := e.sessions.Session(e.ctx, l.Session.ID)
			e.ok(err)
		}},
		{"once an exchange", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 5, nil)
			l := e.enrollment(e.device("a", "one"), tok.ID)
			e.record(l)
			_, err := e.sessions.RecordLogin(e.ctx, by(), l)
			e.wants(broker.ErrUsed, err)
			e.same(1, e.used(tok))
		}},
		{"the token's uses end", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 1, nil)
			e.record(e.enrollment(e.device("a", "one"), tok.ID))
			two := e.device("a", "two")
			_, err := e.sessions.RecordLogin(e.ctx, by(), e.enrollment(two, tok.ID))
			e.wants(broker.ErrExhausted, err)
			_, err = e.devices.Device(e.ctx, two.ID)
			e.wants(broker.ErrNotFound, err)
			e.same(1, e.used(tok))
		}},
		{"the token expires", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 9, nil)
			l := e.enrollment(e.device("a", "one"), tok.ID)
			l.Enroll.Now = tok.Expires
			_, err := e.sessions.RecordLogin(e.ctx, by(), l)
			e.wants(broker.ErrExpired, err)
			l.Enroll.Now = tok.Expires.Add(-1)
			e.record(l)
		}},
		{"the token is of the pool", func(e *env) {
			e.addPool("a")
			e.addPool("b")
			tok := e.addToken("a", 9, nil)
			for _, id := range []string{tok.ID, "ffff"} {
				_, err := e.sessions.RecordLogin(e.ctx, by(), e.enrollment(e.device("b", "one"), id))
				e.wants(broker.ErrNotFound, err)
			}
			_, err := e.devices.Device(e.ctx, e.id("b", "one"))
			e.wants(broker.ErrNotFound, err)
		}},
	}
}

// enrollKeyTests: which key a name may come with.
func enrollKeyTests() []test {
	return []test{
		{"the same key: fine, and no use of the token", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 1, nil)
			d := e.addDevice("a", "one")
			again := d
			again.Subject, again.Groups = e.uuid(), nil
			l := e.enrollment(again, tok.ID)
			e.same(d, e.record(l))
			got, err := e.sessions.Session(e.ctx, l.Session.ID)
			e.ok(err)
			e.same(d.Subject, got.Subject)
			e.same(0, e.used(tok))
			e.record(e.enrollment(e.device("a", "two"), tok.ID))
			e.same(d, e.record(e.enrollment(again, tok.ID)))
		}},
		{"another key", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 9, nil)
			d := e.addDevice("a", "one")
			_, err := e.sessions.RecordLogin(e.ctx, by(), e.enrollment(otherKey(d), tok.ID))
			e.wants(broker.ErrKeyBound, err)
			e.same(d, e.stored(d.ID))
			e.same(0, e.used(tok))
		}},
		{"another key with a token that replaces", replaced},
		{"the key of another device", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 9, func(t *broker.EnrollToken) { t.Replace, t.NamePattern = true, "*o*" })
			one, two := e.addDevice("a", "one"), e.device("a", "two")
			two.Authenticators = one.Authenticators
			_, err := e.sessions.RecordLogin(e.ctx, by(), e.enrollment(two, tok.ID))
			e.wants(broker.ErrKeyBound, err)
			e.same(0, e.used(tok))
		}},
		{"a device that was registered without a key gets one", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 9, nil)
			d := e.device("a", "one")
			key := d.Authenticators
			d.Authenticators = nil
			e.ok(e.devices.CreateDevice(e.ctx, by(), d))
			d.Authenticators = key
			e.same(key, e.record(e.enrollment(d, tok.ID)).Authenticators)
		}},
		{"a registered key needs no token", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			e.same(d, e.record(e.enrollment(d, "")))
			_, err := e.sessions.RecordLogin(e.ctx, by(), e.enrollment(otherKey(d), ""))
			e.wants(broker.ErrKeyBound, err)
			_, err = e.sessions.RecordLogin(e.ctx, by(), e.enrollment(e.device("a", "two"), ""))
			e.wants(broker.ErrNotFound, err)
		}},
	}
}

// enrollStatusTests: who must wait, and who stays out.
func enrollStatusTests() []test {
	return []test{
		{"a pending device comes in without a session, once", pending},
		{"a disabled device stays out, whatever the token", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 9, func(t *broker.EnrollToken) { t.Replace, t.NamePattern = true, "*o*" })
			d := e.addDevice("a", "one")
			e.setStatus(d.ID, broker.StatusDisabled)
			d = e.stored(d.ID)
			for _, come := range []broker.Device{d, otherKey(d)} {
				come.Status = broker.StatusActive
				_, err := e.sessions.RecordLogin(e.ctx, by(), e.enrollment(come, tok.ID))
				e.wants(broker.ErrInactive, err)
			}
			e.same(d, e.stored(d.ID))
			e.same(0, e.used(tok))
		}},
	}
}

// endedByRev: what RecordLogin told of a session is enough to know that it was ended
// later, though by a replica whose clock is far behind.
func endedByRev(e *env, d broker.Device, s broker.Session, found broker.Recorded) {
	stored, err := e.sessions.Session(e.ctx, s.ID)
	e.ok(err)
	e.same(stored.DeviceRev, found.DeviceRev)
	s.DeviceRev = found.DeviceRev
	e.same(false, s.Ended(&d))
	d, err = e.devices.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.EndSessions(s.Created.Add(-time.Hour)); return nil })
	e.ok(err)
	e.same(true, s.Ended(&d))
	e.same(true, stored.Ended(&d))
}

// otherKey is d as it would enroll with another key.
func otherKey(d broker.Device) broker.Device {
	d.Authenticators = []broker.Authenticator{publicKey("another key", start())}
	return d
}

func replaced(e *env) {
	e.addPool("a")
	tok := e.addToken("a", 9, func(t *broker.EnrollToken) { t.Replace, t.NamePattern = true, "*o*" })
	d := e.addDevice("a", "one")
	old := e.login(d)
	e.record(old)
	l := e.enrollment(otherKey(d), tok.ID)
	l.Session.Created = start().Add(time.Minute)
	found, err := e.sessions.RecordLogin(e.ctx, by(), l)
	e.ok(err)
	got := e.stored(d.ID)
	e.same(broker.Recorded{Status: broker.StatusActive, Subject: d.Subject, DeviceRev: got.Rev, KeyReplaced: true}, found)
	e.same([]byte("another key"), got.Authenticators[0].Key)
	e.same(d.Subject, got.Subject)
	e.same(1, e.used(tok))
	if got.SessionsAfter.Before(old.Session.Created) || !got.SessionsAfter.Before(l.Session.Created) {
		e.t.Fatalf("sessions end up to %v: want those of the old key ended, and not the new one", got.SessionsAfter)
	}
	for id, want := range map[ident.UUID]bool{old.Session.ID: true, l.Session.ID: false} {
		s, err := e.sessions.Session(e.ctx, id)
		e.ok(err)
		s.Created = got.SessionsAfter.Add(time.Hour) // by whatever clock
		e.same(want, s.Ended(&got))
	}
	endedByRev(e, got, l.Session, found)
	found, err = e.sessions.RecordLogin(e.ctx, by(), e.enrollment(otherKey(d), tok.ID))
	e.ok(err)
	e.same(false, found.KeyReplaced) // it was, the first time
	two := e.device("a", "two")      // the old key is free
	two.Authenticators = d.Authenticators
	e.ok(e.devices.CreateDevice(e.ctx, by(), two))
}

func pending(e *env) {
	e.addPool("a")
	tok := e.addToken("a", 9, func(t *broker.EnrollToken) { t.Approve = true })
	d := e.device("a", "one")
	d.Status = broker.StatusPending
	l := e.enrollment(d, tok.ID)
	got, err := e.sessions.RecordLogin(e.ctx, by(), l)
	e.wants(broker.ErrInactive, err)
	e.same(broker.StatusPending, got.Status)
	e.same(broker.StatusPending, e.stored(d.ID).Status)
	e.same(1, e.used(tok))
	_, err = e.sessions.Session(e.ctx, l.Session.ID)
	e.wants(broker.ErrNotFound, err)
	_, err = e.sessions.RecordLogin(e.ctx, by(), l)
	e.wants(broker.ErrUsed, err)
	again, err := e.sessions.RecordLogin(e.ctx, by(), e.enrollment(d, tok.ID)) // still waiting: nothing is written
	e.wants(broker.ErrInactive, err)
	e.same(broker.StatusPending, again.Status)
	e.same(1, e.used(tok))
	e.setStatus(d.ID, broker.StatusActive)
	e.record(e.login(d))
	_, err = e.sessions.RecordLogin(e.ctx, by(), l) // approval doesn't revive the exchange
	e.wants(broker.ErrUsed, err)
}

func enrollRaceTests() []test {
	return []test{
		{"100 uses of a one-use token", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 1, nil)
			var logins []broker.Login
			for i := range 100 {
				logins = append(logins, e.enrollment(e.device("a", fmt.Sprint("d", i)), tok.ID))
			}
			e.same(1, e.tally(e.together(100, func(i int, h *handle) error { _, err := h.sessions.RecordLogin(e.ctx, by(), logins[i]); return err }), broker.ErrUsed))
			e.same(1, e.used(tok))
			all, err := e.other.devices.ListDevices(e.ctx, e.pool("a"), "", 1000)
			e.ok(err)
			e.same(1, len(all))
		}},
	}
}

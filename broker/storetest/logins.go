package storetest

import (
	"slices"
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
			got, err := e.Session(e.ctx, l.Session.ID)
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
			got, err := e.Session(e.ctx, l.Session.ID)
			e.ok(err)
			e.same(d.Subject, got.Subject)
		}},
		{"once", func(e *env) {
			e.addPool("a")
			d, other := e.addDevice("a", "one"), e.addDevice("a", "two")
			l := e.login(d)
			e.record(l)
			_, err := e.RecordLogin(e.ctx, by(), l)
			e.wants(broker.ErrUsed, err)
			again := e.login(other) // not for another device either
			again.Session.ID = l.Session.ID
			_, err = e.RecordLogin(e.ctx, by(), again)
			e.wants(broker.ErrUsed, err)
		}},
		{"only of an active device", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			for _, s := range []broker.Status{broker.StatusPending, broker.StatusDisabled, broker.StatusQuarantined} {
				e.setStatus(d.ID, s)
				l := e.login(d)
				got, err := e.RecordLogin(e.ctx, by(), l)
				e.wants(broker.ErrInactive, err)
				e.same(s, got.Status)
				_, err = e.Session(e.ctx, l.Session.ID)
				e.wants(broker.ErrNotFound, err)
			}
			e.setStatus(d.ID, broker.StatusActive)
			e.record(e.login(d))
		}},
		{"not of a missing device", func(e *env) {
			e.addPool("a")
			_, err := e.RecordLogin(e.ctx, by(), e.login(e.device("a", "one")))
			e.wants(broker.ErrNotFound, err)
		}},
		{"not of one that was made again", func(e *env) {
			e.addPool("a")
			l := e.login(e.addDevice("a", "one"))
			e.ok(e.DeleteDevice(e.ctx, by(), l.Session.Device))
			e.addDevice("a", "one")
			_, err := e.RecordLogin(e.ctx, by(), l)
			e.wants(broker.ErrNotFound, err)
		}},
		{"needs an exchange and a device", func(e *env) {
			e.addPool("a")
			l := e.login(e.addDevice("a", "one"))
			l.Session.ID = ident.UUID{}
			_, err := e.RecordLogin(e.ctx, by(), l)
			e.wants(broker.ErrInvalid, err)
			_, err = e.RecordLogin(e.ctx, by(), broker.Login{Session: broker.Session{ID: e.uuid()}})
			e.wants(broker.ErrInvalid, err)
		}},
	}
}

// enrolTests: what an enrolment token lets in.
func enrolTests() []test {
	return []test{
		{"a token brings a device in", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 2, nil)
			d := e.device("a", "one")
			l := e.enrolment(d, tok.ID)
			got := e.record(l)
			d.Rev = got.Rev
			e.same(d, got)
			e.same(d, e.stored(d.ID))
			e.same(1, e.used(tok))
			_, err := e.Session(e.ctx, l.Session.ID)
			e.ok(err)
		}},
		{"once an exchange", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 5, nil)
			l := e.enrolment(e.device("a", "one"), tok.ID)
			e.record(l)
			_, err := e.RecordLogin(e.ctx, by(), l)
			e.wants(broker.ErrUsed, err)
			e.same(1, e.used(tok))
		}},
		{"the token's uses end", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 1, nil)
			e.record(e.enrolment(e.device("a", "one"), tok.ID))
			two := e.device("a", "two")
			_, err := e.RecordLogin(e.ctx, by(), e.enrolment(two, tok.ID))
			e.wants(broker.ErrExhausted, err)
			_, err = e.Device(e.ctx, two.ID)
			e.wants(broker.ErrNotFound, err)
			e.same(1, e.used(tok))
		}},
		{"the token expires", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 9, nil)
			l := e.enrolment(e.device("a", "one"), tok.ID)
			l.Enrol.Now = tok.Expires
			_, err := e.RecordLogin(e.ctx, by(), l)
			e.wants(broker.ErrExpired, err)
			l.Enrol.Now = tok.Expires.Add(-1)
			e.record(l)
		}},
		{"the token is of the pool", func(e *env) {
			e.addPool("a")
			e.addPool("b")
			tok := e.addToken("a", 9, nil)
			for _, id := range []string{tok.ID, "ffff"} {
				_, err := e.RecordLogin(e.ctx, by(), e.enrolment(e.device("b", "one"), id))
				e.wants(broker.ErrNotFound, err)
			}
			_, err := e.Device(e.ctx, e.id("b", "one"))
			e.wants(broker.ErrNotFound, err)
		}},
	}
}

// enrolKeyTests: which key a name may come with.
func enrolKeyTests() []test {
	return []test{
		{"the same key: fine, and no use of the token", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 1, nil)
			d := e.addDevice("a", "one")
			again := d
			again.Subject, again.Groups = e.uuid(), nil
			l := e.enrolment(again, tok.ID)
			e.same(d, e.record(l))
			got, err := e.Session(e.ctx, l.Session.ID)
			e.ok(err)
			e.same(d.Subject, got.Subject)
			e.same(0, e.used(tok))
			e.record(e.enrolment(e.device("a", "two"), tok.ID))
			e.same(d, e.record(e.enrolment(again, tok.ID)))
		}},
		{"another key", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 9, nil)
			d := e.addDevice("a", "one")
			_, err := e.RecordLogin(e.ctx, by(), e.enrolment(otherKey(d), tok.ID))
			e.wants(broker.ErrKeyBound, err)
			e.same(d, e.stored(d.ID))
			e.same(0, e.used(tok))
		}},
		{"another key with a token that replaces", replaced},
		{"the key of another device", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 9, func(t *broker.EnrolToken) { t.Replace = true })
			one, two := e.addDevice("a", "one"), e.device("a", "two")
			two.Authenticators = one.Authenticators
			_, err := e.RecordLogin(e.ctx, by(), e.enrolment(two, tok.ID))
			e.wants(broker.ErrKeyBound, err)
			e.same(0, e.used(tok))
		}},
		{"a device that was registered without a key gets one", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 9, nil)
			d := e.device("a", "one")
			key := d.Authenticators
			d.Authenticators = nil
			e.ok(e.CreateDevice(e.ctx, by(), d))
			d.Authenticators = key
			e.same(key, e.record(e.enrolment(d, tok.ID)).Authenticators)
		}},
		{"a registered key needs no token", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			e.same(d, e.record(e.enrolment(d, "")))
			_, err := e.RecordLogin(e.ctx, by(), e.enrolment(otherKey(d), ""))
			e.wants(broker.ErrKeyBound, err)
			_, err = e.RecordLogin(e.ctx, by(), e.enrolment(e.device("a", "two"), ""))
			e.wants(broker.ErrNotFound, err)
		}},
	}
}

// enrolStatusTests: who must wait, and who stays out.
func enrolStatusTests() []test {
	return []test{
		{"a pending device comes in without a session, once", pending},
		{"a disabled device stays out, whatever the token", func(e *env) {
			e.addPool("a")
			tok := e.addToken("a", 9, func(t *broker.EnrolToken) { t.Replace = true })
			d := e.addDevice("a", "one")
			e.setStatus(d.ID, broker.StatusDisabled)
			d = e.stored(d.ID)
			for _, come := range []broker.Device{d, otherKey(d)} {
				come.Status = broker.StatusActive
				_, err := e.RecordLogin(e.ctx, by(), e.enrolment(come, tok.ID))
				e.wants(broker.ErrInactive, err)
			}
			e.same(d, e.stored(d.ID))
			e.same(0, e.used(tok))
		}},
	}
}

// otherKey is d as it would enrol with another key.
func otherKey(d broker.Device) broker.Device {
	d.Authenticators = []broker.Authenticator{publicKey("another key", start())}
	return d
}

func replaced(e *env) {
	e.addPool("a")
	tok := e.addToken("a", 9, func(t *broker.EnrolToken) { t.Replace = true })
	d := e.addDevice("a", "one")
	old := e.login(d)
	e.record(old)
	l := e.enrolment(otherKey(d), tok.ID)
	l.Session.Created = start().Add(time.Minute)
	found, err := e.RecordLogin(e.ctx, by(), l)
	e.ok(err)
	e.same(broker.Recorded{Status: broker.StatusActive, Subject: d.Subject, KeyReplaced: true}, found)
	got := e.stored(d.ID)
	e.same([]byte("another key"), got.Authenticators[0].Key)
	e.same(d.Subject, got.Subject)
	e.same(1, e.used(tok))
	if got.SessionsAfter.Before(old.Session.Created) || !got.SessionsAfter.Before(l.Session.Created) {
		e.Fatalf("sessions end up to %v: want those of the old key ended, and not the new one", got.SessionsAfter)
	}
	for id, want := range map[ident.UUID]bool{old.Session.ID: true, l.Session.ID: false} {
		s, err := e.Session(e.ctx, id)
		e.ok(err)
		s.Created = got.SessionsAfter.Add(time.Hour) // by whatever clock
		e.same(want, s.Ended(&got))
	}
	found, err = e.RecordLogin(e.ctx, by(), e.enrolment(otherKey(d), tok.ID))
	e.ok(err)
	e.same(false, found.KeyReplaced) // it was, the first time
	two := e.device("a", "two")      // the old key is free
	two.Authenticators = d.Authenticators
	e.ok(e.CreateDevice(e.ctx, by(), two))
}

func pending(e *env) {
	e.addPool("a")
	tok := e.addToken("a", 9, func(t *broker.EnrolToken) { t.Approve = true })
	d := e.device("a", "one")
	d.Status = broker.StatusPending
	l := e.enrolment(d, tok.ID)
	got, err := e.RecordLogin(e.ctx, by(), l)
	e.wants(broker.ErrInactive, err)
	e.same(broker.StatusPending, got.Status)
	e.same(broker.StatusPending, e.stored(d.ID).Status)
	e.same(1, e.used(tok))
	_, err = e.Session(e.ctx, l.Session.ID)
	e.wants(broker.ErrNotFound, err)
	_, err = e.RecordLogin(e.ctx, by(), l)
	e.wants(broker.ErrUsed, err)
	again, err := e.RecordLogin(e.ctx, by(), e.enrolment(d, tok.ID)) // still waiting: nothing is written
	e.wants(broker.ErrInactive, err)
	e.same(broker.StatusPending, again.Status)
	e.same(1, e.used(tok))
	e.setStatus(d.ID, broker.StatusActive)
	e.record(e.login(d))
	_, err = e.RecordLogin(e.ctx, by(), l) // approval doesn't revive the exchange
	e.wants(broker.ErrUsed, err)
}

func sessionTests() []test {
	return []test{
		{"missing", func(e *env) {
			_, err := e.Session(e.ctx, e.uuid())
			e.wants(broker.ErrNotFound, err)
			_, err = e.UpdateSession(e.ctx, by(), e.uuid(), func(*broker.Session, *broker.Device) error { return nil })
			e.wants(broker.ErrNotFound, err)
			e.addPool("a")
			_, err = e.ListSessions(e.ctx, e.id("a", "one"))
			e.wants(broker.ErrNotFound, err)
		}},
		{"update sees the device and writes the session only", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			l := e.login(d)
			e.record(l)
			want := l.Session
			want.Generation, want.Handle, want.Previous, want.Rotated, want.Revoked, want.DeviceRev = 2, []byte("h2"), l.Session.Handle, start().Add(time.Second), true, 7
			got, err := e.UpdateSession(e.ctx, by(), l.Session.ID, func(s *broker.Session, seen *broker.Device) error {
				e.sees(l.Session, *s)
				e.sees(d, *seen)
				*s = want
				seen.Groups = nil
				return nil
			})
			e.ok(err)
			e.same(want, got)
			got, err = e.Session(e.ctx, l.Session.ID)
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
				_, err := e.UpdateSession(e.ctx, by(), l.Session.ID, func(s *broker.Session, _ *broker.Device) error {
					edit(s)
					if s.Revoked {
						return errStop
					}
					return nil
				})
				e.wants(want, err)
			}
			got, err := e.Session(e.ctx, l.Session.ID)
			e.ok(err)
			e.same(l.Session, got)
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
			all, err := e.ListSessions(e.ctx, d.ID)
			e.ok(err)
			var got []string
			for _, s := range all {
				got = append(got, s.ID.String())
			}
			e.same(want[:100], got)
		}},
	}
}

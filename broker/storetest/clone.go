package storetest

import (
	"slices"
	"strings"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

func cloneTests() []test {
	return []test{
		{"logins that follow each other tell nothing", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			last := ident.UUID{}
			for range 5 {
				l := e.next(d, last)
				e.same(broker.Lineage{}, e.begin(l))
				last = l.Session.ID
			}
			got, err := e.other.sessions.Session(e.ctx, last)
			e.ok(err)
			e.same(false, got.Last.IsZero())
		}},
		{"what a device skips is lost", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			first, unheard, again := e.next(d, ident.UUID{}), e.next(d, ident.UUID{}), e.next(d, ident.UUID{})
			e.begin(first)
			unheard.Session.Last = first.Session.ID
			e.begin(e.seen(unheard))
			again.Session.Last = first.Session.ID
			e.same(broker.Lineage{Lost: []ident.UUID{unheard.Session.ID}}, e.begin(e.seen(again)))
			e.flags(unheard, true, true, false)
			e.flags(first, true, false, false)
			e.flags(again, false, false, false)
		}},
		{"a lost session that is named tells of two copies", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			one, other := e.clones(d)
			back := e.next(d, one.Session.ID)
			told := broker.Lineage{Lost: []ident.UUID{other.Session.ID}, Cloned: true, Other: other.Session.ID, OtherFrom: "2001:db8::7"}
			e.same(told, e.begin(back))
			e.flags(back, false, false, true)
			now := e.stored(d.ID)
			e.same(broker.StatusActive, now.Status)
			e.same(d.Rev+1, now.Rev)
			e.same(true, now.ClonedSince.Equal(back.Session.Created))
			all, err := e.other.journal.History(e.ctx, d.ID, 0, 100)
			e.ok(err)
			all = slices.DeleteFunc(all, func(r broker.Record) bool { return r.What != broker.WhatClone })
			e.same(2, len(all))
			e.same([]ident.UUID{back.Session.ID, {}}, []ident.UUID{all[0].Session, all[1].Session})
			reason := back.Evidence(&told)
			e.same([]string{reason, reason}, []string{all[0].By.Reason, all[1].By.Reason})
			e.same([]broker.Actor{by().Actor, broker.ActorBroker}, []broker.Actor{all[0].By.Actor, all[1].By.Actor})
			e.same(true, strings.Contains(reason, "192.0.2.1") && strings.Contains(reason, "2001:db8::7") && strings.Contains(reason, other.Session.ID.String()))
			e.same(true, e.begin(e.next(d, other.Session.ID)).Cloned) // and so on
		}},
		{"the first sign of two copies stays, whatever they do", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			one, other := e.clones(d)
			first := e.next(d, one.Session.ID)
			e.begin(first)
			since, last := e.stored(d.ID), []ident.UUID{first.Session.ID, other.Session.ID}
			for i := range broker.MaxKeptSessions + 20 {
				l := e.next(d, last[(i+1)%2])
				e.begin(l)
				last[(i+1)%2] = l.Session.ID
			}
			e.same(since.Rev, e.stored(d.ID).Rev)
			kept := func() []broker.Record {
				all, err := e.other.journal.History(e.ctx, d.ID, 0, broker.MaxList)
				e.ok(err)
				return slices.DeleteFunc(all, func(r broker.Record) bool { return r.Kind != broker.RecordDevice || r.What != broker.WhatClone })
			}
			e.same(1, len(kept()))
			_, err := e.devices.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.EndSessions(start()); return nil })
			e.ok(err)
			e.same(true, e.stored(d.ID).ClonedSince.IsZero())
			one, other = e.clones(d)
			e.same(true, e.begin(e.next(d, one.Session.ID)).Cloned)
			e.same(2, len(kept()))
			e.setStatus(d.ID, broker.StatusActive)
			e.same(false, e.stored(d.ID).ClonedSince.IsZero())
			_, err = e.devices.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Release(); return nil })
			e.ok(err)
			e.same(true, e.begin(e.next(d, other.Session.ID)).Cloned)
			e.same(3, len(kept()))
		}},
		{"a pool may quarantine a device that was cloned", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			one, other := e.clones(d)
			back := e.next(d, one.Session.ID)
			back.Clones = broker.ClonesQuarantine
			found, err := e.sessions.RecordLogin(e.ctx, by(), back)
			e.wants(broker.ErrInactive, err)
			e.same(broker.StatusQuarantined, found.Status)
			e.same(broker.Lineage{Lost: []ident.UUID{other.Session.ID}, Cloned: true, Other: other.Session.ID, OtherFrom: "2001:db8::7"}, found.Lineage)
			now := e.stored(d.ID)
			e.same(broker.StatusQuarantined, now.Status)
			e.same(d.Rev+1, now.Rev)
			over, err := e.sessions.Session(e.ctx, other.Session.ID)
			e.ok(err)
			e.same(true, over.Ended(&now))
			_, err = e.sessions.Session(e.ctx, back.Session.ID)
			e.wants(broker.ErrNotFound, err)
			all, err := e.other.journal.History(e.ctx, d.ID, 0, 1)
			e.ok(err)
			e.same([]broker.What{broker.WhatQuarantine}, whats(all))
			e.same(broker.By{Actor: broker.ActorBroker, Request: by().Request, Reason: back.Evidence(&found.Lineage)}, all[0].By)
			e.setStatus(d.ID, broker.StatusActive)
			_, err = e.sessions.RecordLogin(e.ctx, by(), back)
			e.wants(broker.ErrUsed, err)
			e.same(broker.Lineage{}, e.begin(e.next(d, one.Session.ID))) // what was before is over
			e.same(broker.Lineage{}, e.begin(e.next(d, other.Session.ID)))
		}},
		{"a login is refused if a session began since its exchange did", func(e *env) {
			e.addPool("a")
			d, apart := e.addDevice("a", "one"), e.addDevice("a", "two")
			first := e.next(d, ident.UUID{})
			e.begin(first)
			late := e.next(d, first.Session.ID)
			newest := e.next(d, first.Session.ID)
			e.begin(e.next(apart, ident.UUID{}))
			e.begin(newest)
			before := e.last()
			_, err := e.sessions.RecordLogin(e.ctx, by(), late)
			e.wants(broker.ErrOvertaken, err)
			e.same(before, e.last())
			e.flags(newest, false, false, false)
			others := e.next(d, ident.UUID{})
			others.Session.Client = "else"
			late = e.next(d, newest.Session.ID)
			e.begin(others)
			e.same(broker.Lineage{}, e.begin(late)) // another client's does not count
		}},
		{"a login is refused if an older copy of the store was put back since its exchange began", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			last, sum, err := e.journal.Newest(e.ctx)
			e.ok(err)
			e.same(e.last(), last)
			if sum == 0 {
				e.t.Error("the newest record comes to nothing")
			}
			first := e.next(d, ident.UUID{})
			first.Seen, first.SeenSum = last, sum
			e.begin(first)
			later, other, err := e.other.journal.Newest(e.ctx)
			e.ok(err)
			if later <= last || other == sum {
				e.t.Errorf("record %d comes to %x as %d does", later, other, last)
			}
			for _, was := range []struct{ seen, sum uint64 }{{later, sum}, {later + 100, other}} {
				l := e.next(d, first.Session.ID)
				l.Seen, l.SeenSum = was.seen, was.sum
				_, err := e.sessions.RecordLogin(e.ctx, by(), l)
				e.wants(broker.ErrOvertaken, err)
			}
		}},
		{"several sessions at once have no order", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			first := e.next(d, ident.UUID{})
			e.begin(first)
			for _, most := range []int{0, 2} {
				for range 4 {
					l := e.next(d, first.Session.ID)
					l.MaxSessions, l.Seen = most, 1
					e.same(broker.Lineage{}, e.begin(l))
				}
			}
		}},
	}
}

// next is a login of a device that had last, whose exchange begins now.
func (e *env) next(d broker.Device, last ident.UUID) broker.Login {
	l := e.login(d)
	l.Session.Last, l.Session.DeviceRev, l.MaxSessions, l.Session.From = last, e.stored(d.ID).Rev, 1, "192.0.2.1"
	return e.seen(l)
}

func (e *env) seen(l broker.Login) broker.Login {
	l.Seen = e.last()
	return l
}

func (e *env) begin(l broker.Login) broker.Lineage {
	e.t.Helper()
	found, err := e.sessions.RecordLogin(e.ctx, by(), l)
	e.ok(err)
	return found.Lineage
}

// clones begins a session and then, from what was before it, another one's.
func (e *env) clones(d broker.Device) (one, other broker.Login) {
	e.t.Helper()
	first := e.next(d, ident.UUID{})
	e.begin(first)
	one = e.next(d, first.Session.ID)
	e.begin(one)
	other = e.next(d, first.Session.ID)
	other.Session.From = "2001:db8::7"
	e.same([]ident.UUID{one.Session.ID}, e.begin(other).Lost)
	return one, other
}

// flags wants them of a login's session.
func (e *env) flags(l broker.Login, revoked, lost, cloned bool) {
	e.t.Helper()
	s, err := e.other.sessions.Session(e.ctx, l.Session.ID)
	e.ok(err)
	e.same([]bool{revoked, lost, cloned}, []bool{s.Revoked, s.Lost, s.Cloned})
}

func whats(all []broker.Record) (out []broker.What) {
	for _, r := range all {
		out = append(out, r.What)
	}
	return out
}

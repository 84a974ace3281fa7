package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

func journalTests() []test {
	return []test{
		{"every write has its record", everyWriteRecorded},
		{"the first records of a store begin at 1, and a pool's first rows have theirs", poolRecords},
		{"a login and a refresh have their device's record", loginRecords},
		{"an enrollment has a record for each row that it writes", enrollRecords},
		{"a write that fails leaves no record", failedWrites},
		{"a write that nobody does is refused", nobodysWrites},
		{"a change that panics leaves no record, and takes none from others", panickedWrite},
		{"a reader goes on at every Seq", resumed},
		{"records of racing writers are dense, in order, one for each write", racingWriters},
		{"a reader beside writers misses nothing and sees nothing twice", readBeside},
		{"Before tells the row as it was", befores},
		{"a device's records say what was done", deviceRecords},
		{"a device's history is its own, newest first, over its deletion", history},
		{"a device's history tells its logins and its ended sessions", sessionHistory},
		{"a device's history tells what operators did with its connections", connectionHistory},
		{"a session's records say what was done, and nothing of nothing", sessionRecords},
		{"the end of a session by its own device is traffic, and in the history", ownEnd},
		{"events are recorded all or none", events},
		{"Await hears of what is there and what comes, and ends with its context", awaited},
		{"a limit is 1 to 1000", func(e *env) {
			for _, n := range []int{-1, 0, 1001} {
				_, err := e.journal.Since(e.ctx, 0, n)
				e.wants(broker.ErrInvalid, err)
				e.addPool(fmt.Sprintf("p%d", n+2))
				_, err = e.journal.History(e.ctx, e.id("p1", "x"), 0, n)
				e.wants(broker.ErrInvalid, err)
			}
		}},
	}
}

// last is the Seq of the newest record, which both handles agree on.
func (e *env) last() uint64 {
	e.t.Helper()
	n, err := e.journal.Last(e.ctx)
	e.ok(err)
	m, err := e.other.journal.Last(e.ctx)
	e.ok(err)
	e.same(n, m)
	return n
}

// since gives all records after one, as the other handle reads them.
func (e *env) since(after uint64) (all []broker.Record) {
	e.t.Helper()
	for {
		some, err := e.other.journal.Since(e.ctx, after, 1000)
		e.ok(err)
		if len(some) == 0 {
			return all
		}
		all = append(all, some...)
		after = some[len(some)-1].Seq
	}
}

// short is a record in a line: "device a:lamp update", with a "+" behind it where there was a row before.
func short(r broker.Record) string {
	s := fmt.Sprintf("%s %s:%s %s", r.Kind, r.Pool, r.Subject, r.What)
	if r.Before != nil {
		s += " +"
	}
	return s
}

func shorts(all []broker.Record) []string {
	out := []string{}
	for _, r := range all {
		out = append(out, short(r))
	}
	return out
}

// records does one write and compares what it records with want.
func (e *env) records(what string, write func(broker.By) error, want ...string) []broker.Record {
	e.t.Helper()
	who := broker.By{Actor: broker.Actor("operator:" + what), Request: "r-1", Reason: "because of " + what}
	before := e.last()
	e.ok(write(who))
	got := e.since(before)
	e.same(append([]string{}, want...), shorts(got))
	for i, r := range got {
		if r.By != who || r.Seq != before+uint64(i)+1 || r.At.IsZero() || r.Before != nil && len(r.Before) != 32 {
			e.t.Fatalf("%s: record %+v after %d", what, r, before)
		}
	}
	return got
}

func everyWriteRecorded(e *env) {
	p := e.addPool("a")
	d := e.device("a", "lamp")
	e.records("create", func(by broker.By) error { return e.devices.CreateDevice(e.ctx, by, d) }, "device a:lamp create")
	e.records("bulk", func(by broker.By) error {
		e.wants(broker.ErrExists, e.devices.CreateDevices(e.ctx, by, []broker.Device{d})[0])
		return errors.Join(e.devices.CreateDevices(e.ctx, by, []broker.Device{e.device("a", "2"), e.device("a", "1")})...)
	}, "device a:1 create", "device a:2 create")
	alone, err := e.other.journal.History(e.ctx, e.id("a", "2"), 0, 10)
	e.ok(err)
	e.same([]string{"device a:2 create"}, shorts(alone))
	e.records("update", func(by broker.By) error {
		_, err := e.devices.UpdateDevice(e.ctx, by, d.ID, func(d *broker.Device) error { d.Status = broker.StatusDisabled; return nil })
		return err
	}, "device a:lamp disable +")
	of := broker.TryOf{Device: d.ID, What: "totp"}
	try := func(by broker.By) error { _, err := e.tries.Try(e.ctx, by, of, broker.TryMark{1}, start()); return err }
	right := func(step uint64) func(broker.By) error {
		return func(by broker.By) error { return e.tries.Accept(e.ctx, by, of, broker.TryMark{1}, step) }
	}
	settle := func(by broker.By) error { return e.tries.Settle(e.ctx, by, []broker.TryOf{of}) }
	e.records("try", try, "try a:lamp count")
	e.records("try again", try)
	e.records("settle", settle, "try a:lamp count +")
	e.records("settled", settle)
	e.records("right", right(7), "try a:lamp count +", "try a:lamp count +")
	e.records("right again", right(7))
	e.records("delete", func(by broker.By) error { return e.devices.DeleteDevice(e.ctx, by, d.ID) }, "try a:lamp delete +", "device a:lamp delete +")
	of.Exchange = e.uuid()
	e.records("try of who proved nothing", try)
	e.records("right answer of who proved nothing", right(0))
	f := document(e, "a", "flow", "f")
	e.records("document", func(by broker.By) error { return e.putBy(by, f) }, "flow a:f create")
	f = e.kept(f)
	e.records("document", func(by broker.By) error { return e.putBy(by, f) }, "flow a:f update +")
	e.records("flow of pool", func(by broker.By) error {
		return e.settings.ChangeSettings(e.ctx, by, func(tx broker.SettingsTx) error {
			p, err := tx.Pool(p)
			if err != nil {
				return err
			}
			p.Flow = "f"
			_, err = tx.UpdatePool(p)
			return err
		})
	}, "pool a: update +")
	anchor := func(change func(*broker.Pool)) func(broker.By) error {
		return func(by broker.By) error {
			return e.settings.ChangeSettings(e.ctx, by, func(tx broker.SettingsTx) error {
				p, err := tx.Pool(p)
				if err != nil {
					return err
				}
				change(&p)
				_, err = tx.UpdatePool(p)
				return err
			})
		}
	}
	e.records("first anchor of pool", anchor(func(p *broker.Pool) { p.Anchor, p.AnchorSealed = []byte{1}, []byte{1} }), "pool a: revoke-anchor +")
	e.records("anchor of pool", anchor(func(p *broker.Pool) {
		p.Successions = append(p.Successions, broker.Succession{From: []byte{1}, Signed: []byte{1}, At: start()})
		p.Anchor, p.AnchorSealed = []byte{2}, []byte{2}
	}), "pool a: rotate-anchor +")
	e.records("anchor of pool, without the old one's word", anchor(func(p *broker.Pool) {
		p.Anchor, p.AnchorSealed, p.Successions = []byte{3}, []byte{3}, nil
	}), "pool a: revoke-anchor +")
	x, y := document(e, "a", "thing", "x"), document(e, "a", "thing", "y")
	e.records("several", func(by broker.By) error { return e.putBy(by, x, y) }, "thing a:x create", "thing a:y create")
	e.records("deletion", func(by broker.By) error {
		return e.settings.ChangeSettings(e.ctx, by, func(tx broker.SettingsTx) error { return tx.DeleteSetting(p, "thing", "x") })
	}, "thing a:x delete +")
	everyOtherWrite(e, p)
}

func everyOtherWrite(e *env, p ident.Pool) {
	one, two := signingKey(e, "a", "one"), signingKey(e, "a", "two")
	set := func(keys ...broker.SigningKey) func(broker.By) error {
		return func(by broker.By) error {
			return e.keys.ChangeSigningKeys(e.ctx, by, p, func([]broker.SigningKey) ([]broker.SigningKey, error) { return keys, nil })
		}
	}
	e.records("keys", set(one), "key a:one create")
	retired := one
	retired.State = broker.KeyVerifying
	e.records("keys", set(retired, two), "key a:one update +", "key a:two create")
	e.records("keys", set(two), "key a:one delete +")
	o := broker.Operator{Name: "ada", Hash: bytes.Repeat([]byte{1}, 32), Expires: start().Add(time.Hour), Created: start(), Scope: broker.OperatorAdmin}
	e.records("operator", func(by broker.By) error { return e.operators.CreateOperator(e.ctx, by, o) }, "operator :ada create")
	e.records("operator", e.rewrites(o), "operator :ada update +")
	e.records("operator", func(by broker.By) error { return e.operators.DeleteOperator(e.ctx, by, "ada", nil) }, "operator :ada delete +")
	secret := func(by broker.By) error {
		_, err := e.secrets.SecretOnce(e.ctx, by, "s", func() ([]byte, error) { return []byte("x"), nil })
		return err
	}
	e.records("secret", secret, "secret :s create")
	e.records("secret again", secret)
	e.records("epoch", func(by broker.By) error { return e.epochs.RaiseEpoch(e.ctx, by, 5) }, "store :epoch create")
	e.records("epoch again", func(by broker.By) error { return e.epochs.RaiseEpoch(e.ctx, by, 6) }, "store :epoch update +")
	e.records("pool", func(by broker.By) error { return e.pools.DeletePool(e.ctx, by, p) }, "pool a: delete +")
}

func poolRecords(e *env) {
	p := e.pool("a")
	e.same(uint64(0), e.last())
	e.records("pool", func(by broker.By) error {
		return e.settings.ChangeSettings(e.ctx, by, func(tx broker.SettingsTx) error {
			err := tx.CreatePool(broker.Pool{Name: p, Issuer: "https://x/pools/a", Flow: "f"}, []broker.SigningKey{signingKey(e, "a", "k")})
			if err != nil {
				return err
			}
			_, err = tx.PutSetting(document(e, "a", "flow", "f"))
			return err
		})
	}, "pool a: create", "key a:k create", "flow a:f create")
	e.same(uint64(1), e.since(0)[0].Seq)
}

// own is a device's own write by a call.
func own(d broker.Device, call string) broker.By {
	return broker.By{Actor: broker.DeviceActor(d.ID), Request: call}
}

func loginRecords(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "lamp")
	for i, call := range []string{"00112233445566778899aabbccddeeff", "", "not hex", "AB"} {
		l, by := e.login(d), own(d, call)
		before := e.last()
		_, err := e.sessions.RecordLogin(e.ctx, by, l)
		e.ok(err)
		_, err = e.sessions.UpdateSession(e.ctx, by, l.Session.ID, func(s *broker.Session, _ *broker.Device) error { s.Generation++; return nil })
		e.ok(err)
		got := e.since(before)
		e.same([]string{"session a:lamp login", "session a:lamp refresh +"}, shorts(got))
		for _, r := range got {
			if r.By != by || r.Session != l.Session.ID || r.Device() != d.ID || !r.Traffic() {
				e.t.Fatalf("record %+v of login %d by %+v", r, i, by)
			}
		}
	}
	all, err := e.other.sessions.ListSessions(e.ctx, d.ID)
	e.ok(err)
	e.same(4, len(all))
}

func enrollRecords(e *env) {
	e.addPool("a")
	t := e.addToken("a", 5, nil)
	d := e.device("a", "lamp")
	l := e.enrollment(d, t.ID)
	before := e.last()
	_, err := e.sessions.RecordLogin(e.ctx, own(d, "01"), l)
	e.ok(err)
	e.same([]string{"device a:lamp create", "enrollment a:" + t.ID + " count", "session a:lamp login"}, shorts(e.since(before)))
	waits := e.device("a", "waits")
	waits.Status = broker.StatusPending
	before = e.last()
	_, err = e.sessions.RecordLogin(e.ctx, own(waits, "02"), e.enrollment(waits, t.ID))
	e.wants(broker.ErrInactive, err)
	e.same([]string{"device a:waits create", "enrollment a:" + t.ID + " count +"}, shorts(e.since(before)))
	for _, waits := range []bool{false, true} {
		tok := e.addToken("a", 1, func(t *broker.EnrollToken) { t.Replace, t.NamePattern = true, "l*" })
		come := otherKey(d)
		if waits { // and has the first key again
			come = d
			come.Status = broker.StatusPending
		}
		before, want := e.last(), []string{"device a:lamp replace-key +", "enrollment a:" + tok.ID + " count", "session a:lamp login"}
		_, err = e.sessions.RecordLogin(e.ctx, own(come, "03"), e.enrollment(come, tok.ID))
		if waits {
			want = want[:2]
		} else {
			e.ok(err)
		}
		e.same(want, shorts(e.since(before)))
	}
}

func failedWrites(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "lamp")
	l := e.login(d)
	e.record(l)
	stop := errors.New("stop")
	ended, cancel := context.WithCancel(e.ctx)
	cancel()
	before := e.last()
	_, again := e.sessions.RecordLogin(e.ctx, by(), l)
	_, update := e.devices.UpdateDevice(e.ctx, by(), d.ID, func(*broker.Device) error { return stop })
	_, session := e.sessions.UpdateSession(e.ctx, by(), l.Session.ID, func(*broker.Session, *broker.Device) error { return stop })
	other := e.device("a", "other")
	other.Authenticators = d.Authenticators
	for i, c := range []struct{ want, err error }{
		{broker.ErrUsed, again}, {stop, update}, {stop, session},
		{broker.ErrExists, e.devices.CreateDevice(e.ctx, by(), e.device("a", "lamp"))},
		{broker.ErrKeyBound, e.devices.CreateDevice(e.ctx, by(), other)},
		{broker.ErrNotFound, e.devices.DeleteDevice(e.ctx, by(), other.ID)},
		{broker.ErrNotFound, e.pools.DeletePool(e.ctx, by(), e.pool("none"))},
		{broker.ErrExists, e.createPool(broker.Pool{Name: e.pool("a"), Issuer: "https://x"})},
		{stop, e.change(func(tx broker.SettingsTx) error {
			if _, err := tx.PutSetting(document(e, "a", "thing", "x")); err != nil {
				return err
			}
			return stop
		})},
		{broker.ErrInvalid, e.put(document(e, "a", "flow", "two", broker.Ref{Kind: "hook", Name: "none"}))},
		{context.Canceled, e.devices.DeleteDevice(ended, by(), d.ID)},
	} {
		if !errors.Is(c.err, c.want) {
			e.t.Fatalf("write %d: %v, want %v", i, c.err, c.want)
		}
	}
	e.same(before, e.last())
	e.same([]string{}, shorts(e.since(before)))
}

func nobodysWrites(e *env) {
	e.addPool("a")
	before := e.last()
	for _, by := range []broker.By{
		{}, {Actor: "a\nb"}, {Actor: broker.Actor(strings.Repeat("a", broker.MaxActor+1))},
		{Actor: "a", Request: strings.Repeat("r", broker.MaxRequest+1)}, {Actor: "a", Request: "\x1b[1m"},
		{Actor: "a", Reason: strings.Repeat("r", broker.MaxReason+1)}, {Actor: "a", Reason: "two\nlines"}, {Actor: "a", Reason: "\xff"},
	} {
		e.wants(broker.ErrInvalid, e.devices.CreateDevice(e.ctx, by, e.device("a", "lamp")))
	}
	e.same(before, e.last())
	_, err := e.devices.Device(e.ctx, e.id("a", "lamp"))
	e.wants(broker.ErrNotFound, err)
	full := broker.By{Actor: broker.Actor(strings.Repeat("a", broker.MaxActor)), Request: strings.Repeat("r", broker.MaxRequest), Reason: strings.Repeat("ü", broker.MaxReason/2)}
	e.ok(e.devices.CreateDevice(e.ctx, full, e.device("a", "lamp")))
	e.same(full, e.since(before)[0].By)
}

func panickedWrite(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "lamp")
	before := e.last()
	errs := e.together(8, func(i int, h *handle) error {
		if i < 2 {
			_, err := h.devices.UpdateDevice(e.ctx, by(), d.ID, func(*broker.Device) error { panic("on purpose") })
			if err == nil {
				return errors.New("a panic went well")
			}
			return nil
		}
		_, err := h.sessions.RecordLogin(e.ctx, by(), e.login(d))
		return err
	})
	e.same(8, e.tally(errs, nil))
	got := e.since(before)
	e.same(6, len(got))
	for i, r := range got {
		if short(r) != "session a:lamp login" || r.Seq != before+uint64(i)+1 {
			e.t.Fatalf("record %+v after %d", r, before)
		}
	}
}

func resumed(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "lamp")
	for i := range 20 {
		e.record(e.login(d))
		if i%3 == 0 {
			e.setStatus(d.ID, broker.StatusActive)
		}
	}
	all := e.since(0)
	e.same(e.last(), uint64(len(all)))
	for i := range len(all) + 1 {
		for _, limit := range []int{1, 2, 7, 1000} {
			got, err := e.journal.Since(e.ctx, uint64(i), limit)
			e.ok(err)
			want := all[i:min(i+limit, len(all))]
			if len(got) != len(want) {
				e.t.Fatalf("%d records after %d of %d, limit %d", len(got), i, len(all), limit)
			}
			for k := range want {
				e.same(want[k], got[k])
			}
		}
	}
	got, err := e.journal.Since(e.ctx, uint64(len(all))+5, 10)
	e.ok(err)
	e.same(0, len(got))
}

// writesOf does n writes of its own kind at once, half of which fail, through either
// handle, and gives the reasons of those that went well.
func (e *env) writesOf(n int) []string {
	var mu sync.Mutex
	var good []string
	e.together(n, func(i int, h *handle) error {
		who := broker.By{Actor: "operator:storetest", Reason: fmt.Sprintf("write %d", i)}
		err := h.devices.CreateDevice(e.ctx, who, e.device("a", fmt.Sprintf("d-%d", i/2)))
		if err == nil {
			mu.Lock()
			good = append(good, who.Reason)
			mu.Unlock()
		}
		return err
	})
	return good
}

func racingWriters(e *env) {
	e.addPool("a")
	before := e.last()
	good := e.writesOf(200)
	e.same(100, len(good))
	e.dense(before, e.since(before), good)
}

// dense checks that records are numbered on from before, and each by one of the reasons.
func (e *env) dense(before uint64, got []broker.Record, reasons []string) {
	e.t.Helper()
	var seen []string
	for i, r := range got {
		if r.Seq != before+uint64(i)+1 {
			e.t.Fatalf("record %d comes as number %d", r.Seq, i)
		}
		seen = append(seen, r.By.Reason)
	}
	slices.Sort(seen)
	slices.Sort(reasons)
	e.same(reasons, seen)
}

func readBeside(e *env) {
	e.addPool("a")
	before := e.last()
	written := make(chan []string, 1)
	go func() { written <- e.writesOf(200) }()
	var seen []broker.Record
	var good []string
	for after := before; good == nil || len(seen) < len(good); {
		select {
		case good = <-written:
		default:
		}
		some, err := e.other.journal.Since(e.ctx, after, 3)
		e.ok(err)
		if len(some) > 0 {
			after = some[len(some)-1].Seq
			seen = append(seen, some...)
		}
	}
	e.dense(before, seen, good)
}

func befores(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "lamp")
	change := func(site string) []byte {
		got := e.records(site, func(by broker.By) error {
			_, err := e.devices.UpdateDevice(e.ctx, by, d.ID, func(d *broker.Device) error { d.Attributes = map[string]string{"site": site}; return nil })
			return err
		}, "device a:lamp update +")
		return got[0].Before
	}
	seen := map[string]bool{}
	for _, site := range []string{"north", "south", "west"} {
		seen[string(change(site))] = true
	}
	e.same(3, len(seen))
	o := broker.Operator{Name: "ada", Hash: bytes.Repeat([]byte{1}, 32), Expires: start().Add(time.Hour), Created: start(), Scope: broker.OperatorAdmin}
	e.ok(e.operators.CreateOperator(e.ctx, by(), o))
	one := e.records("same", e.rewrites(o), "operator :ada update +")
	two := e.records("same", e.rewrites(o), "operator :ada update +")
	e.same(one[0].Before, two[0].Before)
}

// rewrites writes o over itself.
func (e *env) rewrites(o broker.Operator) func(broker.By) error {
	return func(by broker.By) error {
		_, err := e.operators.UpdateOperator(e.ctx, by, o.Name, func(was *broker.Operator, _ []broker.Operator) error { *was = o; return nil })
		return err
	}
}

func deviceRecords(e *env) {
	e.addPool("a")
	d := e.device("a", "lamp")
	d.Status = broker.StatusPending
	e.records("new", func(by broker.By) error { return e.devices.CreateDevice(e.ctx, by, d) }, "device a:lamp create")
	for _, c := range []struct {
		what   broker.What
		change func(*broker.Device)
	}{
		{broker.WhatUpdate, func(d *broker.Device) { d.Groups = nil }},
		{broker.WhatApprove, func(d *broker.Device) { d.Status = broker.StatusActive }},
		{broker.WhatRevoke, func(d *broker.Device) { d.EndSessions(start()) }},
		{broker.WhatUpdate, func(d *broker.Device) { d.Groups = []string{"x"} }},
		{broker.WhatDisable, func(d *broker.Device) { d.Status = broker.StatusDisabled; d.EndSessions(start()) }},
		{broker.WhatQuarantine, func(d *broker.Device) { d.Status = broker.StatusQuarantined }},
		{broker.WhatEnable, func(d *broker.Device) { d.Status = broker.StatusActive }},
		{broker.WhatUpdate, func(d *broker.Device) { d.Status = broker.StatusPending }},
	} {
		e.records(string(c.what), func(by broker.By) error {
			_, err := e.devices.UpdateDevice(e.ctx, by, d.ID, func(d *broker.Device) error { c.change(d); return nil })
			return err
		}, "device a:lamp "+string(c.what)+" +")
	}
}

// historyOf gives a device's history as the other handle reads it, in pages of two.
func (e *env) historyOf(id ident.Device) (all []broker.Record) {
	e.t.Helper()
	for before := uint64(0); ; {
		some, err := e.other.journal.History(e.ctx, id, before, 2)
		e.ok(err)
		if len(some) == 0 {
			return all
		}
		all = append(all, some...)
		before = some[len(some)-1].Seq
	}
}

func history(e *env) {
	p := e.addPool("a")
	id := e.id("a", "lamp")
	_, err := e.journal.History(e.ctx, id, 0, 10)
	e.wants(broker.ErrNotFound, err)
	_, err = e.journal.History(e.ctx, e.id("none", "lamp"), 0, 10)
	e.wants(broker.ErrNotFound, err)
	e.addDevice("a", "lamp")
	e.addDevice("a", "lamp-2")
	e.setStatus(id, broker.StatusDisabled)
	e.setStatus(e.id("a", "lamp-2"), broker.StatusDisabled)
	e.setStatus(id, broker.StatusActive)
	e.ok(e.devices.DeleteDevice(e.ctx, by(), id))
	want := []string{"device a:lamp delete +", "device a:lamp enable +", "device a:lamp disable +", "device a:lamp create"}
	e.same(want, shorts(e.historyOf(id)))
	e.addDevice("a", "lamp")
	e.setStatus(id, broker.StatusDisabled)
	want = append([]string{"device a:lamp disable +", "device a:lamp create"}, want...)
	all := e.historyOf(id)
	e.same(want, shorts(all))
	for i, r := range all {
		prev := uint64(0)
		if i+1 < len(all) {
			prev = all[i+1].Seq
		}
		e.same(prev, r.Prev)
	}
	e.same([]string{"device a:lamp-2 disable +", "device a:lamp-2 create"}, shorts(e.historyOf(e.id("a", "lamp-2"))))
	e.ok(e.pools.DeletePool(e.ctx, by(), p))
	_, err = e.journal.History(e.ctx, id, 0, 10)
	e.wants(broker.ErrNotFound, err)
}

func sessionHistory(e *env) {
	e.addPool("a")
	d, other := e.addDevice("a", "lamp"), e.addDevice("a", "other")
	one, two := e.login(d), e.login(d)
	e.record(one)
	e.record(e.login(other))
	e.record(two)
	revoke := func(s *broker.Session, _ *broker.Device) error { s.Revoked = true; return nil }
	got := e.records("stolen", func(by broker.By) error {
		_, err := e.sessions.UpdateSession(e.ctx, by, one.Session.ID, revoke)
		return err
	}, "session a:lamp revoke +")
	if got[0].Session != one.Session.ID || got[0].Traffic() {
		e.t.Fatalf("ended session's record: %+v", got[0])
	}
	e.setStatus(d.ID, broker.StatusDisabled)
	all := e.historyOf(d.ID)
	e.same([]string{"device a:lamp disable +", "session a:lamp revoke +", "session a:lamp login", "session a:lamp login", "device a:lamp create"}, shorts(all))
	e.same([]ident.UUID{two.Session.ID, one.Session.ID}, []ident.UUID{all[2].Session, all[3].Session})
	e.same("because of stolen", all[1].By.Reason)
}

func connectionHistory(e *env) {
	p := e.addPool("a")
	d, other := e.addDevice("a", "lamp"), e.addDevice("a", "other")
	kick := func(h *handle, what broker.What, names ...string) {
		var all []broker.Event
		for _, name := range names {
			all = append(all, broker.Event{Kind: broker.RecordConnection, Pool: p, Subject: name, What: what, Count: 2})
		}
		e.ok(h.journal.Append(e.ctx, by(), all))
	}
	kick(&e.handle, broker.WhatKick, "lamp", "gone", "other")
	e.setStatus(d.ID, broker.StatusDisabled)
	kick(&e.other, broker.WhatTrace, "lamp")
	kick(&e.handle, broker.WhatKick, "lamp", "lamp")
	e.ok(e.journal.Append(e.ctx, by(), []broker.Event{{Pool: p, Subject: "lamp", What: "denied", Count: 1}})) // a refusal, which strangers can bring about
	kick(&e.handle, broker.WhatKick, "")                                                                      // a stranger's
	all := e.historyOf(d.ID)
	e.same([]string{"connection a:lamp kick", "connection a:lamp kick", "connection a:lamp trace", "device a:lamp disable +", "connection a:lamp kick", "device a:lamp create"}, shorts(all))
	if all[0].By != by() || all[0].Count != 2 || all[0].Prev != all[1].Seq {
		e.t.Fatalf("the record of a kick in the history: %+v", all[0])
	}
	e.same([]string{"connection a:other kick", "device a:other create"}, shorts(e.historyOf(other.ID)))
	for _, h := range []*handle{&e.handle, &e.other} {
		got, err := h.devices.Device(e.ctx, other.ID)
		e.ok(err)
		e.same(other, got)
	}
	e.ok(e.devices.DeleteDevice(e.ctx, by(), d.ID))
	kick(&e.other, broker.WhatKick, "lamp")
	e.addDevice("a", "lamp")
	all = e.historyOf(d.ID)
	e.same([]string{"device a:lamp create", "device a:lamp delete +"}, shorts(all[:2]))
	e.ok(e.pools.DeletePool(e.ctx, by(), p))
	kick(&e.handle, broker.WhatKick, "lamp")
}

func sessionRecords(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "lamp")
	l := e.login(d)
	e.record(l)
	want := l.Session
	for _, c := range []struct {
		what   string
		change func(*broker.Session)
		want   []string
	}{
		{"nothing", func(*broker.Session) {}, nil},
		{"refresh", func(s *broker.Session) { s.Generation, s.Handle, s.Requests = 1, []byte("h"), []byte("12345678") }, []string{"session a:lamp refresh +"}},
		{"the same", func(s *broker.Session) { s.Handle, s.Rotated = []byte("h"), s.Rotated.Add(0) }, nil},
		{"a request more", func(s *broker.Session) { s.Requests = []byte("8765432112345678") }, []string{"session a:lamp refresh +"}},
		{"client", func(s *broker.Session) { s.Client = "other" }, []string{"session a:lamp update +"}},
		{"revoke", func(s *broker.Session) { s.Revoked = true }, []string{"session a:lamp revoke +"}},
		{"revoke again", func(s *broker.Session) { s.Revoked = true }, nil},
	} {
		c.change(&want)
		e.records(c.what, func(by broker.By) error {
			got, err := e.sessions.UpdateSession(e.ctx, by, l.Session.ID, func(s *broker.Session, _ *broker.Device) error { c.change(s); return nil })
			e.same(want, got)
			return err
		}, c.want...)
		got, err := e.other.sessions.Session(e.ctx, l.Session.ID)
		e.ok(err)
		e.same(want, got)
	}
}

func ownEnd(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "lamp")
	one, two := e.login(d), e.login(d)
	e.record(one)
	e.record(two)
	for _, end := range []struct {
		by broker.By
		of broker.Login
	}{{own(d, "01"), one}, {by(), two}} {
		before := e.last()
		_, err := e.sessions.UpdateSession(e.ctx, end.by, end.of.Session.ID, func(s *broker.Session, _ *broker.Device) error { s.Revoked = true; return nil })
		e.ok(err)
		got := e.since(before)
		e.same([]string{"session a:lamp revoke +"}, shorts(got))
		if own := end.by.Actor.IsDevice(); got[0].Traffic() != own || (got[0].Prev == 0) != own {
			e.t.Fatalf("end by %s: %+v", end.by.Actor, got[0])
		}
	}
	all := e.historyOf(d.ID)
	e.same([]string{"session a:lamp revoke +", "session a:lamp revoke +", "session a:lamp login", "session a:lamp login", "device a:lamp create"}, shorts(all))
	e.same([]ident.UUID{two.Session.ID, one.Session.ID, two.Session.ID, one.Session.ID}, []ident.UUID{all[0].Session, all[1].Session, all[2].Session, all[3].Session})
}

func events(e *env) {
	p := e.addPool("a")
	good := broker.Event{Pool: p, Subject: "a:lamp", What: "denied", Count: 7}
	before := e.last()
	many := make([]broker.Event, broker.MaxEvents+1)
	for i := range many {
		many[i] = good
	}
	long := good
	long.Subject = strings.Repeat("x", broker.MaxSubject+1)
	for _, bad := range [][]broker.Event{
		nil, many, {good, {What: "denied"}}, {good, {What: "no such thing", Count: 1}}, {good, {Count: 1}}, {good, long},
		{good, {Kind: broker.RecordDevice, What: "create", Count: 1}},
	} {
		e.wants(broker.ErrInvalid, e.journal.Append(e.ctx, by(), bad))
	}
	e.same(before, e.last())
	who := broker.By{Actor: broker.ActorBroker}
	e.ok(e.journal.Append(e.ctx, who, []broker.Event{good, {What: "malformed", Count: 1}}))
	got := e.since(before)
	e.same([]string{"refusal a:a:lamp denied", "refusal : malformed"}, shorts(got))
	e.same([]uint32{7, 1}, []uint32{got[0].Count, got[1].Count})
	if got[0].By != who || !got[0].Traffic() {
		e.t.Fatalf("event's record: %+v", got[0])
	}
	e.ok(e.journal.Append(e.ctx, who, many[1:]))
	e.same(before+2+broker.MaxEvents, e.last())
	e.ok(e.journal.Append(e.ctx, by(), []broker.Event{{Kind: broker.RecordConnection, Pool: p, Subject: "lamp", What: broker.WhatKick, Count: 2}}))
	kicked := e.since(before + 2 + broker.MaxEvents)
	e.same([]string{"connection a:lamp kick"}, shorts(kicked))
	if kicked[0].By != by() || kicked[0].Traffic() || kicked[0].Device().Name.String() != "lamp" {
		e.t.Fatalf("the record of what an operator did with a connection: %+v", kicked[0])
	}
}

func awaited(e *env) {
	e.addPool("a")
	last := e.last()
	for _, h := range []*handle{&e.handle, &e.other} {
		e.ok(h.journal.Await(e.ctx, last-1))
		ctx, cancel := context.WithTimeout(e.ctx, 10*time.Millisecond)
		e.wants(context.DeadlineExceeded, h.journal.Await(ctx, last))
		cancel()
	}
	write := make(chan struct{})
	go func() {
		defer close(write)
		time.Sleep(10 * time.Millisecond) // most often they wait by then
		e.t.Logf("write: %v", e.devices.CreateDevice(e.ctx, by(), e.device("a", "lamp")))
	}()
	heard := e.together(2, func(_ int, h *handle) error {
		ctx, cancel := context.WithTimeout(e.ctx, time.Minute)
		defer cancel()
		return h.journal.Await(ctx, last)
	})
	<-write
	e.same(2, e.tally(heard, nil))
}

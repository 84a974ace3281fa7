package boltstore

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

func exact() cmp.Option { return cmp.AllowUnexported(ident.Pool{}, ident.Name{}, entry{}) }

// testEntries are records of every form, with and without what may be left out.
func testEntries(t testing.TB) []entry {
	t.Helper()
	id := identtest.Device(t, "demo:lamp-1")
	hash := sha256.Sum256([]byte("row"))
	device := broker.By{Actor: broker.DeviceActor(id), Request: "00112233445566778899aabbccddeeff"}
	ada := broker.By{Actor: "operator:ada", Request: "r-1", Reason: "stolen"}
	of := func(by broker.By, kind broker.RecordKind, what broker.What) entry {
		return entry{Record: broker.Record{By: by, Kind: kind, Pool: id.Pool, Subject: "lamp-1", What: what}}
	}
	login, refresh := of(device, broker.RecordSession, broker.WhatLogin), of(device, broker.RecordSession, broker.WhatRefresh)
	login.Session, login.subject = newUUID(), newUUID()
	refresh.Session, refresh.Before = newUUID(), hash[:]
	odd, revoke := login, refresh
	odd.By = ada
	revoke.What, revoke.By, revoke.Prev = broker.WhatRevoke, ada, 3
	update := of(ada, broker.RecordDevice, broker.WhatUpdate)
	update.Before, update.Prev = hash[:], 1<<40
	refused := entry{Record: broker.Record{By: broker.By{Actor: broker.ActorBroker}, Kind: broker.RecordRefusal, What: "denied", Count: 1<<32 - 1}}
	end := refresh
	end.Session, end.What = newUUID(), broker.WhatRevoke
	other := end // by another call
	other.By.Request = "ffeeddccbbaa99887766554433221100"
	all := []entry{login, refresh, odd, revoke, update, update, refused, login, end, end, other, refused, end}
	for i := range all {
		all[i].At, all[i].Seq = time.Unix(0, 1234567890123456789).UTC(), uint64(10+3*i)
	}
	return all
}

// rowsOf lays entries into rows.
func rowsOf(t testing.TB, all []entry) (rows []keyValue) {
	t.Helper()
	w := rowWriter{at: nanos(all[0].At), put: func(first uint64, row []byte) error {
		rows = append(rows, keyValue{key: seqKey(first), value: row})
		return nil
	}}
	for i := range all {
		if err := w.add(&all[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func entriesOf(row keyValue) (all []entry, err error) {
	r, err := readRow(row.key, row.value)
	if err != nil {
		return nil, err
	}
	for {
		more, err := r.more()
		if err != nil || !more {
			return all, err
		}
		e, err := r.entry()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
}

func TestJournalRows(t *testing.T) {
	want := testEntries(t)
	rows := rowsOf(t, want)
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	got, err := entriesOf(rows[0])
	if d := cmp.Diff(want, got, exact()); err != nil || d != "" {
		t.Fatal(err, d)
	}
	for n := range rows[0].value { // none of its beginnings is taken for more than it holds
		got, err := entriesOf(keyValue{key: rows[0].key, value: rows[0].value[:n]})
		if err == nil && len(got) >= len(want) || err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("row cut to %d bytes: %d entries, %v", n, len(got), err)
		}
	}
	// A login takes few bytes beside its session's row.
	one := rowsOf(t, want[:1])[0].value
	if n := len(one); n > rowHead+3+2*uuidBytes+2+len("demo")+len("lamp-1")+1+16 {
		t.Errorf("a login's row has %d bytes", n)
	}
	both := rowsOf(t, want[7:9])[0].value
	if n := len(both) - len(one); n > 3+uuidBytes+sha256.Size {
		t.Errorf("the end of the session before it, another %d", n)
	}
}

// A batch of any size goes into rows of bounded size.
func TestJournalRowsAreBounded(t *testing.T) {
	like := testEntries(t)[4]
	like.By.Reason = strings.Repeat("r", broker.MaxReason)
	var all []entry
	for i := range 2000 {
		e := like
		e.Seq, e.By.Request = uint64(i+1), fmt.Sprint(i)
		all = append(all, e)
	}
	n := 0
	for _, row := range rowsOf(t, all) {
		if len(row.value) > fullRow+1024 {
			t.Errorf("a row of %d bytes", len(row.value))
		}
		got, err := entriesOf(row)
		if err != nil || got[0].Seq != uint64(n+1) || !bytes.Equal(row.key, seqKey(got[0].Seq)) {
			t.Fatalf("row %x begins with %d after %d: %v", row.key, got[0].Seq, n, err)
		}
		n += len(got)
	}
	if n != len(all) {
		t.Errorf("%d entries of %d", n, len(all))
	}
}

// FuzzJournalRow: bytes that were not written by us are refused or, if they are a
// row, mean what is written again for them.
func FuzzJournalRow(f *testing.F) {
	all := testEntries(f)
	for i := range all {
		f.Add(rowsOf(f, all[i:i+1])[0].value)
	}
	whole := rowsOf(f, all)[0].value
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte{})
	f.Add(append(bytes.Clone(whole), 0))
	f.Fuzz(func(t *testing.T, row []byte) {
		got, err := entriesOf(keyValue{key: seqKey(10), value: row})
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if len(got) == 0 {
			return
		}
		var again []entry
		for _, r := range rowsOf(t, got) {
			some, err := entriesOf(r)
			if err != nil {
				t.Fatal(err)
			}
			again = append(again, some...)
		}
		if d := cmp.Diff(got, again, exact()); d != "" {
			t.Fatal(d)
		}
	})
}

// TestTrim: old traffic goes from the journal, all else stays, at its place; and
// nothing of the devices' sessions or histories is lost with it.
func TestTrim(t *testing.T) {
	var ahead atomic.Int64
	now := time.Now()
	elapsed := func() time.Duration { return time.Duration(ahead.Load()) }
	s, d := seeded(t, Options{Now: func() time.Time { return now.Add(elapsed()) }, Elapsed: elapsed, SweepEvery: -1, UnsafeNoSync: true})
	var kept []uint64
	write := func(rounds int) {
		t.Helper()
		for range rounds {
			l := testLogin(d)
			l.Session.Expires = now.Add(30 * 24 * time.Hour)
			_, login := s.RecordLogin(t.Context(), by(), l)
			_, refresh := s.UpdateSession(t.Context(), by(), l.Session.ID, func(x *broker.Session, _ *broker.Device) error { x.Generation++; return nil })
			_, update := s.UpdateDevice(t.Context(), by(), d.ID, func(*broker.Device) error { return nil })
			if err := errors.Join(login, refresh, update); err != nil {
				t.Fatal(err)
			}
			last, err := s.Last(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, last)
		}
	}
	sweep := func(at time.Duration) {
		t.Helper()
		ahead.Store(int64(at))
		if err := s.sweepNow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := sinceAll(t, s)
	write(broker.MaxKeptSessions - 1)
	sweep(broker.KeepTraffic) // not older than that yet
	if n := len(sinceAll(t, s)); n != len(before)+3*(broker.MaxKeptSessions-1) {
		t.Fatalf("%d records, want %d", n, len(before)+3*(broker.MaxKeptSessions-1))
	}
	ahead.Store(int64(broker.KeepTraffic + 2*time.Minute))
	write(1)
	sweep(2*broker.KeepTraffic + time.Minute)
	got := sinceAll(t, s)
	traffic := 0
	for _, r := range got {
		if r.Traffic() {
			traffic++
		}
	}
	if traffic != 2 || len(got) != len(before)+broker.MaxKeptSessions+2 {
		t.Errorf("%d records left, %d of traffic", len(got), traffic)
	}
	for _, seq := range kept {
		some, err := s.Since(t.Context(), seq-1, 1)
		if err != nil || len(some) != 1 || some[0].Seq != seq || some[0].What != broker.WhatUpdate {
			t.Fatalf("record %d: %+v, %v", seq, some, err)
		}
	}
	history, err := s.History(t.Context(), d.ID, 0, 1000)
	if err != nil || len(history) != 1+2*broker.MaxKeptSessions {
		t.Errorf("%d records of the device: %v", len(history), err)
	}
	sessions, err := s.ListSessions(t.Context(), d.ID)
	if err != nil || len(sessions) != broker.MaxKeptSessions {
		t.Errorf("%d sessions: %v", len(sessions), err)
	}
}

// TestTrimAfterAClockAhead: what was written while the clock was years ahead is as old as
// what follows it, however much it is; and keeps nothing behind it from going.
func TestTrimAfterAClockAhead(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	var ahead atomic.Int64
	now := time.Now()
	elapsed := func() time.Duration { return time.Duration(ahead.Load()) }
	s, d := seeded(t, Options{Now: func() time.Time { return now.Add(elapsed()) }, Elapsed: elapsed, SweepEvery: -1, UnsafeNoSync: true})
	write := func(at time.Duration, n int) {
		t.Helper()
		ahead.Store(int64(at))
		for range n {
			if _, err := s.RecordLogin(t.Context(), by(), testLogin(d)); err != nil {
				t.Fatal(err)
			}
		}
	}
	traffic := func(at time.Duration) (n int) {
		t.Helper()
		ahead.Store(int64(at))
		if err := s.sweepNow(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, r := range sinceAll(t, s) {
			if r.Traffic() {
				n++
			}
		}
		return n
	}
	write(0, 2)
	write(years, 3*trimRows)
	write(time.Minute, 2)
	if n := traffic(broker.KeepTraffic - time.Minute); n != 3*trimRows+4 {
		t.Errorf("%d records of traffic are left before the time", n)
	}
	write(broker.KeepTraffic, 1)
	if n := traffic(broker.KeepTraffic + 2*time.Minute); n != 1 {
		t.Errorf("%d records of traffic are left, want the young one", n)
	}
}

// TestTrimOwnEnds: sessions that a device logs in and ends for itself, as often as it
// likes, leave nothing in the journal for good, and no hole in the device's history.
func TestTrimOwnEnds(t *testing.T) {
	var ahead atomic.Int64
	now := time.Now()
	elapsed := func() time.Duration { return time.Duration(ahead.Load()) }
	s, d := seeded(t, Options{Now: func() time.Time { return now.Add(elapsed()) }, Elapsed: elapsed, SweepEvery: -1, UnsafeNoSync: true})
	own := broker.By{Actor: broker.DeviceActor(d.ID), Request: "00"}
	end := func(x *broker.Session, _ *broker.Device) error { x.Revoked = true; return nil }
	for i, by := range []broker.By{own, own, by(), own} {
		l := testLogin(d)
		l.Session.Expires = now.Add(30 * 24 * time.Hour)
		_, login := s.RecordLogin(t.Context(), own, l)
		_, revoke := s.UpdateSession(t.Context(), by, l.Session.ID, end)
		if err := errors.Join(login, revoke); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	history := func(want ...broker.What) {
		t.Helper()
		all, err := s.History(t.Context(), d.ID, 0, 1000)
		var got []broker.What
		for _, r := range all {
			got = append(got, r.What)
		}
		if err != nil || !slices.Equal(want, got) {
			t.Errorf("history %v: %v, want %v", got, err, want)
		}
	}
	history("revoke", "login", "revoke", "login", "revoke", "login", "revoke", "login", "create")
	n := len(sinceAll(t, s))
	ahead.Store(int64(broker.KeepTraffic + time.Minute))
	if err := s.sweepNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := len(sinceAll(t, s)); left != n-4-3 {
		t.Errorf("%d of %d records left, want all but the logins and the device's own ends", left, n)
	}
	history("login", "revoke", "login", "login", "login", "create")
}

func sinceAll(t *testing.T, s *Store) (all []broker.Record) {
	t.Helper()
	for after := uint64(0); ; {
		some, err := s.Since(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			return all
		}
		all, after = append(all, some...), some[len(some)-1].Seq
	}
}

// A change that writes and records nothing is a fault of this package: it is not made.
func TestNoWriteWithoutRecord(t *testing.T) {
	s, d := seeded(t, Options{SweepEvery: -1})
	secret := func(c *change) error { return c.put(c.tx.Bucket([]byte(bucketSecrets)), []byte("x"), []byte("y")) }
	if err := s.update(t.Context(), by(), "test", secret); !errors.Is(err, errNoRecord) {
		t.Errorf("write without a record: %v", err)
	}
	both := func(c *change) error { c.recordRow(broker.RecordSecret, d.ID.Pool, "x", nil, nil); return secret(c) }
	if err := s.tidy(t.Context(), "test", both); !errors.Is(err, errNoRecord) {
		t.Errorf("housekeeping that records: %v", err)
	}
	err := s.view(t.Context(), "test", func(tx *bolt.Tx) error {
		if tx.Bucket([]byte(bucketSecrets)).Get([]byte("x")) != nil {
			t.Error("it was written")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Another handle hears of settings by the journal alone, and of its own at once.
func TestHandles(t *testing.T) {
	s, pool, c, _ := settingsStore(t)
	h, err := s.Handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	life := func(s *Store) time.Duration {
		t.Helper()
		got, err := s.Client(t.Context(), pool, c.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got.AccessLife
	}
	was := life(h)
	if life(s) != was {
		t.Fatal("handles differ")
	}
	c.AccessLife += time.Minute
	if err := save(t, s, broker.ClientKind(), c); err != nil {
		t.Fatal(err)
	}
	if life(s) != c.AccessLife {
		t.Error("a handle does not read its own write")
	}
	for deadline := time.Now().Add(time.Minute); life(h) != c.AccessLife; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other handle never heard of the write")
		}
	}
	c.AccessLife += time.Minute
	if err := save(t, h, broker.ClientKind(), c); err != nil {
		t.Fatal(err)
	}
	if life(h) != c.AccessLife {
		t.Error("the other handle does not read its own write")
	}
	for deadline := time.Now().Add(time.Minute); life(s) != c.AccessLife; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the first handle never heard of the write")
		}
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Client(t.Context(), pool, c.ID); !errors.Is(err, ErrClosed) {
		t.Errorf("closed handle: %v", err)
	}
	if err := save(t, h, broker.ClientKind(), c); !errors.Is(err, ErrClosed) {
		t.Errorf("write through a closed handle: %v", err)
	}
	if _, err := s.Client(t.Context(), pool, c.ID); err != nil {
		t.Errorf("the other one: %v", err)
	}
}

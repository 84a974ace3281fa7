package boltstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// TestOlderSessionsAreFound: a login ends the one before it wherever that one's entry in the index is:
// in the same commit, in the journal, in a run, or in the file that was opened again.
func TestOlderSessionsAreFound(t *testing.T) {
	s, d := seeded(t, Options{SweepEvery: -1, UnsafeNoSync: true})
	var before ident.UUID
	begin := func(what string) {
		t.Helper()
		l := testLogin(d)
		l.MaxSessions = 1
		if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
			t.Fatal(err)
		}
		if !before.IsZero() {
			if x, err := s.Session(t.Context(), before); err != nil || !x.Revoked {
				t.Errorf("%s: the session before goes on: %v", what, err)
			}
		}
		before = l.Session.ID
	}
	begin("first")
	begin("in the journal")
	if err := s.foldAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(s.stats.tail.of); n != 0 {
		t.Errorf("%d devices are still remembered of what was folded", n)
	}
	begin("in a run")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, s.path, Options{SweepEvery: -1, UnsafeNoSync: true})
	begin("in the journal of a file that was opened")
	each(t, 64, 16, func(int) error {
		l := testLogin(d)
		l.MaxSessions = 1
		_, err := s.RecordLogin(t.Context(), by(), l)
		return err
	})
	all, err := s.ListSessions(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	live := 0
	for _, x := range all {
		if !x.Revoked {
			live++
		}
	}
	if live != 1 {
		t.Errorf("%d of %d sessions live, want the newest alone", live, len(all))
	}
}

// TestIndexFolds: lists stay true through folds and reopening, in whatever order ids come.
func TestIndexFolds(t *testing.T) {
	s, one := seeded(t, Options{SweepEvery: -1, UnsafeNoSync: true})
	two := addDevice(t, s, "two")
	want := map[ident.Device][]string{}
	for i := range 60 {
		for _, d := range []broker.Device{one, two} {
			l := testLogin(d)
			l.Session.ID[0] ^= byte(i % 3) // arrival isn't the ids' order
			if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
				t.Fatal(err)
			}
			want[d.ID] = append(want[d.ID], l.Session.ID.String())
		}
		if i%13 == 12 {
			if err := s.foldAll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(s *Store) {
		t.Helper()
		for id, ids := range want {
			slices.Sort(ids)
			slices.Reverse(ids)
			all, err := s.ListSessions(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, x := range all {
				got = append(got, x.ID.String())
			}
			if !slices.Equal(ids, got) {
				t.Errorf("%s: %d sessions listed, %d recorded", id, len(got), len(ids))
			}
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := openStore(t, s.path, Options{SweepEvery: -1})
	check(again)
	if n := again.stats.tail.logins.Load(); n == 0 || n >= 120 {
		t.Errorf("%d entries in the tail after reopening", n)
	}
}

// TestTrafficIsFolded: however much the journal takes beside few logins, or none, what a
// lookup and the next start read of it stays bounded.
func TestTrafficIsFolded(t *testing.T) {
	s, d := seeded(t, Options{SweepEvery: -1, UnsafeNoSync: true})
	l := testLogin(d)
	if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
		t.Fatal(err)
	}
	for round := range 2 { // the second has no login
		var left atomic.Int64
		left.Store(foldRecords)
		var wg sync.WaitGroup
		for range 256 {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					_, err := s.UpdateSession(t.Context(), by(), l.Session.ID, func(x *broker.Session, _ *broker.Device) error { x.Generation++; return nil })
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		behind := func() (n uint64) {
			if err := s.view(t.Context(), "test", func(tx *bolt.Tx) error {
				n = tx.Bucket([]byte(bucketJournal)).Sequence() - marked(tx, keyFolded)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		for deadline := time.Now().Add(time.Minute); behind() >= foldRecords; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("round %d: a lookup reads %d records of the journal", round, behind())
			}
		}
		if all, err := s.ListSessions(t.Context(), d.ID); err != nil || len(all) != 1 || countRows(t, s, bucketRuns) != 1 {
			t.Errorf("round %d: %d sessions in %d runs: %v", round, len(all), countRows(t, s, bucketRuns), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := openStore(t, s.path, Options{SweepEvery: -1}).stats.tail.records.Load(); n >= foldRecords {
		t.Errorf("%d records were read at the start", n)
	}
}

func TestSweep(t *testing.T) {
	var ahead atomic.Int64
	now := time.Now()
	elapsed := func() time.Duration { return time.Duration(ahead.Load()) }
	clock := func() time.Time { return now.Add(elapsed()) }
	s, d := seeded(t, Options{Now: clock, Elapsed: elapsed, SweepEvery: -1, UnsafeNoSync: true})
	old, kept := testLogin(d), testLogin(d)
	for _, l := range []broker.Login{old, kept} {
		if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Try(t.Context(), by(), triesOf(l.Session.ID), broker.TryMark{1}, now); err != nil {
			t.Fatal(err)
		}
	}
	// A refresh makes the second live on.
	_, err := s.UpdateSession(t.Context(), by(), kept.Session.ID, func(x *broker.Session, _ *broker.Device) error {
		x.Expires = now.Add(30 * 24 * time.Hour)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sweep := func(after time.Duration) {
		ahead.Store(int64(after))
		for range 2 { // a piece that ends with the bucket begins anew
			if err := s.sweepNow(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	sweep(14 * time.Minute) // while an exchange may be answered
	if n := countRows(t, s, bucketTries); n != 2 {
		t.Errorf("%d tries left of two", n)
	}
	sweep(16 * time.Minute) // tries go, sessions stay: the exchange must not be usable again
	if n := countRows(t, s, bucketTries); n != 0 {
		t.Errorf("%d tries left", n)
	}
	if _, err := s.RecordLogin(t.Context(), by(), old); !errors.Is(err, broker.ErrUsed) {
		t.Errorf("recorded again: %v", err)
	}
	sweep(47 * time.Hour) // an access token of its last moment may still be shown
	if _, err := s.Session(t.Context(), old.Session.ID); err != nil {
		t.Errorf("session with a live token: %v", err)
	}
	sweep(50 * time.Hour)
	if _, err := s.Session(t.Context(), old.Session.ID); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("expired session: %v", err)
	}
	if _, err := s.Session(t.Context(), kept.Session.ID); err != nil {
		t.Errorf("refreshed session: %v", err)
	}
	all, err := s.ListSessions(t.Context(), d.ID)
	if err != nil || len(all) != 1 {
		t.Errorf("%d sessions listed: %v", len(all), err)
	}
}

// TestStrangersTriesLeaveNothing: a thousand exchanges in which nobody proved anything write no
// record, few bytes, and those are used again a quarter of an hour later.
func TestStrangersTriesLeaveNothing(t *testing.T) {
	var ahead atomic.Int64
	now := time.Now()
	elapsed := func() time.Duration { return time.Duration(ahead.Load()) }
	s, d := seeded(t, Options{Now: func() time.Time { return now.Add(elapsed()) }, Elapsed: elapsed, SweepEvery: -1, UnsafeNoSync: true})
	const n, row = 1000, 256 // bytes of pages for a row of one try
	journal := bucketBytes(t, s, bucketJournal)
	records := len(sinceAll(t, s))
	before := bucketBytes(t, s, bucketTries)
	for range n {
		of, mark := broker.TryOf{Device: d.ID, What: "hook:door", Exchange: newUUID()}, broker.TryMark(newUUID())
		if _, err := s.Try(t.Context(), by(), of, mark, now); err != nil {
			t.Fatal(err)
		}
	}
	if got := bucketBytes(t, s, bucketJournal) - journal; got != 0 {
		t.Errorf("the journal has %d bytes and %d records more", got, len(sinceAll(t, s))-records)
	}
	got := bucketBytes(t, s, bucketTries) - before
	t.Logf("a try takes %d bytes", got/n)
	if got > n*row {
		t.Errorf("tries take %d bytes", got)
	}
	ahead.Store(int64(16 * time.Minute))
	if err := s.sweepNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := countRows(t, s, bucketTries); n != 0 {
		t.Errorf("%d tries left", n)
	}
}

// TestNothingIsForgottenByAWrongClock: an hour in which the clock is ten years ahead or
// behind costs no session, no spent exchange, no count of guesses and no record, be the
// store opened anew meanwhile or not. A clock that stays there is believed a day later.
func TestNothingIsForgottenByAWrongClock(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	var off, passed atomic.Int64
	now := time.Now()
	elapsed := func() time.Duration { return time.Duration(passed.Load()) }
	opts := Options{Now: func() time.Time { return now.Add(elapsed() + time.Duration(off.Load())) }, Elapsed: elapsed, SweepEvery: -1, UnsafeNoSync: true}
	s, d := seeded(t, opts)
	sweep := func(minutes int) {
		t.Helper()
		for range minutes {
			passed.Add(int64(time.Minute))
			if err := s.sweepNow(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	sweep(1)
	l := testLogin(d)
	if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Try(t.Context(), by(), broker.TryOf{Device: d.ID, What: "totp"}, broker.TryMark{1}, now); err != nil {
		t.Fatal(err)
	}
	if err := s.tidy(t.Context(), "test", func(c *change) error {
		return c.put(c.tx.Bucket([]byte(bucketSpent)), []byte("an exchange of which no session is left"), untilRow(now.Add(2*time.Hour)))
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.foldAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	journal := sinceAll(t, s)
	all := func(when string) {
		t.Helper()
		if diff := cmp.Diff(journal, sinceAll(t, s), exact()); diff != "" {
			t.Errorf("%s: the journal: %s", when, diff)
		}
		for _, bucket := range []string{bucketSessions, bucketSpent, bucketTries} {
			if n := countRows(t, s, bucket); n != 1 {
				t.Errorf("%s: %d rows in %s", when, n, bucket)
			}
		}
	}
	for name, jump := range map[string]time.Duration{"ahead": years, "behind": -years} {
		off.Store(int64(jump))
		sweep(10)
		if got := s.Figures().ClockDoubt; (got - jump).Abs() > 2*time.Minute {
			t.Errorf("%s: the store doubts %v", name, got)
		}
		all(name)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, s.path, opts)
		sweep(10)
		all(name + ", after a restart")
		off.Store(0)
		sweep(1)
		all(name + ", and right again")
		if got := s.Figures().ClockDoubt; got != 0 {
			t.Errorf("%s, and right again: the store doubts %v", name, got)
		}
	}
	off.Store(int64(years))
	sweep(25 * 60)
	for _, bucket := range []string{bucketSessions, bucketSpent, bucketTries} {
		if n := countRows(t, s, bucket); n != 0 {
			t.Errorf("ahead for good: %d rows in %s", n, bucket)
		}
	}
}

func TestCleanRuns(t *testing.T) {
	s, d := seeded(t, Options{SweepEvery: -1, UnsafeNoSync: true})
	var ids []ident.UUID
	for range 40 {
		l := testLogin(d)
		if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, l.Session.ID)
	}
	if err := s.foldAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	clean := func(gone []ident.UUID) {
		err := s.tidy(t.Context(), "test", func(c *change) error {
			for _, id := range gone {
				if err := c.delete(c.tx.Bucket([]byte(bucketSessions)), id[:]); err != nil {
					return err
				}
			}
			*c.known = known{} // it was told of none of that
			_, err := cleanRun(c, nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	clean(ids[:30])
	all, err := s.ListSessions(t.Context(), d.ID)
	if err != nil || len(all) != 10 || countRows(t, s, bucketRuns) != 1 {
		t.Errorf("%d sessions left in %d runs: %v", len(all), countRows(t, s, bucketRuns), err)
	}
	clean(ids[30:])
	if n := countRows(t, s, bucketRuns); n != 0 {
		t.Errorf("%d runs left", n)
	}
}

func countRows(t *testing.T, s *Store, bucket string) int {
	t.Helper()
	n := 0
	err := s.view(t.Context(), "count", func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(bucket)).ForEach(func(_, _ []byte) error { n++; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestUnreadableIsRefused: what the CBOR rules could not read again is not written.
func TestUnreadableIsRefused(t *testing.T) {
	s, d := seeded(t, Options{})
	_, err := s.UpdateDevice(t.Context(), by(), d.ID, func(d *broker.Device) error {
		for i := range 300 {
			d.Groups = append(d.Groups, fmt.Sprint(i))
		}
		return nil
	})
	if !errors.Is(err, broker.ErrInvalid) {
		t.Errorf("300 groups: %v", err)
	}
	l := testLogin(d)
	l.Session.Client = "\xff"
	if _, err := s.RecordLogin(t.Context(), by(), l); !errors.Is(err, broker.ErrInvalid) {
		t.Errorf("text that is not UTF-8: %v", err)
	}
}

func TestTimes(t *testing.T) {
	for _, want := range []time.Time{{}, time.Unix(0, 1).UTC(), time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got := fromNanos(nanos(want)); !got.Equal(want) || got.IsZero() != want.IsZero() {
			t.Errorf("%v came back as %v", want, got)
		}
	}
	if got := fromNanos(nanos(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))); got.Year() != 2262 {
		t.Errorf("year 9999 came back as %v", got)
	}
}

// TestALoginReadsFewRows: of a device's many sessions a login looks for none, wherever the index has them, once it
// has found them; and what is dropped, purged, ended by others or forgotten is not mistaken.
func TestALoginReadsFewRows(t *testing.T) {
	s, d := seeded(t, Options{SweepEvery: -1, UnsafeNoSync: true})
	begin := func() ident.UUID {
		t.Helper()
		l := testLogin(d)
		l.MaxSessions = 1
		if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
			t.Fatal(err)
		}
		return l.Session.ID
	}
	looks := func(what string, want bool, sessions int) {
		t.Helper()
		err := s.tidy(t.Context(), "look", func(c *change) error {
			_, known := c.known.of[d.Subject]
			rows, err := c.sessionRows(d.Subject)
			if known == want || len(rows) != sessions {
				t.Errorf("%s: %d sessions, known before: %v; want %d, %v", what, len(rows), known, sessions, !want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		checkKnown(t, s)
	}
	for i := range 2*broker.MaxKeptSessions + 20 {
		if begin(); i%70 == 69 {
			if err := s.foldAll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	looks("after many logins", false, broker.MaxKeptSessions)
	if err := s.tidy(t.Context(), "forget", func(c *change) error { *c.known = known{}; return nil }); err != nil { // as a start does
		t.Fatal(err)
	}
	looks("after a start", true, broker.MaxKeptSessions)
	looks("found once", false, broker.MaxKeptSessions)
	last := begin()
	if _, err := s.UpdateSession(t.Context(), by(), last, func(x *broker.Session, _ *broker.Device) error { x.Revoked = true; return nil }); err != nil {
		t.Fatal(err)
	}
	looks("ended by another", true, broker.MaxKeptSessions)
	begin()
	looks("logged in after that", false, broker.MaxKeptSessions)
	if _, err := s.UpdateSession(t.Context(), by(), last, func(x *broker.Session, _ *broker.Device) error { x.Revoked = false; return nil }); !errors.Is(err, broker.ErrInvalid) {
		t.Errorf("an ended session goes on: %v", err)
	}
	if _, err := s.sweepBucket(t.Context(), bucketSessions, time.Now().Add(1000*time.Hour).Unix()); err != nil {
		t.Fatal(err)
	}
	looks("purged", true, 0)
	begin()
	looks("logged in again", false, 1)
}

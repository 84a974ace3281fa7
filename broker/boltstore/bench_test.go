package boltstore

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

const callers = 256

// spread runs f n times from 256 goroutines and says how long it took.
func spread(b *testing.B, n int, f func(i int) error) time.Duration {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}

// BenchmarkRecordLogin measures 256 callers against a bare bbolt writer that
// commits rows of the same size in arrival order for as many callers, in turns.
// "x-bare" is the share of the bare rate that is reached: 1 is the floor itself.
func BenchmarkRecordLogin(b *testing.B) {
	s, d := seeded(b, Options{})
	sample := testLogin(d).Session
	row, err := encodeSession(&sample)
	if err != nil {
		b.Fatal(err)
	}
	bare := newBareWriter(b, len(row))
	var ours, theirs time.Duration
	b.ResetTimer()
	for left := b.N; left > 0; {
		n := min(left, 20_000)
		left -= n
		ours += spread(b, n, func(int) error { _, err := s.RecordLogin(b.Context(), by(), testLogin(d)); return err })
		theirs += spread(b, n, bare.put)
	}
	b.StopTimer()
	st := s.Figures()
	b.ReportMetric(float64(theirs)/float64(ours), "x-bare")
	b.ReportMetric(float64(b.N)/ours.Seconds(), "logins/s")
	b.ReportMetric(float64(b.N)/theirs.Seconds(), "bare-rows/s")
	b.ReportMetric(float64(st.Changes)/float64(st.Commits), "logins/commit")
}

// bareWriter is the floor: bbolt, one goroutine that takes whatever waits.
type bareWriter struct {
	queue chan bareRow
	size  int
	last  atomic.Uint64
}

type bareRow struct {
	key  [16]byte
	done chan error
}

func newBareWriter(b *testing.B, size int) *bareWriter {
	b.Helper()
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, InitialMmapSize: mapAhead})
	if err != nil {
		b.Fatal(err)
	}
	w := &bareWriter{queue: make(chan bareRow, callers), size: size}
	var wg sync.WaitGroup
	wg.Go(func() {
		value := make([]byte, size)
		for first := range w.queue {
			batch := []bareRow{first}
			for n := len(w.queue); n > 0; n-- {
				batch = append(batch, <-w.queue)
			}
			err := db.Update(func(tx *bolt.Tx) error {
				bk, err := tx.CreateBucketIfNotExists([]byte("rows"))
				if err != nil {
					return err
				}
				bk.FillPercent = appendFill
				for i := range batch {
					if err := bk.Put(batch[i].key[:], value); err != nil {
						return err
					}
				}
				return nil
			})
			for _, r := range batch {
				r.done <- err
			}
		}
	})
	b.Cleanup(func() {
		close(w.queue)
		wg.Wait()
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return w
}

func (w *bareWriter) put(int) error {
	r := bareRow{done: make(chan error, 1)}
	binary.BigEndian.PutUint64(r.key[:], w.last.Add(1))
	w.queue <- r
	return <-r.done
}

// BenchmarkOpen measures opening a file of SIGNET_BENCH_SESSIONS sessions (300,000
// if unset) beside opening an empty one: "x-empty" says that size doesn't matter.
func BenchmarkOpen(b *testing.B) {
	n := 300_000
	if v := os.Getenv("SIGNET_BENCH_SESSIONS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			b.Fatal(err)
		}
	}
	small, _ := seeded(b, Options{SweepEvery: -1})
	large, d := seeded(b, Options{SweepEvery: -1, UnsafeNoSync: true})
	spread(b, n, func(int) error { _, err := large.RecordLogin(b.Context(), by(), testLogin(d)); return err })
	for _, s := range []*Store{small, large} {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	info, err := os.Stat(large.path)
	if err != nil {
		b.Fatal(err)
	}
	var times [2]time.Duration
	b.ResetTimer()
	for range b.N {
		for i, s := range []*Store{small, large} {
			begin := time.Now()
			again, err := Open(b.Context(), s.path, Options{SweepEvery: -1})
			if err != nil {
				b.Fatal(err)
			}
			times[i] += time.Since(begin)
			if err := again.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(times[1])/float64(times[0]), "x-empty")
	b.ReportMetric(float64(times[1].Microseconds())/float64(b.N), "us/open")
	b.ReportMetric(float64(info.Size())/float64(n), "B/session")
}

// BenchmarkDevice reads random ones of 100,000 devices.
func BenchmarkDevice(b *testing.B) {
	s, first := seeded(b, Options{SweepEvery: -1, UnsafeNoSync: true})
	ids := make([]ident.Device, 100_000)
	spread(b, len(ids), func(i int) error {
		id, err := ident.ParseDevice(fmt.Sprintf("%s:d-%06d", childPool, i))
		if err != nil {
			return err
		}
		key := make([]byte, 60)
		if _, err := rand.Read(key); err != nil {
			return err
		}
		ids[i-1] = id
		return s.CreateDevice(b.Context(), by(), broker.Device{ID: id, Subject: newUUID(), Status: first.Status,
			Authenticators: []broker.Authenticator{testKey(string(key))}, Created: time.Now(), Updated: time.Now()})
	})
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 7; pb.Next(); i += 7919 {
			if _, err := s.Device(b.Context(), ids[i%len(ids)]); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// bulkDevices gives n new devices, numbered on from a number, in the order of their names.
func bulkDevices(b *testing.B, from, n int) []broker.Device {
	all := make([]broker.Device, n)
	for i := range all {
		id := identtest.Device(b, fmt.Sprintf("%s:d-%08d", childPool, from+i))
		all[i] = broker.Device{ID: id, Subject: newUUID(), Status: broker.StatusActive, Attributes: map[string]string{"site": "north"}, Groups: []string{"pumps"},
			Authenticators: []broker.Authenticator{testKey(fmt.Sprintf("the public key of the device that has the number %08d, 77 bytes long ...", from+i))}}
	}
	return all
}

// BenchmarkDevices measures what operators do with devices, unsynced, each against a floor
// in the same round: bare bbolt, unsynced, that puts the same rows of the same sizes in the
// same order, a device's and, when it is new, its key's; it writes no journal, checks nothing
// and reads nothing. "x-floor" is how many times the floor's time it takes;
// each figure is the median over the rounds.
//
//	bulk, single     the same number of new devices: one call, or 256 callers with one each.
//	                 Floor: all in one transaction
//	update1          one caller, each update a commit. Floor: a transaction for each row
//	update256        256 callers. Floor: all in one transaction
//	settings         reading what every authentication reads while those 256 update, beside
//	                 reading it while nothing is written: "settings-x-quiet"; and how often
//	                 one such lookup went to the file
func BenchmarkDevices(b *testing.B) {
	const many, few = 4096, 256
	s, look, reads := settingsBeside(b)
	bare := openBare(b)
	warm := bulkDevices(b, 99_000_000, many) // who is first makes the file grow
	if err := errors.Join(append(s.CreateDevices(b.Context(), by(), warm), bare.put(warm, many, true))...); err != nil {
		b.Fatal(err)
	}
	figures := map[string][]float64{} // of each round, by unit
	note := func(unit string, of, by time.Duration) {
		figures[unit] = append(figures[unit], float64(of)/float64(by))
	}
	for round := 0; b.Loop(); round++ {
		first, second := bulkDevices(b, 2*round*many, many), bulkDevices(b, (2*round+1)*many, many)
		floor := timed(b, func() error { return bare.put(first, many, true) })
		bulk := timed(b, func() error { return errors.Join(s.CreateDevices(b.Context(), by(), first)...) })
		note("bulk-x-floor", bulk, floor)
		floor = timed(b, func() error { return bare.put(second, many, true) })
		single := spread(b, many, func(i int) error { return s.CreateDevice(b.Context(), by(), second[i-1]) })
		note("single-x-floor", single, floor)
		note("single-x-bulk", single, bulk)
		note("bulk-devices/s", many*time.Second, bulk)
		note("single-devices/s", many*time.Second, single)

		update := func(i int) error {
			_, err := s.UpdateDevice(b.Context(), by(), first[i*1543%many].ID, func(d *broker.Device) error { d.Groups = []string{strconv.Itoa(round)}; return nil })
			return err
		}
		some := make([]broker.Device, many) // in the order in which they are updated
		for i := range some {
			some[i] = first[(i+1)*1543%many]
		}
		floor = timed(b, func() error { return bare.put(some[:few], 1, false) })
		one := timed(b, func() error {
			for i := range few {
				if err := update(i + 1); err != nil {
					return err
				}
			}
			return nil
		})
		note("update1-x-floor", one, floor)
		note("us/update1", one, few*time.Microsecond)
		floor = timed(b, func() error { return bare.put(some, many, false) })
		all := spread(b, many, update)
		note("update256-x-floor", all, floor)
		note("us/update256", all, many*time.Microsecond)

		quiet, _ := medianOf(b, look, func() {})
		before := reads()
		beside, n := medianOf(b, look, func() { spread(b, many, update) })
		note("settings-x-quiet", beside, quiet)
		figures["file-reads/lookup"] = append(figures["file-reads/lookup"], float64(reads()-before)/float64(n))
	}
	for unit, all := range figures {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], unit)
	}
	b.ReportMetric(0, "ns/op")
}

// settingsBeside gives a store with a client and a flow, a look-up of these and their
// pool, and how often such went to the file.
func settingsBeside(b *testing.B) (s *Store, look func() error, reads func() int) {
	b.Helper()
	s, d := seeded(b, Options{SweepEvery: -1, UnsafeNoSync: true})
	pool := d.ID.Pool
	c := broker.NewClient(pool, broker.DefaultClient)
	f := broker.Flow{Pool: pool, Name: broker.DefaultFlow, Steps: []string{challenge.Key}}
	if err := errors.Join(save(b, s, broker.ClientKind(), c), save(b, s, broker.FlowKind(), f)); err != nil {
		b.Fatal(err)
	}
	count := &counting{rows: rows{s}}
	s.Catalog = broker.NewCatalog(count)
	look = func() error {
		_, errP := s.Pool(b.Context(), pool)
		_, errC := s.Client(b.Context(), pool, c.ID)
		_, errF := s.Flow(b.Context(), pool, f.Name)
		return errors.Join(errP, errC, errF)
	}
	return s, look, func() int { return count.reads }
}

func timed(b *testing.B, f func() error) time.Duration {
	b.Helper()
	begin := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

// medianOf gives the median time of look, again and again while beside runs, 1,000 times
// at the least, and how often that was: others that want the processor do not show in it.
func medianOf(b *testing.B, look func() error, beside func()) (time.Duration, int) {
	b.Helper()
	var all []time.Duration
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for len(all) < 1000 || !done.Load() {
			begin := time.Now()
			if err := look(); err != nil {
				b.Error(err)
				return
			}
			all = append(all, time.Since(begin))
		}
	})
	beside()
	done.Store(true)
	wg.Wait()
	slices.Sort(all)
	if len(all) == 0 {
		b.FailNow() // look failed
	}
	return all[len(all)/2], len(all)
}

// A bareFile is bbolt alone, with the two buckets that a device has rows in.
type bareFile struct{ db *bolt.DB }

func openBare(b *testing.B) bareFile {
	b.Helper()
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, InitialMmapSize: mapAhead, NoSync: true, NoStatistics: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return bareFile{db}
}

// put writes the devices, so many in one transaction; fresh: with their keys.
func (f bareFile) put(all []broker.Device, each int, fresh bool) error {
	row, err := encodeDevice(&all[0])
	if err != nil {
		return err
	}
	for part := range slices.Chunk(all, each) {
		err := f.db.Update(func(tx *bolt.Tx) error {
			devices, errD := tx.CreateBucketIfNotExists([]byte("devices"))
			keys, errK := tx.CreateBucketIfNotExists([]byte("keys"))
			if err := errors.Join(errD, errK); err != nil {
				return err
			}
			for i := range part {
				name := []byte(part[i].ID.Name.String())
				if err := devices.Put(name, slices.Clone(row)); err != nil {
					return err
				}
				if !fresh {
					continue
				}
				if err := keys.Put(part[i].Authenticators[0].ID[:], name); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkGrowth is what a fleet takes of the store, in bytes of pages in use: for a
// device that is registered, for each login that ends the session before, and for each
// refresh, with the journal's records of them. Devices come in no order, as in a fleet.
func BenchmarkGrowth(b *testing.B) {
	const fleet, logins, refreshes = 20_000, 3, 3
	s, _ := seeded(b, Options{SweepEvery: -1, UnsafeNoSync: true})
	devices := bulkDevices(b, 0, fleet)
	used := func() (n int) {
		if err := s.db.View(func(tx *bolt.Tx) error {
			stats := s.db.Stats()
			n = int(tx.Size()) - (stats.FreePageN+stats.PendingPageN)*s.db.Info().PageSize
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		return n
	}
	sessions := make([]ident.UUID, fleet)
	own := func(i int) broker.By {
		call := newUUID()
		return broker.By{Actor: broker.DeviceActor(devices[i].ID), Request: hex.EncodeToString(call[:])}
	}
	rounds := func(n int, each func(int) error) {
		for range n {
			order := mathrand.Perm(fleet)
			spread(b, fleet, func(i int) error { return each(order[i-1]) })
		}
	}
	for range b.N {
		empty := used()
		for from := 0; from < fleet; from += 4000 {
			if err := errors.Join(s.CreateDevices(b.Context(), by(), devices[from:from+4000])...); err != nil {
				b.Fatal(err)
			}
		}
		created := used()
		login := func(i int) error {
			l := testLogin(devices[i])
			l.MaxSessions, l.Session.Expires, sessions[i] = 1, time.Now().Add(broker.DefaultRefreshLife), l.Session.ID
			_, err := s.RecordLogin(b.Context(), own(i), l)
			return err
		}
		rounds(1, login) // what is first: nothing ends with it
		first := used()
		rounds(logins, login)
		later := used()
		rounds(refreshes, func(i int) error {
			_, err := s.UpdateSession(b.Context(), own(i), sessions[i], func(x *broker.Session, _ *broker.Device) error {
				x.Generation++
				x.Previous, x.Handle, x.Rotated = x.Handle, fmt.Appendf(make([]byte, 0, 32), "%032d", x.Generation), time.Now()
				x.Requests = append([]byte("8 bytes!"), x.Requests...)
				return nil
			})
			return err
		})
		b.ReportMetric(float64(created-empty)/fleet, "B/device")
		b.ReportMetric(float64(first-created)/fleet, "B/first-login")
		b.ReportMetric(float64(later-first)/fleet/logins, "B/login")
		b.ReportMetric(float64(used()-later)/fleet/refreshes, "B/refresh")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkCountSessions counts those of a client that has none in a store of many sessions.
func BenchmarkCountSessions(b *testing.B) {
	const sessions = 200_000
	s, _ := seeded(b, Options{SweepEvery: -1, UnsafeNoSync: true})
	d := addDevice(b, s, "lamp")
	for done := 0; done < sessions; {
		err := s.db.Update(func(tx *bolt.Tx) error {
			for range 10_000 {
				x := testLogin(d).Session
				row, err := encodeSession(&x)
				if err != nil {
					return err
				}
				if err := tx.Bucket([]byte(bucketSessions)).Put(x.ID[:], row); err != nil {
					return err
				}
				done++
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if n, err := s.CountSessions(b.Context(), d.ID.Pool, "nobody", time.Now()); err != nil || n.Sessions != 0 {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/session")
}

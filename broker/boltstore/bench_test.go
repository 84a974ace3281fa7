package boltstore

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
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
	st := s.Stats()
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

// BenchmarkCreateDevice measures 256 callers that register one device each, unsynced.
func BenchmarkCreateDevice(b *testing.B) {
	s, _ := seeded(b, Options{SweepEvery: -1, UnsafeNoSync: true})
	all := bulkDevices(b, 0, b.N)
	b.ResetTimer()
	took := spread(b, b.N, func(i int) error { return s.CreateDevice(b.Context(), by(), all[i-1]) })
	b.ReportMetric(float64(b.N)/took.Seconds(), "devices/s")
}

// BenchmarkCreateDevices measures one caller that registers 10,000 at a time, unsynced.
func BenchmarkCreateDevices(b *testing.B) {
	s, _ := seeded(b, Options{SweepEvery: -1, UnsafeNoSync: true})
	var took time.Duration
	for from := 0; from < b.N; from += 10_000 {
		part := bulkDevices(b, from, min(b.N-from, 10_000))
		begin := time.Now()
		if err := errors.Join(s.CreateDevices(b.Context(), by(), part)...); err != nil {
			b.Fatal(err)
		}
		took += time.Since(begin)
	}
	b.ReportMetric(float64(b.N)/took.Seconds(), "devices/s")
}

// BenchmarkUpdateDevices measures 256 callers that update 10,000 devices, unsynced: what
// an update keeps the writer busy for.
func BenchmarkUpdateDevices(b *testing.B) {
	s, _ := seeded(b, Options{SweepEvery: -1, UnsafeNoSync: true})
	all := bulkDevices(b, 0, 10_000)
	spread(b, len(all), func(i int) error { return s.CreateDevice(b.Context(), by(), all[i-1]) })
	b.ResetTimer()
	took := spread(b, b.N, func(i int) error {
		_, err := s.UpdateDevice(b.Context(), by(), all[i*7919%len(all)].ID, func(d *broker.Device) error { d.Groups = []string{"x"}; return nil })
		return err
	})
	b.ReportMetric(float64(b.N)/took.Seconds(), "updates/s")
}

// BenchmarkUpdateDevice measures one caller, unsynced: each update has a commit of its own.
func BenchmarkUpdateDevice(b *testing.B) {
	s, _ := seeded(b, Options{SweepEvery: -1, UnsafeNoSync: true})
	all := bulkDevices(b, 0, 1)
	if err := s.CreateDevice(b.Context(), by(), all[0]); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.UpdateDevice(b.Context(), by(), all[0].ID, func(d *broker.Device) error { d.Groups = []string{"x"}; return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

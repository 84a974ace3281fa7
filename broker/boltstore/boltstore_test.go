package boltstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() broker.Store {
		return handles(t, openStore(t, filepath.Join(t.TempDir(), "store"), Options{}))
	})
}

// handles gives handles on s, the first of which is s itself.
func handles(t *testing.T, s *Store) func() broker.Store {
	first := true
	return func() broker.Store {
		t.Helper()
		if first {
			first = false
			return s
		}
		h, err := s.Handle(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		return h
	}
}

// openStore opens a store for the test, and closes it at its end.
func openStore(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		checkNewest(t, s)
		checkKnown(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// checkNewest holds what a store remembers of the newest record to the file.
func checkNewest(t testing.TB, s *Store) {
	t.Helper()
	var said [4]uint64
	for range 10 { // it may be at work on its own account
		last, sum, ok := s.newestHere(context.Background())
		if !ok {
			return
		}
		err := s.view(context.Background(), "check", func(tx *bolt.Tx) error {
			n := tx.Bucket([]byte(bucketJournal)).Sequence()
			said = [4]uint64{last, sum, n, sumOf(tx, n)}
			return nil
		})
		if err != nil || said[0] == said[2] && said[1] == said[3] {
			return
		}
	}
	t.Errorf("record %d, which comes to %x, is remembered as the newest; in the file it is %d, %x", said[0], said[1], said[2], said[3])
}

// checkKnown holds what a store's writer remembers of devices' sessions to the file, if the
// store still takes anything.
func checkKnown(t testing.TB, s *Store) {
	t.Helper()
	_ = s.tidy(context.Background(), "check", func(c *change) error {
		room := 0
		for subject, rows := range c.known.of {
			stored, err := c.findSessions(subject)
			if err != nil || !slices.Equal(rows, stored) {
				t.Errorf("of the device with subject %s these sessions are remembered: %v; in the file they are %v, %v", subject, rows, stored, err)
			}
			room += deviceRoom + len(rows)
		}
		if room != c.known.room || room > maxKnown {
			t.Errorf("sessions that take %d of %d are remembered, and counted as %d", room, maxKnown, c.known.room)
		}
		return nil
	})
}

// TestModel: a store does what maps would, whatever is done to it, and also after
// it was opened again.
func TestModel(t *testing.T) {
	seeds := []uint64{rand.Uint64() >> 1} // and some that stay
	fixed := uint64(19)
	if testing.Short() {
		fixed = 3
	}
	for seed := range fixed {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			storetest.Model(t, seed, 500, func(t *testing.T) func() broker.Store {
				return handles(t, openStore(t, path, Options{SweepEvery: -1, UnsafeNoSync: true}))
			})
		})
	}
}

func by() broker.By { return broker.By{Actor: broker.ActorLocal} }

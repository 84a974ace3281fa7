package boltstore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// TestLoginsAreCheap: 256 logins that wait together write less than a fifth of what
// it costs to rewrite 256 devices' records, in a store of some size.
func TestLoginsAreCheap(t *testing.T) {
	faults := &planned{}
	s, first := seeded(t, Options{SweepEvery: -1, UnsafeNoSync: true, Faults: faults})
	devices := manyDevices(t, s, first, 20_000)
	some := func() broker.Device { return devices[rand.IntN(len(devices))] }
	together(t, s, faults, 4, func() error { _, err := s.RecordLogin(t.Context(), by(), testLogin(some())); return err })
	const rounds = 8
	logins := together(t, s, faults, rounds, func() error { _, err := s.RecordLogin(t.Context(), by(), testLogin(some())); return err })
	rewrites := together(t, s, faults, rounds, func() error {
		_, err := s.UpdateDevice(t.Context(), by(), some().ID, func(d *broker.Device) error { d.Updated = time.Now(); return nil })
		return err
	})
	t.Logf("%d bytes a login, %d a rewritten device", logins/(rounds*callers), rewrites/(rounds*callers))
	if logins*5 > rewrites {
		t.Errorf("%d bytes for logins, %d for as many rewritten devices", logins, rewrites)
	}
}

// manyDevices fills the store.
func manyDevices(t *testing.T, s *Store, like broker.Device, n int) []broker.Device {
	t.Helper()
	all := make([]broker.Device, n)
	var wg sync.WaitGroup
	for part := range 64 {
		wg.Go(func() {
			for i := part; i < n; i += 64 {
				id, err := ident.ParseDevice(fmt.Sprintf("%s:d-%06d", childPool, i))
				if err != nil {
					t.Error(err)
					return
				}
				d := like
				d.ID, d.Subject = id, newUUID()
				d.Authenticators = []broker.Authenticator{testKey(fmt.Sprintf("the key of the device with the number %06d", i))}
				if err := s.CreateDevice(t.Context(), by(), d); err != nil {
					t.Error(err)
					return
				}
				all[i] = d
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// together has 256 callers wait for one commit, some rounds, and gives the bytes
// that this process wrote meanwhile.
func together(t *testing.T, s *Store, faults *planned, rounds int, do func() error) int {
	t.Helper()
	before, commits := written(t), s.Figures().Commits
	for range rounds {
		hold := make(chan struct{})
		faults.set(nil, hold)
		var wg sync.WaitGroup
		call := func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		}
		wg.Go(call)
		for faults.holding() {
			time.Sleep(time.Millisecond)
		}
		for range callers - 1 {
			wg.Go(call)
		}
		for len(s.queue) < callers-1 {
			time.Sleep(time.Millisecond)
		}
		close(hold)
		wg.Wait()
	}
	if n := s.Figures().Commits - commits; n > int64(3*rounds) {
		t.Errorf("%d commits for %d times %d callers that waited together", n, rounds, callers)
	}
	return written(t) - before
}

// written is how many bytes this process has handed to write calls (proc(5)).
func written(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	_, rest, _ := strings.Cut(string(raw), "wchar:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFreelistIsInTheFile: opening reads the list of free pages. Without it, bbolt
// looks at every page, and a large file opens slowly.
func TestFreelistIsInTheFile(t *testing.T) {
	s, d := seeded(t, Options{SweepEvery: -1})
	for range 2 { // each of the two heads is written once
		if _, err := s.RecordLogin(t.Context(), by(), testLogin(d)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw := read(t, s.path)
	for head := range 2 {
		// A page's header has 16 bytes; then magic, version, page size and flags of 4
		// bytes each, the root bucket of 16, the free list's page of 8.
		at := head*os.Getpagesize() + 48
		if page := binary.NativeEndian.Uint64(raw[at:]); page < 2 || page > uint64(len(raw)/os.Getpagesize()) {
			t.Errorf("head %d: the free list is said to be in page %d", head, page)
		}
	}
}

package boltstore

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
)

// The figures that docs/signetd.md gives for one record in the journal's pages, and for
// one session, in bytes.
const (
	growthAlone    = 130 // a record that has a commit to itself
	growthTogether = 100 // one of hundreds in a commit
	growthSession  = 600
)

// TestGrowth: what a login and a refresh take of the file is what the documents say.
func TestGrowth(t *testing.T) {
	const n = 4096
	for name, c := range map[string]struct{ writers, most int }{"alone": {1, growthAlone}, "together": {256, growthTogether}} {
		t.Run(name, func(t *testing.T) {
			s, _ := seeded(t, Options{SweepEvery: -1, UnsafeNoSync: true})
			logins := make([]broker.Login, n)
			var devices []broker.Device // with fewer sessions each than are kept
			for i := range n / 64 {
				devices = append(devices, addDevice(t, s, fmt.Sprintf("d-%d", i)))
			}
			own := func(i int) broker.By {
				return broker.By{Actor: broker.DeviceActor(devices[i%len(devices)].ID), Request: "00112233445566778899aabbccddeeff"}
			}
			for i := range logins {
				logins[i] = testLogin(devices[i%len(devices)])
				if before := i - len(devices); before >= 0 {
					logins[i].Session.Last = logins[before].Session.ID
				}
			}
			before := bucketBytes(t, s, bucketJournal)
			each(t, n, c.writers, func(i int) error {
				_, err := s.RecordLogin(t.Context(), own(i), logins[i])
				return err
			})
			one := bucketBytes(t, s, bucketJournal) - before
			each(t, n, c.writers, func(i int) error {
				_, err := s.UpdateSession(t.Context(), own(i), logins[i].Session.ID, func(x *broker.Session, _ *broker.Device) error { x.Generation++; return nil })
				return err
			})
			both, sessions := bucketBytes(t, s, bucketJournal)-before, bucketBytes(t, s, bucketSessions)
			t.Logf("a login takes %d bytes, a refresh %d; a session's row %d", one/n, (both-one)/n, sessions/n)
			if one/n > c.most || (both-one)/n > c.most || sessions/n > growthSession {
				t.Errorf("more than %d, %d and %d, as documented", c.most, c.most, growthSession)
			}
		})
	}
}

// each calls do for 0 to n-1, by so many at once.
func each(t *testing.T, n, writers int, do func(int) error) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// bucketBytes is what a bucket's pages take.
func bucketBytes(t *testing.T, s *Store, bucket string) (n int) {
	t.Helper()
	err := s.view(t.Context(), "measure", func(tx *bolt.Tx) error {
		st := tx.Bucket([]byte(bucket)).Stats()
		n = st.LeafAlloc + st.BranchAlloc
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

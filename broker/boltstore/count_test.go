package boltstore

import (
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
)

// TestCountGivesUp: a count that has looked at as many sessions as a request may wait for says that
// there may be more, whatever it has found.
func TestCountGivesUp(t *testing.T) {
	s, d := seeded(t, Options{})
	for range 5 {
		if _, err := s.RecordLogin(t.Context(), by(), testLogin(d)); err != nil {
			t.Fatal(err)
		}
	}
	for most, want := range map[int]broker.SessionCount{
		0: {More: true}, 3: {Sessions: 3, Devices: 1, More: true}, 5: {Sessions: 5, Devices: 1}, 6: {Sessions: 5, Devices: 1},
	} {
		err := s.view(t.Context(), "count", func(tx *bolt.Tx) error {
			n, err := countSessions(t.Context(), tx, d.ID.Pool, broker.DefaultClient, time.Now(), most)
			if n != want {
				t.Errorf("of %d looked at: %+v, want %+v", most, n, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

package boltstore

import (
	"path/filepath"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) broker.Store { return openStore(t, filepath.Join(t.TempDir(), "store"), Options{}) })
}

// openStore opens a store for the test, and closes it at its end.
func openStore(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

package boltstore

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
)

// TestLookJudgesAsOpen: Look gives what a store that was opened gives, refuses what Open
// refuses with the same error, and changes nothing.
func TestLookJudgesAsOpen(t *testing.T) {
	sound := filepath.Join(t.TempDir(), "store")
	seedCrash(t, sound)
	whole, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	meta := func(put func(*bolt.Tx) error) func(string) error {
		return func(path string) error {
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				return err
			}
			return errors.Join(db.Update(put), db.Close())
		}
	}
	write := func(b []byte) func(string) error {
		return func(path string) error { return os.WriteFile(path, b, 0o600) }
	}
	for name, make := range map[string]func(string) error{
		"missing":   func(string) error { return nil },
		"empty":     write(nil),
		"sound":     write(whole),
		"random":    write(bytes.Repeat([]byte("random"), 20_000)),
		"cut short": write(whole[:len(whole)/2]),
		"another program's": meta(func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte("theirs"))
			return err
		}),
		"newer": func(path string) error {
			return errors.Join(write(whole)(path), meta(func(tx *bolt.Tx) error {
				return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyFormat), []byte("1000"))
			})(path))
		},
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"later": func(path string) error {
			err := write(whole)(path)
			s := openStore(t, path, Options{})
			return errors.Join(err, s.RaiseEpoch(t.Context(), broker.By{Actor: broker.ActorLocal}, 12), s.Close())
		},
	} {
		path := filepath.Join(t.TempDir(), "store")
		if err := make(path); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before, beforeErr := os.ReadFile(path)
		g, err := Look(t.Context(), path)
		after, afterErr := os.ReadFile(path)
		if !bytes.Equal(before, after) || errors.Is(beforeErr, fs.ErrNotExist) != errors.Is(afterErr, fs.ErrNotExist) {
			t.Errorf("%s: Look changed it", name)
		}
		s, openErr := Open(t.Context(), path, Options{})
		if openErr != nil {
			if err == nil || err.Error() != openErr.Error() {
				t.Errorf("%s: Look says %v, Open %v", name, err, openErr)
			}
			continue
		}
		epoch, _ := s.Epoch(t.Context())
		last, _ := s.Last(t.Context())
		if err != nil || g.epoch != epoch || g.last != last || name == "later" && epoch != 12 || strings.Contains("sound later", name) && last == 0 {
			t.Errorf("%s: Look gives %+v, %v, want epoch %d and record %d", name, g, err, epoch, last)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

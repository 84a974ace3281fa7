package backup_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/backup"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/protocol/strictjson"
)

// in does something with the store of a data folder.
func in(t *testing.T, cfg *config.Config, do func(*boltstore.Store)) {
	t.Helper()
	if _, err := cfg.OpenKey(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(cfg.Data, config.CAFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := boltstore.Open(t.Context(), cfg.StorePath(), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	do(s)
}

func write(t *testing.T, s *boltstore.Store, name string) {
	t.Helper()
	_, err := s.SecretOnce(t.Context(), broker.By{Actor: broker.ActorLocal}, name, func() ([]byte, error) { return []byte(name), nil })
	if err != nil {
		t.Fatal(err)
	}
}

func epochOf(t *testing.T, cfg *config.Config) (epoch uint64) {
	t.Helper()
	in(t, cfg, func(s *boltstore.Store) {
		var err error
		if epoch, err = s.Epoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := backup.CheckMark(t.Context(), cfg, s); err != nil {
			t.Errorf("a store that was put back is refused: %v", err)
		}
	})
	return epoch
}

// TestOlderStoreIsTold: an older copy of the store in the newer folder is told from the
// folder's own, until it is accepted; then its epoch is above all before.
func TestOlderStoreIsTold(t *testing.T) {
	cfg := config.Default()
	cfg.Data = t.TempDir()
	in(t, &cfg, func(s *boltstore.Store) {
		write(t, s, "one")
		if err := backup.CheckMark(t.Context(), &cfg, s); err != nil {
			t.Errorf("without a mark: %v", err)
		}
		if err := backup.WriteMark(t.Context(), &cfg, s); err != nil {
			t.Fatal(err)
		}
	})
	old, err := os.ReadFile(cfg.StorePath())
	if err != nil {
		t.Fatal(err)
	}
	in(t, &cfg, func(s *boltstore.Store) {
		write(t, s, "two")
		if err := backup.CheckMark(t.Context(), &cfg, s); err != nil {
			t.Errorf("a store that went on: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		backup.KeepMark(ctx, &cfg, s, slog.New(slog.DiscardHandler)) // nothing: it has ended
		if err := backup.WriteMark(t.Context(), &cfg, s); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.WriteFile(cfg.StorePath(), old, 0o600); err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(cfg.Data, backup.MarkFile)
	right, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	for _, lower := range []string{`,"Record":1}`, `,"EPOCH":0,"Record":0}`} {
		edited := strings.Replace(string(right), "}", lower, 1)
		if err := os.WriteFile(mark, []byte(edited), 0o600); err != nil {
			t.Fatal(err)
		}
		in(t, &cfg, func(s *boltstore.Store) {
			if err := backup.CheckMark(t.Context(), &cfg, s); !errors.Is(err, strictjson.ErrMalformed) {
				t.Errorf("a mark that says two things, %s: %v", edited, err)
			}
		})
	}
	if err := os.WriteFile(mark, right, 0o600); err != nil {
		t.Fatal(err)
	}
	in(t, &cfg, func(s *boltstore.Store) {
		err := backup.CheckMark(t.Context(), &cfg, s)
		older, ok := errors.AsType[*backup.OlderError](err)
		if !ok || older.Has.Record >= older.Know.Record || !strings.Contains(err.Error(), "older copy") {
			t.Errorf("an older copy: %v", err)
		}
	})
	began := uint64(time.Now().Unix())
	first, err := backup.Accept(t.Context(), cfg, 0)
	if err != nil || first < began || epochOf(t, &cfg) != first {
		t.Fatalf("accepted with epoch %d, %v", first, err)
	}
	if err := os.WriteFile(cfg.StorePath(), old, 0o600); err != nil { // the same copy again
		t.Fatal(err)
	}
	in(t, &cfg, func(s *boltstore.Store) {
		if err := backup.CheckMark(t.Context(), &cfg, s); err == nil || !strings.Contains(err.Error(), "epoch 0") {
			t.Errorf("an older copy of an earlier epoch: %v", err)
		}
	})
	second, err := backup.Accept(t.Context(), cfg, 0)
	if err != nil || second <= first || epochOf(t, &cfg) != second {
		t.Fatalf("accepted with epoch %d after %d, %v", second, first, err)
	}
	if third, err := backup.Accept(t.Context(), cfg, second+1000); err != nil || third != second+1001 || epochOf(t, &cfg) != third {
		t.Errorf("accepted with epoch %d, %v, want the one after %d", third, err, second+1000)
	}
	if _, err := backup.Accept(t.Context(), cfg, broker.MaxEpoch); !errors.Is(err, broker.ErrInvalid) {
		t.Errorf("after the last epoch: %v", err)
	}
}

// TestRestoreBeginsAnEpoch: each restore of a backup is of a later epoch than the one
// before, also of the same backup, which knows of none.
func TestRestoreBeginsAnEpoch(t *testing.T) {
	cfg := config.Default()
	cfg.Data = t.TempDir()
	in(t, &cfg, func(s *boltstore.Store) { write(t, s, "one") })
	path := filepath.Join(t.TempDir(), "b.tar")
	if _, err := backup.Write(t.Context(), cfg, path); err != nil {
		t.Fatal(err)
	}
	began, last := uint64(time.Now().Unix()), uint64(0)
	for range 2 {
		to := cfg
		to.Data = filepath.Join(t.TempDir(), "restored")
		if err := backup.Restore(t.Context(), to, path, last); err != nil {
			t.Fatal(err)
		}
		epoch := epochOf(t, &to)
		if epoch < began || epoch <= last {
			t.Errorf("restored with epoch %d after %d, begun at %d", epoch, last, began)
		}
		last = epoch
	}
}

// TestDamagedMarkIsNone: a mark that is none is told by its own error, and accepting the
// store writes a sound one. One that cannot be read for another reason is not overwritten.
func TestDamagedMarkIsNone(t *testing.T) {
	cfg := config.Default()
	cfg.Data = t.TempDir()
	in(t, &cfg, func(s *boltstore.Store) { write(t, s, "one") })
	mark := filepath.Join(cfg.Data, backup.MarkFile)
	for _, text := range []string{"", "\x00\x00\x00", `{"epoch":1`, `{"epoch":-1,"record":2}`} {
		if err := os.WriteFile(mark, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		in(t, &cfg, func(s *boltstore.Store) {
			err := backup.CheckMark(t.Context(), &cfg, s)
			damaged, ok := errors.AsType[*backup.DamagedMarkError](err)
			if !ok || damaged.Path != mark || !strings.Contains(err.Error(), mark) {
				t.Errorf("mark %q: %v", text, err)
			}
		})
		epoch, err := backup.Accept(t.Context(), cfg, 0)
		if err != nil || epochOf(t, &cfg) != epoch {
			t.Errorf("mark %q: accepted with epoch %d, %v", text, epoch, err)
		}
	}
	if err := errors.Join(os.Remove(mark), os.Mkdir(mark, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Accept(t.Context(), cfg, 0); err == nil {
		t.Error("a folder in the mark's place was accepted")
	}
}

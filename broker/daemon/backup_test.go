package daemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/daemon"
)

// operatorsOf lists the names of who has access by a data folder.
func operatorsOf(t *testing.T, cfg config.Config) string {
	t.Helper()
	all, err := daemon.Operators(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range all {
		if o.Token != "" {
			t.Error("a list shows a token")
		}
		names = append(names, o.Name)
	}
	return strings.Join(names, ",")
}

func TestOperatorsOnTheMachine(t *testing.T) {
	for name, deep := range map[string]string{"": "", ", far down": strings.Repeat("a-long-name/", 12)} {
		s := newSite(t)
		s.cfg.Data = filepath.Join(s.cfg.Data, deep)
		if err := os.MkdirAll(s.cfg.Data, 0o700); err != nil {
			t.Fatal(err)
		}
		use := func(t *testing.T) string {
			life := adminapi.Duration(time.Hour)
			made, err := daemon.CreateOperator(t.Context(), s.cfg, adminapi.NewOperator{Name: "ada", Expires: &life})
			if err != nil || !strings.HasPrefix(made.Token, "sgnt_") || made.Expires.Sub(made.Created) != time.Hour {
				t.Fatalf("got %+v, %v", made, err)
			}
			if _, err := daemon.CreateOperator(t.Context(), s.cfg, adminapi.NewOperator{Name: "ada"}); err == nil || !strings.Contains(err.Error(), "operator ada: already exists") {
				t.Errorf("twice: got %v", err)
			}
			if got := operatorsOf(t, s.cfg); got != "ada" {
				t.Errorf("got %s", got)
			}
			return made.Token
		}
		t.Run("running"+name, func(t *testing.T) {
			d, stop := s.serve(t)
			ready(t, d)
			secret := use(t)
			if o, err := d.Control.Authenticate(t.Context(), secret); err != nil || o.Name != "ada" {
				t.Errorf("got %v, %v", o.Name, err)
			}
			if info, err := os.Stat(filepath.Join(s.cfg.Data, "control.sock")); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("control socket: %v, %v", info, err)
			}
			if err := daemon.DeleteOperator(t.Context(), s.cfg, "ada"); err != nil {
				t.Error(err)
			}
			if err := daemon.DeleteOperator(t.Context(), s.cfg, "ada"); err == nil || !strings.Contains(err.Error(), "not found") {
				t.Errorf("deleted twice: got %v", err)
			}
			if log := s.log.String(); !strings.Contains(log, "operator made on this machine") || !strings.Contains(log, "operator deleted on this machine") || strings.Contains(log, secret) {
				t.Errorf("log: %s", log)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(s.cfg.Data, "control.sock")); err == nil {
				t.Error("the control socket stays")
			}
		})
		t.Run("not running"+name, func(t *testing.T) {
			use(t)
			if err := daemon.DeleteOperator(t.Context(), s.cfg, "../store"); err == nil {
				t.Error("a path was taken for a name")
			}
			if err := daemon.DeleteOperator(t.Context(), s.cfg, "ada"); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := daemon.Operators(t.Context(), config.Config{Data: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "--data") {
		t.Errorf("no store: got %v", err)
	}
}

func TestBackupAndRestore(t *testing.T) {
	s, out := newSite(t), t.TempDir()
	d, stop := s.serve(t)
	ready(t, d)
	if _, _, err := d.Control.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, "ada", time.Hour); err != nil {
		t.Fatal(err)
	}
	running, stopped := filepath.Join(out, "running.tar"), filepath.Join(out, "stopped.tar")
	if _, err := daemon.Backup(t.Context(), s.cfg, running); err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.Backup(t.Context(), s.cfg, running); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("over a file: got %v", err)
	}
	if _, _, err := d.Control.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, "bob", time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.Backup(t.Context(), s.cfg, stopped); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 2 {
		t.Errorf("more than two backups: %v, %v", entries, err)
	}
	empty := t.TempDir()
	for dir, c := range map[string]struct{ from, operators string }{
		empty: {running, "ada"}, filepath.Join(t.TempDir(), "new", "folder"): {stopped, "ada,bob"},
	} {
		cfg := s.cfg
		cfg.Data = dir
		if err := daemon.Restore(t.Context(), cfg, c.from); err != nil {
			t.Fatal(err)
		}
		if got := operatorsOf(t, cfg); got != c.operators {
			t.Errorf("%s: got %s", c.from, got)
		}
		if raw, err := os.ReadFile(filepath.Join(dir, config.CAFolder, "root.pem")); err != nil || string(raw) != "a root" {
			t.Errorf("got %q, %v", raw, err)
		}
		if err := daemon.Restore(t.Context(), cfg, c.from); !errors.Is(err, daemon.ErrNotEmpty) {
			t.Errorf("over a data folder: got %v", err)
		}
	}
	if _, err := daemon.Backup(t.Context(), config.Config{Data: t.TempDir()}, filepath.Join(out, "x")); err == nil || !strings.Contains(err.Error(), "no store") {
		t.Errorf("of nothing: got %v", err)
	}
}

// TestDamagedBackups: one byte changed or the end missing, and nothing is restored.
func TestDamagedBackups(t *testing.T) {
	s, out := newSite(t), t.TempDir()
	d, err := daemon.OpenDirectory(t.Context(), s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	sound := filepath.Join(out, "sound.tar")
	if _, err := daemon.Backup(t.Context(), s.cfg, sound); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, backup []byte) {
		t.Helper()
		path := filepath.Join(out, "damaged.tar")
		if err := os.WriteFile(path, backup, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := s.cfg
		cfg.Data = filepath.Join(out, "restored")
		if err := daemon.Restore(t.Context(), cfg, path); !errors.Is(err, daemon.ErrBackup) {
			t.Errorf("%s: got %v", what, err)
		}
		if _, err := os.Stat(cfg.Data); err == nil {
			t.Errorf("%s: a data folder is there", what)
			os.RemoveAll(cfg.Data)
		}
	}
	for _, at := range []int{0, 600, 4096, 20000} {
		changed := append([]byte{}, raw...)
		changed[at] ^= 1
		refused("changed", changed)
	}
	if i := strings.Index(string(raw), "a root"); i < 0 {
		t.Error("no root in the backup")
	} else {
		changed := append([]byte{}, raw...)
		changed[i] ^= 1
		refused("changed root", changed)
	}
	for _, size := range []int{0, 1, 511, 512, 5000, strings.Index(string(raw), "a root") + 512} {
		refused("cut", raw[:size])
	}
	refused("no tar", []byte(strings.Repeat("hello ", 1000)))
}

func TestBackupWithoutItsKey(t *testing.T) {
	s := newSite(t)
	s.cfg.KeyFile = filepath.Join(t.TempDir(), "kek")
	d, err := daemon.OpenDirectory(t.Context(), s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "b.tar")
	b, err := daemon.Backup(t.Context(), s.cfg, path)
	if err != nil || b.KeyFile != s.cfg.KeyFile {
		t.Fatalf("got %+v, %v", b, err)
	}
	cfg := s.cfg
	cfg.Data, cfg.KeyFile = filepath.Join(t.TempDir(), "restored"), ""
	if err := daemon.Restore(t.Context(), cfg, path); !errors.Is(err, config.ErrKeyMissing) {
		t.Errorf("without the key: got %v", err)
	}
	cfg.KeyFile = s.cfg.KeyFile
	if err := daemon.Restore(t.Context(), cfg, path); err != nil {
		t.Error(err)
	}
}

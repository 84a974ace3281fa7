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
	"github.com/signetd/signet/broker/backup"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/localapi"
)

// operatorsOf lists the names of who has access by a data folder.
func operatorsOf(t *testing.T, s *site) string {
	t.Helper()
	if _, err := s.hold(t); err != nil {
		t.Fatal(err)
	}
	defer s.store.Close()
	all, err := s.store.ListOperators(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range all {
		names = append(names, o.Name)
	}
	return strings.Join(names, ",")
}

// TestOperatorsOnTheMachine: the broker's own user speaks the operators' API without
// a token, by the socket in the data folder, wherever that is.
func TestOperatorsOnTheMachine(t *testing.T) {
	for name, deep := range map[string]string{"near": "", "far down": strings.Repeat("a-long-name/", 12)} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.cfg.Data = filepath.Join(s.cfg.Data, deep)
			if err := os.MkdirAll(s.cfg.Data, 0o700); err != nil {
				t.Fatal(err)
			}
			d, stop := s.serve(t)
			ready(t, d)
			c := localapi.Client(s.cfg.Data)
			life := adminapi.Duration(time.Hour)
			made, err := c.CreateOperator(t.Context(), adminapi.NewOperator{Name: "ada", Expires: &life, Scope: "read"})
			if err != nil || !strings.HasPrefix(made.Token, "sgnt_") || made.Expires.Sub(made.Created) != time.Hour {
				t.Fatalf("got %+v, %v", made, err)
			}
			if o, err := d.Control.Authenticate(t.Context(), made.Token); err != nil || o.Name != "ada" {
				t.Errorf("got %v, %v", o.Name, err)
			}
			if _, err := c.CreateOperator(t.Context(), adminapi.NewOperator{Name: "ada", Scope: "read"}); err == nil || !strings.Contains(err.Error(), "operator ada: already exists") {
				t.Errorf("twice: got %v", err)
			}
			all, err := c.Operators(t.Context())
			if err != nil || len(all) != 1 || all[0].Name != "ada" || all[0].Token != "" {
				t.Errorf("got %+v, %v", all, err)
			}
			if info, err := os.Stat(filepath.Join(s.cfg.Data, localapi.Socket)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("control socket: %v, %v", info, err)
			}
			if err := c.DeleteOperator(t.Context(), "ada", true); err != nil {
				t.Error(err)
			}
			if err := c.DeleteOperator(t.Context(), "ada", true); err == nil || !strings.Contains(err.Error(), "not found") {
				t.Errorf("deleted twice: got %v", err)
			}
			log := s.log.String()
			for _, line := range []string{"actor=local method=POST path=/api/v1/operators status=201", "actor=local method=DELETE path=/api/v1/operators/ada status=204"} {
				if !strings.Contains(log, line) {
					t.Errorf("no %s in the log: %s", line, log)
				}
			}
			if strings.Contains(log, made.Token) {
				t.Errorf("the token is in the log: %s", log)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(s.cfg.Data, localapi.Socket)); err == nil {
				t.Error("the control socket stays")
			}
			if _, err := c.Operators(t.Context()); !errors.Is(err, localapi.ErrNotRunning) {
				t.Errorf("not running: got %v", err)
			}
		})
	}
}

func TestBackupAndRestore(t *testing.T) {
	s, out := newSite(t), t.TempDir()
	d, stop := s.serve(t)
	ready(t, d)
	if _, _, err := d.Control.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewOperator{Name: "ada", Life: time.Hour, Scope: broker.OperatorAdmin}); err != nil {
		t.Fatal(err)
	}
	running, stopped := filepath.Join(out, "running.tar"), filepath.Join(out, "stopped.tar")
	if _, err := backup.Write(t.Context(), s.cfg, running); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Write(t.Context(), s.cfg, running); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("over a file: got %v", err)
	}
	if _, _, err := d.Control.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewOperator{Name: "bob", Life: time.Hour, Scope: broker.OperatorAdmin}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Write(t.Context(), s.cfg, stopped); err != nil {
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
		if err := backup.Restore(t.Context(), cfg, c.from, 0); err != nil {
			t.Fatal(err)
		}
		if got := operatorsOf(t, &site{cfg: cfg}); got != c.operators {
			t.Errorf("%s: got %s", c.from, got)
		}
		if raw, err := os.ReadFile(filepath.Join(dir, config.CAFolder, "root.pem")); err != nil || string(raw) != "a root" {
			t.Errorf("got %q, %v", raw, err)
		}
		if err := backup.Restore(t.Context(), cfg, c.from, 0); !errors.Is(err, backup.ErrNotEmpty) {
			t.Errorf("over a data folder: got %v", err)
		}
	}
	if _, err := backup.Write(t.Context(), config.Config{Data: t.TempDir()}, filepath.Join(out, "x")); err == nil || !strings.Contains(err.Error(), "no store") {
		t.Errorf("of nothing: got %v", err)
	}
}

// TestDamagedBackups: one byte changed or the end missing, and nothing is restored.
func TestDamagedBackups(t *testing.T) {
	s, out := newSite(t), t.TempDir()
	if _, err := s.hold(t); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	sound := filepath.Join(out, "sound.tar")
	if _, err := backup.Write(t.Context(), s.cfg, sound); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, raw []byte) {
		t.Helper()
		path := filepath.Join(out, "damaged.tar")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := s.cfg
		cfg.Data = filepath.Join(out, "restored")
		if err := backup.Restore(t.Context(), cfg, path, 0); !errors.Is(err, backup.ErrBackup) {
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
	if _, err := s.hold(t); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "b.tar")
	b, err := backup.Write(t.Context(), s.cfg, path)
	if err != nil || b.KeyFile != s.cfg.KeyFile {
		t.Fatalf("got %+v, %v", b, err)
	}
	cfg := s.cfg
	cfg.Data, cfg.KeyFile = filepath.Join(t.TempDir(), "restored"), ""
	if err := backup.Restore(t.Context(), cfg, path, 0); !errors.Is(err, config.ErrKeyMissing) {
		t.Errorf("without the key: got %v", err)
	}
	cfg.KeyFile = s.cfg.KeyFile
	if err := backup.Restore(t.Context(), cfg, path, 0); err != nil {
		t.Error(err)
	}
}

package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signetd/signet/broker/backup"
)

// TestDamagedMarkSaysHowToGoOn: what refuses because of a damaged mark names the command
// that makes it good, and that command does.
func TestDamagedMarkSaysHowToGoOn(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if code, _, errs := signetd(t, nil, "init --data "+data); code != 0 {
		t.Fatal(errs)
	}
	if err := os.WriteFile(filepath.Join(data, backup.MarkFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next := "restore --in-place --data " + data
	for _, command := range []string{"serve", "operator list"} {
		code, _, errs := signetd(t, nil, command+" --data "+data)
		if code != 1 || !strings.Contains(errs, "is damaged") || !strings.Contains(errs, "signetd "+next) {
			t.Errorf("%s: %d %s", command, code, errs)
		}
	}
	if code, _, errs := signetd(t, nil, next); code != 0 {
		t.Fatalf("%s: %d %s", next, code, errs)
	}
	if code, out, errs := signetd(t, nil, "operator list --data "+data); code != 0 || !strings.Contains(out, "admin") {
		t.Errorf("after %s: %d %s%s", next, code, out, errs)
	}
}

// TestInPlaceTakesNoBackup: whoever names a backup wants it restored, and is not told that all
// is well by a command that passes over it.
func TestInPlaceTakesNoBackup(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if code, _, errs := signetd(t, nil, "init --data "+data); code != 0 {
		t.Fatal(errs)
	}
	if code, out, errs := signetd(t, nil, "restore --in-place --data "+data+" b1.tar"); code != 2 || out != "" || !strings.Contains(errs, "there is no FILE") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

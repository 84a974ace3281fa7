package command

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signetd/signet/broker/backup"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/certs"
)

// TestInitGoesOn: an init that was cut off anywhere is completed by another, which
// changes nothing of what is there.
func TestInitGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		cut  func(t *testing.T, data string)
		says string
	}{
		"before the authority": {func(t *testing.T, data string) {
			remove(t, data, config.CAFolder, config.StoreFile, backup.MarkFile, config.KeyFile)
		}, "made "},
		"before the key":   {func(t *testing.T, data string) { remove(t, data, config.StoreFile, backup.MarkFile, config.KeyFile) }, "kept what was there: certificate authority\n"},
		"before the store": {func(t *testing.T, data string) { remove(t, data, config.StoreFile, backup.MarkFile) }, "kept what was there: certificate authority\n"},
		"before the operator": {func(t *testing.T, data string) {
			if code, _, errs := signetd(t, nil, "operator delete admin --data "+data); code != 0 {
				t.Fatal(errs)
			}
		}, "kept what was there: certificate authority, store\n"},
		"while the authority was written": {func(t *testing.T, data string) {
			remove(t, data, config.StoreFile, backup.MarkFile, config.KeyFile)
			if err := os.Rename(filepath.Join(data, config.CAFolder), filepath.Join(data, "."+config.CAFolder+"-new-1")); err != nil {
				t.Fatal(err)
			}
		}, "made "},
		"and the root's key is in a safe": {func(t *testing.T, data string) {
			remove(t, data, config.StoreFile, backup.MarkFile, filepath.Join(config.CAFolder, certs.RootKeyFile))
		}, "kept what was there: certificate authority\n"},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			initData(t, data, "")
			c.cut(t, data)
			before := contents(t, data, config.CAFolder)
			out := initData(t, data, "")
			if !strings.Contains(out, c.says) {
				t.Errorf("it says %q, want %q", out, c.says)
			}
			if after := contents(t, data, config.CAFolder); len(before) > 0 && !maps.Equal(before, after) {
				t.Error("what was there was changed")
			}
			if strings.Contains(out, "to a safe") == strings.Contains(name, "safe") {
				t.Errorf("it says %q", out)
			}
			code, _, errs := signetd(t, nil, "init --data "+data)
			if code != 5 || !strings.Contains(errs, "made already") || !strings.Contains(errs, "signetd operator create NAME --data "+data) {
				t.Errorf("once more: exit %d, %s", code, errs)
			}
		})
	}
}

// TestInitKeepsNothingUnsound: what is there and cannot be gone on with is left as it
// is, and told.
func TestInitKeepsNothingUnsound(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, data string)
		flags string
		says  string
	}{
		"half an authority": {func(t *testing.T, data string) {
			remove(t, data, config.StoreFile, backup.MarkFile, filepath.Join(config.CAFolder, certs.IntermediateKeyFile))
		}, "", certs.IntermediateKeyFile},
		"a store without its key": {func(t *testing.T, data string) { remove(t, data, config.KeyFile) }, "", "put it back from a backup"},
		"another authority than the one brought": {func(t *testing.T, data string) {
			remove(t, data, config.StoreFile)
			if err := certs.Create(filepath.Join(dir, "company"), certs.Options{Name: "Company"}); err != nil {
				t.Fatal(err)
			}
		}, " --ca-root " + filepath.Join(dir, "company", certs.RootFile) + " --ca-root-key " + filepath.Join(dir, "company", certs.RootKeyFile), "leave out --ca-root"},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			initData(t, data, "")
			c.spoil(t, data)
			before := contents(t, data, "")
			if code, out, errs := signetd(t, nil, "init --data "+data+c.flags); code == 0 || !strings.Contains(errs, c.says) {
				t.Errorf("exit %d, %s%s, want %q", code, out, errs, c.says)
			}
			if !maps.Equal(before, contents(t, data, "")) {
				t.Error("what was there was changed")
			}
		})
	}
}

// initData makes a data folder, or completes one.
func initData(t *testing.T, data, flags string) (out string) {
	t.Helper()
	code, out, errs := signetd(t, nil, "init --data "+data+flags)
	if code != 0 || !strings.Contains(out, "sgnt_") {
		t.Fatalf("init: exit %d, %s%s", code, out, errs)
	}
	return out
}

func remove(t *testing.T, data string, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := os.RemoveAll(filepath.Join(data, n)); err != nil {
			t.Fatal(err)
		}
	}
}

// contents gives the files of a folder, and those of its folders.
func contents(t *testing.T, data, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*", "*/*"} {
		names, err := filepath.Glob(filepath.Join(data, folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if raw, err := os.ReadFile(n); err == nil {
				out[n] = string(raw)
			}
		}
	}
	return out
}

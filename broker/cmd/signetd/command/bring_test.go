package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/certs"
)

// Who has a certificate authority brings its root, with the key or with an
// intermediate; what does not fit is refused before anything is made.
func TestInitWithBroughtAuthority(t *testing.T) {
	dir := t.TempDir()
	from := func(folder, name string) string { return filepath.Join(dir, folder, name) }
	long := time.Now().Add(-3 * time.Hour)
	for folder, o := range map[string]certs.Options{
		"company": {Name: "Company"}, "other": {}, "old": {RootLife: time.Hour, IntermediateLife: time.Hour, Now: func() time.Time { return long }},
	} {
		if err := certs.Create(filepath.Join(dir, folder), o); err != nil {
			t.Fatal(err)
		}
	}
	readable := filepath.Join(dir, "readable.key")
	raw, err := os.ReadFile(from("company", certs.RootKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(readable, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	root, key := " --ca-root "+from("company", certs.RootFile), " --ca-root-key "+from("company", certs.RootKeyFile)
	below := " --ca-intermediate " + from("company", certs.IntermediateFile)
	for name, c := range map[string]struct{ flags, says string }{
		"with its key":           {root + key, ""},
		"with an intermediate":   {root + below + " --ca-intermediate-key " + from("company", certs.IntermediateKeyFile), ""},
		"root alone":             {root, "bring a root with its key"},
		"another's key":          {root + " --ca-root-key " + from("other", certs.RootKeyFile), "do not belong together"},
		"another's intermediate": {root + " --ca-intermediate " + from("other", certs.IntermediateFile) + " --ca-intermediate-key " + from("other", certs.IntermediateKeyFile), "does not chain"},
		"expired":                {" --ca-root " + from("old", certs.RootFile) + " --ca-root-key " + from("old", certs.RootKeyFile), "expired"},
		"no file":                {root + " --ca-root-key " + filepath.Join(dir, "none"), "--ca-root-key: " + filepath.Join(dir, "none")},
		"key as root":            {" --ca-root " + from("company", certs.RootKeyFile) + key, "want CERTIFICATE blocks"},
		"readable key":           {root + " --ca-root-key " + readable, "chmod 600 " + readable},
	} {
		data := filepath.Join(t.TempDir(), "data")
		code, out, errs := signetd(t, nil, "init --data "+data+c.flags)
		if c.says != "" {
			want := 1
			if name == "no file" {
				want = 4
			}
			if code != want || !strings.Contains(errs, c.says) {
				t.Errorf("%s: exit %d, %q, want %q", name, code, errs, c.says)
			}
			if left, _ := filepath.Glob(filepath.Join(data, "ca*")); len(left) > 0 {
				t.Errorf("%s: left %v", name, left)
			}
			continue
		}
		if code != 0 || strings.Contains(out, "to a safe") {
			t.Errorf("%s: exit %d, %s%s", name, code, out, errs)
		}
		made, _ := os.ReadFile(filepath.Join(data, "ca", certs.RootFile))
		want, _ := os.ReadFile(from("company", certs.RootFile))
		if !bytes.Equal(made, want) {
			t.Errorf("%s: another root than the one brought", name)
		}
		if _, err := os.Stat(filepath.Join(data, "ca", certs.RootKeyFile)); err == nil {
			t.Errorf("%s: the root's key was kept", name)
		}
	}
}

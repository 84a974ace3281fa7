package certs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// ended is a folder whose intermediate has ended, and the clock that says so.
func ended(t *testing.T) (string, *clock) {
	t.Helper()
	c := newClock()
	dir := newDir(t, Options{Name: "Acme", Now: c.now, IntermediateLife: time.Hour})
	c.add(2 * time.Hour)
	if _, err := Open(dir, Config{TrustDomain: testDomain, Now: c.now}); !errors.Is(err, ErrExpired) {
		t.Fatalf("open: %v, want ErrExpired", err)
	}
	return dir, c
}

// TestReplaceIntermediate: an authority whose intermediate has ended issues again, under the root that
// devices know, and with another key.
func TestReplaceIntermediate(t *testing.T) {
	dir, c := ended(t)
	root, key := read(t, dir, RootFile), read(t, dir, IntermediateKeyFile)
	before, err := Show(dir)
	if err != nil {
		t.Fatal(err)
	}
	after, err := ReplaceIntermediate(dir, Replacement{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	if !after.Root.Equal(before.Root) || after.Intermediate.Equal(before.Intermediate) || after.Intermediate.Subject.String() != before.Intermediate.Subject.String() {
		t.Errorf("it has %v under %v", after.Intermediate.Subject, after.Root.Subject)
	}
	if got := after.Intermediate.NotAfter; !got.Equal(c.now().Add(DefaultIntermediateLife)) {
		t.Errorf("it ends %v", got)
	}
	if !bytes.Equal(root, read(t, dir, RootFile)) || bytes.Equal(key, read(t, dir, IntermediateKeyFile)) {
		t.Error("the root changed, or the intermediate's key did not")
	}
	a := openTest(t, dir, Config{Now: c.now})
	if _, err := a.NewServerCertificate(t.Context(), ServerNames{DNS: []string{"mqtt.acme.example"}}, 0); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*"+nextSuffix)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestReplaceIntermediateWithoutRootKey: it was taken to a safe, as init says; it comes for this once, or
// an intermediate comes that was made elsewhere.
func TestReplaceIntermediateWithoutRootKey(t *testing.T) {
	dir, c := ended(t)
	safe := read(t, dir, RootKeyFile)
	if err := os.Remove(filepath.Join(dir, RootKeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReplaceIntermediate(dir, Replacement{Now: c.now}); !errors.Is(err, ErrNoRootKey) {
		t.Errorf("without it: %v, want ErrNoRootKey", err)
	}
	other := newDir(t, Options{Now: c.now})
	if _, err := ReplaceIntermediate(dir, Replacement{Now: c.now, RootKey: read(t, other, RootKeyFile)}); !errors.Is(err, ErrUnfit) {
		t.Errorf("with another root's: %v, want ErrUnfit", err)
	}
	if _, err := ReplaceIntermediate(dir, Replacement{Now: c.now, Intermediate: read(t, other, IntermediateFile), IntermediateKey: read(t, other, IntermediateKeyFile)}); !errors.Is(err, ErrUnfit) {
		t.Errorf("with an intermediate under another root: %v, want ErrUnfit", err)
	}
	if _, err := ReplaceIntermediate(dir, Replacement{Now: c.now, RootKey: safe}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, RootKeyFile)); err == nil {
		t.Error("the root's key was kept")
	}
	openTest(t, dir, Config{Now: c.now})
}

// TestReplaceIntermediateCutOff: wherever a renewal is cut off there is a whole authority, the old one or
// the new one, and another renewal works.
func TestReplaceIntermediateCutOff(t *testing.T) {
	at := func(dir, name string) string { return filepath.Join(dir, name) }
	move := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, cut := range map[string]struct {
		leave func(t *testing.T, old, dir string)
		fresh bool
	}{
		"after the new chain": {func(t *testing.T, old, dir string) {
			move(t, at(dir, IntermediateFile), at(dir, IntermediateFile+nextSuffix))
			move(t, at(old, IntermediateFile), at(dir, IntermediateFile))
			move(t, at(old, IntermediateKeyFile), at(dir, IntermediateKeyFile))
		}, false},
		"within the new chain": {func(t *testing.T, old, dir string) {
			if err := os.WriteFile(at(dir, IntermediateFile+nextSuffix), []byte("-----BEGIN"), 0o600); err != nil {
				t.Fatal(err)
			}
			move(t, at(old, IntermediateFile), at(dir, IntermediateFile))
			move(t, at(old, IntermediateKeyFile), at(dir, IntermediateKeyFile))
		}, false},
		"after both": {func(t *testing.T, old, dir string) {
			move(t, at(dir, IntermediateFile), at(dir, IntermediateFile+nextSuffix))
			move(t, at(dir, IntermediateKeyFile), at(dir, IntermediateKeyFile+nextSuffix))
			move(t, at(old, IntermediateFile), at(dir, IntermediateFile))
			move(t, at(old, IntermediateKeyFile), at(dir, IntermediateKeyFile))
		}, false},
		"between the two": {func(t *testing.T, old, dir string) {
			move(t, at(dir, IntermediateFile), at(dir, IntermediateFile+nextSuffix))
			move(t, at(old, IntermediateFile), at(dir, IntermediateFile))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			dir := newDir(t, Options{Now: c.now})
			old := t.TempDir()
			if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			before, err := Show(dir)
			if err != nil {
				t.Fatal(err)
			}
			after, err := ReplaceIntermediate(dir, Replacement{Now: c.now})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(at(old, IntermediateKeyFile), 0o600); err != nil {
				t.Fatal(err)
			}
			cut.leave(t, old, dir)
			want := before.Intermediate
			if cut.fresh {
				want = after.Intermediate
			}
			if a := openTest(t, dir, Config{Now: c.now}); !a.Certificates().Intermediate.Equal(want) {
				t.Error("it is another intermediate")
			}
			if _, err := ReplaceIntermediate(dir, Replacement{Now: c.now}); err != nil {
				t.Fatalf("once more: %v", err)
			}
			openTest(t, dir, Config{Now: c.now})
			if left, _ := filepath.Glob(at(dir, "*"+nextSuffix)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestAnotherRoot: beside its own root an authority may have the next one, and goes over to it
// with an intermediate that is under it; the last one stays to be believed, and its key is not
// taken for ours. A root that is in no bundle is refused as ever.
func TestAnotherRoot(t *testing.T) {
	c := newClock()
	dir, next := newDir(t, Options{Name: "Last", Now: c.now}), newDir(t, Options{Name: "Next", Now: c.now})
	brought := Replacement{Now: c.now, Intermediate: read(t, next, IntermediateFile), IntermediateKey: read(t, next, IntermediateKeyFile)}
	if _, err := ReplaceIntermediate(dir, brought); !errors.Is(err, ErrUnfit) {
		t.Errorf("under an unknown root: %v, want ErrUnfit", err)
	}
	both := append(read(t, dir, RootFile), read(t, next, RootFile)...)
	if err := os.WriteFile(filepath.Join(dir, RootFile), both, 0o644); err != nil {
		t.Fatal(err)
	}
	if own := openTest(t, dir, Config{Now: c.now}).Certificates(); own.Root.Subject.Organization[0] != "Last" || !own.RootKey {
		t.Errorf("before: under %v, with the root's key: %v", own.Root.Subject, own.RootKey)
	}
	if _, err := ReplaceIntermediate(dir, brought); err != nil {
		t.Fatal(err)
	}
	a := openTest(t, dir, Config{Now: c.now})
	if own := a.Certificates(); own.Root.Subject.Organization[0] != "Next" || own.RootKey {
		t.Errorf("after: under %v, with the root's key: %v", own.Root.Subject, own.RootKey)
	}
	if !bytes.HasPrefix(a.Roots(), read(t, next, RootFile)) || len(a.Roots()) != len(both) {
		t.Error("the bundle has not both roots, ours first")
	}
	if _, err := ReplaceIntermediate(dir, Replacement{Now: c.now}); !errors.Is(err, ErrNoRootKey) {
		t.Errorf("with the last root's key: %v, want ErrNoRootKey", err)
	}
}

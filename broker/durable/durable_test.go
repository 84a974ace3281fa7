package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/signetd/signet/broker/durable"
)

var errWriting = errors.New("no room")

func text(s string, err error) func(*os.File) error {
	return func(f *os.File) error {
		_, werr := f.WriteString(s)
		return errors.Join(werr, err)
	}
}

// TestWholeOrNotAtAll: what fails half-way leaves the old file and nothing beside it; Create
// takes nobody's place, not even that of one who came meanwhile.
func TestWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	holds := func(when, want string) {
		t.Helper()
		raw, err := os.ReadFile(path)
		entries, rerr := os.ReadDir(dir)
		if err := errors.Join(err, rerr); err != nil || string(raw) != want || len(entries) != 1 {
			t.Fatalf("%s: %q, %v, %v", when, raw, entries, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", when, info.Mode(), err)
		}
	}
	if err := durable.Replace(path, text("one", nil)); err != nil {
		t.Fatal(err)
	}
	holds("made", "one")
	if err := durable.Replace(path, text("half", errWriting)); !errors.Is(err, errWriting) {
		t.Errorf("a write that failed: %v", err)
	}
	holds("after a write that failed", "one")
	if err := durable.Replace(path, text("two", nil)); err != nil {
		t.Fatal(err)
	}
	holds("replaced", "two")
	if err := durable.Create(path, text("three", nil)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created over another: %v", err)
	}
	holds("after a second one", "two")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	err := durable.Create(path, func(f *os.File) error { return os.WriteFile(path, []byte("somebody's"), 0o600) })
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("created over one that came meanwhile: %v", err)
	}
	holds("after somebody else", "somebody's")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := durable.Create(path, text("own", nil)); err != nil {
		t.Fatal(err)
	}
	holds("created", "own")
}

// TestFolderIsSynced: a folder that cannot be synced is an error: its names may be gone after
// a power cut.
func TestFolderIsSynced(t *testing.T) {
	if err := durable.SyncFolder(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	dir := t.TempDir()
	err := durable.Replace(filepath.Join(dir, "f"), func(f *os.File) error {
		return os.Chmod(dir, 0o300) // names can be written, and the folder not opened
	})
	defer os.Chmod(dir, 0o700) //nolint:errcheck // only for the folder's end
	if os.Geteuid() != 0 && err == nil {
		t.Error("a folder that could not be synced was not told")
	}
}

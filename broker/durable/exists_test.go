package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/signetd/signet/broker/durable"
)

// TestExists: only what is known not to be there is not there.
func TestExists(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{dir: true, filepath.Join(dir, "none"): false, filepath.Join(loop, "below"): true, filepath.Join(dir, "none", "below"): false} {
		if got := durable.Exists(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

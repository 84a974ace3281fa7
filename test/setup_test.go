package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOneInstaller: what the tests and the demo need is written in one place.
func TestOneInstaller(t *testing.T) {
	found := 0
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.Contains(string(raw), "apt"+"-get") {
			if found++; path != "setup.sh" {
				t.Errorf("%s installs by itself: setup.sh does", path)
			}
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Errorf("%d files install something, %v", found, err)
	}
}

package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestANounIsThreeFiles: all that the programs know of groups, the plainest kind of
// setting, is its noun, its form on the wire and its line among the resources. Store,
// routes, API client, commands, apply and diff know it by those.
func TestANounIsThreeFiles(t *testing.T) {
	knows := regexp.MustCompile(`\bbroker\.Groups?\b|\bfunc Groups\(|\bgroupResource\b|\badminapi\.Group\b`)
	var files []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && knows.Match(text) {
			files = append(files, strings.TrimPrefix(filepath.ToSlash(path), "../"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"broker/adminapi/group.go", "broker/adminapi/resource.go", "broker/group.go"}; !slices.Equal(files, want) {
		t.Errorf("groups are known in %v, want %v", files, want)
	}
}

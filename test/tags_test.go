package test

import (
	"go/build/constraint"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tags are those that code may ask for. Anybody who builds can set a tag, by GOFLAGS
// too: one may add a provider for an operating system or a device, and never
// remove or loosen a check. A bug for the tests to find is a patch in test/planted.
var tags = []string{"linux", "unix"}

// TestBuildTags: no other tag decides what is compiled.
func TestBuildTags(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		for _, bad := range foreignTags(string(source)) {
			t.Errorf("%s asks for the build tag %s", path, bad)
		}
		return nil
	})
	if err != nil || seen < 100 {
		t.Fatalf("%d files: %v", seen, err)
	}
}

// foreignTags gives what build constraints of source ask for beyond the tags that
// may be.
func foreignTags(source string) (bad []string) {
	for line := range strings.Lines(source) {
		if !constraint.IsGoBuild(line) && !constraint.IsPlusBuild(line) {
			continue
		}
		x, err := constraint.Parse(strings.TrimSpace(line))
		if err != nil {
			bad = append(bad, strings.TrimSpace(line))
			continue
		}
		x.Eval(func(tag string) bool {
			if !slices.Contains(tags, tag) {
				bad = append(bad, tag)
			}
			return true
		})
	}
	return bad
}

func TestForeignTags(t *testing.T) {
	for source, want := range map[string]string{
		"//go:build bug_x\n\npackage a\n":                   "bug_x",
		"//go:build !bug_x\n\npackage a\n":                  "bug_x",
		"//go:build linux && (unix || !bug_x)\npackage a\n": "bug_x",
		"// A licence.\n\n//go:build !cgo\npackage a\n":     "cgo",
		"// +build bug_x\n\npackage a\n":                    "bug_x",
		"//go:build linux &&\npackage a\n":                  "//go:build linux &&",
		"//go:build !linux\n\npackage a\n":                  "",
		"//go:build unix\n\npackage a\n":                    "",
		"package a\n\nconst x = `//go:build`\n":             "",
	} {
		if got := strings.Join(foreignTags(source), " "); got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}

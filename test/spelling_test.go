package test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestOneSpelling: who searches for a word finds all of it. The word for how a device
// becomes known is spelt enroll and enrollment, in names of files, too.
func TestOneSpelling(t *testing.T) {
	other := regexp.MustCompile(`(?i)enrol([^l]|$)`)
	for _, name := range tracked(t) {
		if other.MatchString(name) {
			t.Errorf("%s: spell it enroll", name)
		}
		raw, err := os.ReadFile("../" + name)
		if err != nil || strings.HasSuffix(name, "spelling_test.go") {
			continue // deleted, or this one
		}
		for i, line := range bytes.Split(raw, []byte("\n")) {
			if other.Match(line) {
				t.Errorf("%s:%d: spell it enroll: %.100s", name, i+1, line)
			}
		}
	}
}

// tracked gives the files of the repository.
func tracked(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "-C", "..", "ls-files", "-z").Output()
	if err != nil {
		t.Skip("not a repository:", err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// TestSourcesOnly: what is built is not kept, it would be with every clone for ever.
func TestSourcesOnly(t *testing.T) {
	for _, name := range tracked(t) {
		if at, err := os.Lstat("../" + name); err == nil && at.Size() > 512<<10 {
			t.Errorf("%s has %d bytes: is it something that was built?", name, at.Size())
		}
	}
}

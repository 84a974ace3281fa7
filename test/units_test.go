package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The unit files are understood by systemd, and leave a service little of the machine (at
// most 2.0 of 10 in what systemd calls its exposure).
// Nothing here runs them: that takes a machine whose first process is systemd.
func TestUnitFiles(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("systemd-analyze is not installed; make test installs it")
	}
	units, err := filepath.Glob("../docs/systemd/*.service")
	if err != nil || len(units) < 2 {
		t.Fatalf("%d unit files, %v", len(units), err)
	}
	bin := t.TempDir()
	for _, unit := range units {
		name := strings.TrimSuffix(filepath.Base(unit), ".service")
		if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", unit).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		// It wants programs and pages that are there, wherever they are installed.
		program := filepath.Join(bin, name)
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(strings.ReplaceAll(string(text), "/usr/local/bin/"+name, program)) {
			if !strings.HasPrefix(line, "Documentation=man:") {
				lines = append(lines, line)
			}
		}
		there := filepath.Join(bin, name+".service")
		if err := os.WriteFile(there, []byte(strings.Join(lines, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("systemd-analyze", "verify", there)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), name) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

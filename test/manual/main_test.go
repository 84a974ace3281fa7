package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command has its page with an example, no page tells the day it was made, and a
// reader of manual pages that is not ours understands them all.
func TestPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	folder, again := t.TempDir(), t.TempDir()
	for _, f := range []string{folder, again} {
		if err := write(f); err != nil {
			t.Fatal(err)
		}
	}
	var pages []string
	for _, program := range programs() {
		var each func(c *cobra.Command)
		each = func(c *cobra.Command) {
			section := ".1"
			if program.Name() == "signetd" {
				section = ".8"
			}
			name := strings.ReplaceAll(c.CommandPath(), " ", "-") + section
			page, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Error(err)
				return
			}
			twin, err := os.ReadFile(filepath.Join(again, name))
			if err != nil || !bytes.Equal(page, twin) {
				t.Errorf("%s differs from one time to the next: %v", name, err)
			}
			sections := []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"}
			if !c.HasSubCommands() {
				sections = append(sections, "EXIT STATUS")
			}
			if c.Parent() == nil {
				sections = append(sections, "EXIT STATUS", "EXAMPLES")
			}
			if c.CommandPath() == "firmware-sim run" || c.Parent() == nil && c.Name() != "firmware-sim" {
				sections = append(sections, "ENVIRONMENT")
			}
			for _, s := range sections {
				if !bytes.Contains(page, []byte("\n.SH "+s+"\n")) {
					t.Errorf("%s has no section %s", name, s)
				}
			}
			if files := program.Name() != "firmware-sim" && !c.HasSubCommands(); files != bytes.Contains(page, []byte("\n.SH FILES\n")) && c.Parent() != nil {
				t.Errorf("%s: files: %v", name, files)
			}
			if bytes.Contains(page, []byte(`=""`)) || bytes.Contains(page, []byte("[=false]")) || bytes.Contains(page, []byte("\n\t")) {
				t.Errorf("%s has defaults that are none, or tabs", name)
			}
			if bytes.Contains(page, []byte("Auto generated")) {
				t.Errorf("%s tells when it was made", name)
			}
			if !bytes.Contains(page, []byte(".SH NAME")) || !strings.Contains(c.Short, " ") {
				t.Errorf("%s does not say what it is", name)
			}
			if ours := !strings.Contains(name, "-completion") && !c.HasSubCommands(); ours && c.Name() != "version" && !bytes.Contains(page, []byte(".SH EXAMPLES")) {
				t.Errorf("%s has no example", name)
			}
			pages = append(pages, filepath.Join(folder, name))
			for _, sub := range c.Commands() {
				if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
					each(sub)
				}
			}
		}
		each(program)
	}
	if len(pages) < 50 {
		t.Errorf("only %d pages", len(pages))
	}
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("mandoc is not installed; make test installs it")
	}
	if out, err := exec.Command(mandoc, append([]string{"-T", "lint", "-W", "warning"}, pages...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

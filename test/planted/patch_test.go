package main

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPatchesFit: each bug still fits the code, compiles and is looked for by a test,
// so that whoever changes the code learns of it at once.
func TestPatchesFit(t *testing.T) {
	patches, err := filepath.Glob("*.patch")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plants {
		if !slices.Contains(patches, p.bug+".patch") {
			t.Errorf("%s is looked for but has no patch", p.bug)
		}
	}
	for _, patch := range patches {
		bug := strings.TrimSuffix(patch, ".patch")
		if !slices.ContainsFunc(plants, func(p plant) bool { return p.bug == bug }) {
			t.Errorf("%s: no test looks for it", patch)
		}
		files, err := planted("../..", bug)
		if err == nil {
			err = compile(t.Context(), t.TempDir(), bug, slices.Collect(maps.Keys(files)))
		}
		if err != nil {
			t.Errorf("%s: %v\nmake it again as the comment in main.go says", patch, err)
		}
	}
}

// compile compiles the packages of the files that a bug changes, without a program of them.
func compile(ctx context.Context, dir, bug string, files []string) error {
	file, err := overlay("../..", bug, dir)
	if err != nil {
		return err
	}
	args := []string{"list", "-export", "-overlay", file}
	for _, name := range files {
		args = append(args, "./"+path.Dir(name))
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("it no longer compiles: %w\n%s", err, out)
	}
	return nil
}

func TestPatch(t *testing.T) {
	const (
		text = "one\ntwo\nthree\n\ntwo\nfour\n"
		head = "# A bug.\n--- a/f.go\n+++ b/f.go\n@@ -700,9 +800 @@ func f() {\n"
	)
	for name, c := range map[string]struct{ patch, want, fault string }{
		"anywhere":       {head + " two\n-four\n+five\n", "one\ntwo\nthree\n\ntwo\nfive\n", ""},
		"at the start":   {head + "+zero\n one\n", "zero\n" + text, ""},
		"by git":         {"# A bug.\ndiff --git a/f.go b/f.go\nindex 1..2 100644\n--- a/f.go\n+++ b/f.go\n@@ -2 +2 @@\n-three\n \n", "one\ntwo\n\ntwo\nfour\n", ""},
		"two hunks":      {head + "-one\n@@ -1 @@\n-four\n+five\n", "two\nthree\n\ntwo\nfive\n", ""},
		"a bare line":    {head + " two\n\n-three\n", "", "0 times"},
		"an empty line":  {head + " three\n\n-two\n", "one\ntwo\nthree\n\nfour\n", ""},
		"nowhere":        {head + "-five\n", "", "0 times"},
		"half a line":    {head + "-our\n", "", "0 times"},
		"twice":          {head + "-two\n", "", "2 times"},
		"nothing new":    {head + " one\n", "", "changes nothing"},
		"no place":       {head + "+one\n", "", "keeps nothing"},
		"no hunk":        {"# A bug.\n", "", "changes nothing"},
		"no comment":     {strings.TrimPrefix(head, "# A bug.\n") + "-one\n", "", "does not say"},
		"no patch":       {"# A bug.\nhello\n", "", "no line of a patch"},
		"hunk of no one": {"# A bug.\n@@ -1 +1 @@\n-one\n", "", "no line of a patch"},
	} {
		t.Run(name, func(t *testing.T) {
			got := text
			_, hunks, err := parse(c.patch)
			for _, h := range hunks {
				if got, err = h.apply(got); err != nil {
					break
				}
			}
			if c.fault == "" && (err != nil || got != c.want) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
			if c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("%v, want %q", err, c.fault)
			}
		})
	}
}

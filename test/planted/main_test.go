package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVerdicts: only a test that passes without a bug, and fails because of it, has
// found it.
func TestVerdicts(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"go.mod":     "module field\n\ngo 1.26\n",
		"sum/sum.go": "package sum\n\nfunc Add(a, b int) int {\n\treturn a + b\n}\n\nfunc Sub(a, b int) int {\n\treturn a - b\n}\n",
		"sum/sum_test.go": "package sum\n\nimport \"testing\"\n\nfunc TestAdd(t *testing.T) {\n\tif got := Add(1, 2); got != 3 {\n" +
			"\t\tt.Errorf(\"1+2 is %d\", got)\n\t}\n}\n",
		folder + "/added.patch":      "# It adds one.\n+++ b/sum/sum.go\n@@ -3,2 +3,2 @@\n func Add(a, b int) int {\n-\treturn a + b\n+\treturn a + b + 1\n",
		folder + "/subtracted.patch": "# It subtracts one.\n+++ b/sum/sum.go\n@@ -7,2 +7,2 @@\n func Sub(a, b int) int {\n-\treturn a - b\n+\treturn a - b - 1\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	g := garden{out: &out, dir: t.TempDir(), sound: map[plant]bool{}}
	for _, c := range []struct {
		plant plant
		want  string
	}{
		{plant{"added", "./sum", "^TestAdd$", "1.2 is 4"}, "caught  added "},
		{plant{"added", "./sum", "^TestAdd$", "something else"}, "but not because of it"},
		{plant{"subtracted", "./sum", "^TestAdd$", "any"}, "MISSED  subtracted "},
		{plant{"added", "./sum", "^TestNobodyWrote$", "any"}, "does not run"},
		{plant{"added", "./nowhere", "^TestAdd$", "any"}, "fails without added"},
		{plant{"no-such-bug", "./sum", "^TestAdd$", "any"}, "BROKEN  no-such-bug, "},
	} {
		out.Reset()
		before := g.missed
		if err := g.tryAll(t.Context(), c.plant.bug, []plant{c.plant}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), c.want) || (g.missed == before) != strings.HasPrefix(c.want, "caught") {
			t.Errorf("%v: %s(%d missed), want %q", c.plant, out.String(), g.missed-before, c.want)
		}
	}
}

package test

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestQuickstartIsTheDemo: the README's quickstart has the lines that make demo
// types, all of them, in their order. CI runs the demo, and so the quickstart.
func TestQuickstartIsTheDemo(t *testing.T) {
	var readme, demo []string
	for line := range strings.Lines(section(t, "../README.md", "\nThe same by hand", "\n## ")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			readme = append(readme, line)
		}
	}
	first, last := slices.Index(readme, "```"), len(readme)-1
	for last > first && readme[last] != "```" {
		last--
	}
	typed := regexp.MustCompile(`^(?:run|behind|refused) (.*)$`)
	for line := range strings.Lines(section(t, "demo/demo.sh", "say '1 ", "step='stop'")) {
		if m := typed.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			demo = append(demo, word(m[1]))
		}
	}
	if len(demo) < 20 {
		t.Fatalf("%d lines found in the demo", len(demo))
	}
	if diff := cmp.Diff(demo, readme[first+1:last]); diff != "" {
		t.Errorf("lines of make demo (-) and of the README (+):\n%s", diff)
	}
}

// word reads the first word of a shell line, quotes taken off; what the demo
// chooses by itself, a port and a number, is put in.
func word(s string) string {
	var out strings.Builder
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote == 0 && c == ' ':
			i = len(s)
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case c == quote:
			quote = 0
		case quote == '"' && c == '\\' && s[i+1] == '$':
		default:
			out.WriteByte(c)
		}
	}
	return strings.NewReplacer("$hook", "9000", "$devices", "1000").Replace(out.String())
}

func section(t *testing.T, file, from, to string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), from)
	if !ok {
		t.Fatalf("%s: no %q", file, from)
	}
	text, _, ok := strings.Cut(rest, to)
	if !ok {
		t.Fatalf("%s: no %q after %q", file, to, from)
	}
	return text
}

// TestREADMELinks: what the README and the docs point to is there.
func TestREADMELinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, file := range []string{"../README.md", "../docs/protocol.md", "../docs/signetd.md", "../docs/signet-agent.md", "../docs/firmware-sim.md", "../protocol/vectors/README.md"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dir := file[:strings.LastIndex(file, "/")+1]
		for _, m := range link.FindAllStringSubmatch(string(raw), -1) {
			if _, err := os.Stat(dir + m[1]); err != nil {
				t.Errorf("%s points to %s: %v", file, m[1], err)
			}
		}
	}
}

// TestREADMECompiles: the README's Go is Go that compiles.
func TestREADMECompiles(t *testing.T) {
	body := section(t, "../README.md", "```go\n", "```")
	source := `package snippet

import (
	"context"

	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/protocol/verify/remote"
)

func backend(ctx context.Context, raw []byte) error {
` + body + `	_ = claims
	return err
}

var _ = backend
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "snippet.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	// An overlay puts the snippet into the module without writing to the checkout.
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(wd, "snippet", "snippet.go"): filepath.Join(dir, "snippet.go")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "./snippet").CombinedOutput(); err != nil {
		t.Errorf("README.md: %v\n%s", err, out)
	}
}

// TestOverviewsAreExamples: the code in the overview of a package that others import
// stands, line by line, in one of its examples, which the compiler and go test see.
func TestOverviewsAreExamples(t *testing.T) {
	for _, dir := range []string{"../agent", "../protocol/verify", "../protocol/verify/remote"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		var code []string
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(f.Doc.Text()) {
				if strings.HasPrefix(line, "\t") {
					code = append(code, strings.TrimSpace(line))
				}
			}
		}
		raw, err := os.ReadFile(filepath.Join(dir, "example_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var example []string
		for line := range strings.Lines(string(raw)) {
			example = append(example, strings.TrimSpace(line))
		}
		if len(code) == 0 {
			t.Errorf("%s: no code in the overview", dir)
			continue
		}
		found := false
		for i := range example {
			found = found || i+len(code) <= len(example) && slices.Equal(example[i:i+len(code)], code)
		}
		if !found {
			t.Errorf("%s: the overview's code is in no example:\n%s", dir, strings.Join(code, "\n"))
		}
	}
}

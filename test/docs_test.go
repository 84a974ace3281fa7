package test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestQuickstartIsTheDemo: the README's quickstart has the commands that make demo
// runs, no other and no fewer, with the same flags.
func TestQuickstartIsTheDemo(t *testing.T) {
	readme := shapes(section(t, "../README.md", "\nThe same by hand", "\n## "), "")
	demo := shapes(section(t, "demo/demo.sh", "say '1 ", "step='stop'"), `^(run|show) ["']?`)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(demo)), slices.Sorted(maps.Keys(readme))); diff != "" {
		t.Errorf("commands of make demo (-) and of the README (+):\n%s", diff)
	}
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

// shapes gives each command's words and flags without their values. What the demo
// adds to be alone on its machine does not count: places, ports, output for a script.
func shapes(text, prefix string) map[string]bool {
	begin := regexp.MustCompile(prefix)
	command := regexp.MustCompile(`^(signetd?|signet-agent|firmware-sim|mosquitto_(pub|sub)|curl|go run)( |$)`)
	word := regexp.MustCompile(`^[a-z][a-z-]*$`)
	alone := map[string]bool{"--state": true, "--data": true, "-o": true, "--cafile": true, "-h": true, "-p": true, "-V": true, "-i": true}
	out := make(map[string]bool)
	for line := range strings.Lines(text) {
		if prefix != "" && !begin.MatchString(line) {
			continue
		}
		line = begin.ReplaceAllString(line, "")
		if !command.MatchString(line) || strings.Contains(line, "sed ") {
			continue
		}
		fields := strings.Fields(line)
		verbs := 1
		for verbs < len(fields) && verbs < 3 && word.MatchString(fields[verbs]) {
			verbs++
		}
		var flags []string
		for _, f := range fields[verbs:] {
			if strings.HasPrefix(f, "-") && len(f) > 1 && !alone[f] && !strings.HasPrefix(f, "--listen") {
				flags = append(flags, f)
			}
		}
		if !strings.Contains(line, "enroll ") && fields[0] == "signet-agent" {
			flags = nil // --name and --state both say which device
		}
		slices.Sort(flags)
		out[strings.Join(append(fields[:verbs:verbs], flags...), " ")] = true
	}
	return out
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

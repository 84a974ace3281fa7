// Package test holds the tests that span Signet's rooms: who may import what, the
// real programs driven by scripts, other languages against our protocol.
package test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/signetd/signet/"

// outside stands for every package that is neither ours nor the standard library's.
const outside = "outside modules"

// rules say what a package must not reach, directly or not. A pattern ending in
// /... covers all below it.
var rules = []struct {
	packages string
	not      []string
	why      string
}{
	{"protocol/...", []string{module + "agent", module + "broker", module + "certs", module + "firmware-sim", "github.com/eclipse/paho", "go.etcd.io/bbolt", "github.com/smallstep/"}, "it is the contract and the SDK"},
	{"protocol/ident", []string{outside}, "names stay plain"},
	{"broker", []string{outside, "net/http"}, "the domain stays plain"},
	{"agent/...", []string{module + "broker", module + "certs", module + "protocol/verify", "github.com/go-jose", "go.etcd.io/bbolt", "github.com/smallstep/"}, "firmware is small and tokens are opaque to the device"},
	{"agent", []string{"github.com/eclipse/paho"}, "other links are possible"},
	{"broker/exchange", []string{"github.com/eclipse/paho", "go.etcd.io/bbolt", "net/http"}, "the core is transport-free"},
	{"broker/auth", []string{"github.com/eclipse/paho", "go.etcd.io/bbolt", "net/http"}, "the core is transport-free"},
	{"broker/mint", []string{"github.com/eclipse/paho", "go.etcd.io/bbolt", "net/http"}, "the core is transport-free"},
	{"broker/daemon", []string{module + "certs", module + "agent", "github.com/smallstep/"}, "the issuer is an interface"},
	{"broker/cmd/signet", []string{"github.com/eclipse/paho", "go.etcd.io/bbolt", "github.com/smallstep/", module + "broker/daemon"}, "the command line is a client"},
	{"certs", []string{module + "broker", module + "agent"}, "it satisfies the broker's interface by shape"},
	{"firmware-sim/...", []string{module + "broker", module + "certs"}, "a device sees the wire only"},
}

func TestDependencies(t *testing.T) {
	for _, rule := range rules {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}}", "../"+rule.packages).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", rule.packages, err, out)
			continue
		}
		for dep := range strings.Lines(string(out)) {
			dep = strings.TrimSpace(dep)
			for _, bad := range rule.not {
				if reaches(dep, bad) && !strings.HasPrefix(dep, module+strings.TrimSuffix(rule.packages, "/...")) {
					t.Errorf("%s must not reach %s: %s", rule.packages, dep, rule.why)
				}
			}
		}
	}
}

// reaches treats outside as every path whose host has a dot and isn't ours, a pattern with a trailing slash or dot in its host as a prefix, and
// any other as a package with all below it.
func reaches(dep, pattern string) bool {
	if pattern == outside {
		host, _, _ := strings.Cut(dep, "/")
		return strings.Contains(host, ".") && !strings.HasPrefix(dep, module)
	}
	return strings.HasPrefix(dep, pattern) && (strings.HasSuffix(pattern, "/") || len(dep) == len(pattern) || strings.ContainsAny(dep[len(pattern):len(pattern)+1], "/.")) && !(pattern == "net/http" && dep != "net/http")
}

func TestReaches(t *testing.T) {
	for _, c := range []struct {
		dep, pattern string
		want         bool
	}{
		{"gopkg.in/yaml.v3", outside, true}, {"github.com/spf13/cobra", outside, true}, {"go.uber.org/goleak", outside, true},
		{"github.com/signetd/signetx", outside, true}, {module + "protocol/ident", outside, false},
		{"net/http", outside, false}, {"vendor/golang.org/x/net/idna", outside, false},
		{"net/http", "net/http", true}, {"net/http/internal", "net/http", false},
		{"github.com/go-jose/go-jose/v4", "github.com/go-jose", true}, {"github.com/go-josef/x", "github.com/go-jose", false},
	} {
		if got := reaches(c.dep, c.pattern); got != c.want {
			t.Errorf("%s by %s: %v", c.dep, c.pattern, got)
		}
	}
}

// TestProductionCodeDoesNotImportTesting keeps test code out of the programs.
func TestProductionCodeDoesNotImportTesting(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasSuffix(name, "test") || strings.HasPrefix(name, module+"test/") {
			continue
		}
		for imp := range strings.FieldsSeq(imports) {
			if imp == "testing" {
				t.Errorf("%s imports testing", name)
			}
		}
	}
}

// TestPackagesSayWhatTheyAre wants a package comment everywhere.
func TestPackagesSayWhatTheyAre(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}|{{.Doc}}", "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name, doc, _ := strings.Cut(strings.TrimSpace(line), "|")
		if doc == "" && !strings.HasPrefix(name, module+"test") {
			t.Errorf("%s has no package comment", name)
		}
	}
}

// TestTopLevel: the folders at the top are the ones agreed on, and no others.
func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	agreed := []string{"agent", "broker", "certs", "docs", "firmware-sim", "protocol", "test", "bin"} // bin is made by make
	for _, e := range entries {
		if name := e.Name(); e.IsDir() && !strings.HasPrefix(name, ".") && !slices.Contains(agreed, name) {
			t.Errorf("folder %s at the top level", name)
		}
	}
}

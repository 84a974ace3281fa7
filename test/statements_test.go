package test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var updateStatements = flag.Bool("update", false, "write who proves the statements of docs/mqtt.md anew")

// statementNumber finds the numbers of MQTT 5's normative statements; what has 3.1.1 before it is of that standard.
var statementNumber = regexp.MustCompile(`(3\.1\.1 )?\bMQTT-(\d+)\.(\d+)\.(\d+)-(\d+)\b`)

// TestNormativeStatements holds the table of docs/mqtt.md to the tests below broker/mqttd
// that name its statements: a row has the packages of all of them and no others.
// With -update the packages are written anew, and "differs" left as it is.
func TestNormativeStatements(t *testing.T) {
	const doc = "../docs/mqtt.md"
	named := namedStatements(t)
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	lines, before := strings.SplitAfter(string(text), "\n"), ""
	for i, line := range lines {
		if !strings.HasPrefix(line, "| MQTT-") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		m := statementNumber.FindStringSubmatch(cells[0])
		if len(cells) != 3 || m == nil || cells[0] != m[0] {
			t.Errorf("want STATEMENT, what it says, who proves it, got %q", line)
			continue
		}
		if key := orderOf(m); key <= before {
			t.Errorf("%s is not behind what comes before it", m[0])
		} else {
			before = key
		}
		by := named[m[0]]
		delete(named, m[0])
		slices.Sort(by)
		if strings.HasPrefix(cells[2], "differs: ") {
			continue
		}
		if want := strings.Join(by, ", "); cells[2] != want || want == "" {
			t.Errorf("%s is said to be proven by %q; the tests that name it are of %q (-update writes that)", m[0], cells[2], want)
			lines[i] = fmt.Sprintf("| %s | %s | %s |\n", m[0], cells[1], want)
		}
	}
	for s, by := range named {
		t.Errorf("tests of %v name %s, which docs/mqtt.md does not have", by, s)
	}
	if *updateStatements {
		if err := os.WriteFile(doc, []byte(strings.Join(lines, "")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// namedStatements are the packages of the tests that name a statement.
func namedStatements(t *testing.T) map[string][]string {
	named := map[string][]string{}
	err := filepath.WalkDir("../broker/mqttd", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		in := filepath.Base(filepath.Dir(path))
		for _, m := range statementNumber.FindAllStringSubmatch(string(text), -1) {
			if m[1] == "" && !slices.Contains(named[m[0]], in) {
				named[m[0]] = append(named[m[0]], in)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return named
}

// orderOf is a key that sorts as the standard numbers its statements.
func orderOf(m []string) (key string) {
	for _, n := range m[2:] {
		key += fmt.Sprintf("%3s", n)
	}
	return key
}

package test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A row of imports.txt is a package's allow-list.
type allowed struct {
	imports []string
	line    int
}

// TestImports: a package imports what its row in imports.txt allows, directly, of ours
// and of outside modules, and nothing else; and no row allows what nobody needs any
// more. Who adds an arrow to the picture adds it there, and has it read.
func TestImports(t *testing.T) {
	rows := readAllowed(t)
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module)
		row, ok := rows[name]
		if !ok {
			t.Errorf("imports.txt has no row for %s: add one that says what it may import", name)
			continue
		}
		delete(rows, name)
		var found []string
		for _, imp := range fields[1:] {
			if host, _, _ := strings.Cut(imp, "/"); strings.Contains(host, ".") {
				found = append(found, strings.TrimPrefix(imp, module))
			}
		}
		for _, imp := range found {
			if !slices.Contains(row.imports, imp) {
				t.Errorf("%s imports %s: if that is an arrow that the house should have, add it to line %d of imports.txt", name, imp, row.line)
			}
		}
		for _, imp := range row.imports {
			if !slices.Contains(found, imp) {
				t.Errorf("imports.txt:%d allows %s to import %s, which it does not: take it out", row.line, name, imp)
			}
		}
	}
	for name, row := range rows {
		t.Errorf("imports.txt:%d is about %s, which is no package", row.line, name)
	}
}

func readAllowed(t *testing.T) map[string]allowed {
	t.Helper()
	raw, err := os.ReadFile("imports.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows, n := map[string]allowed{}, 0
	last := ""
	for line := range strings.Lines(string(raw)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, list, ok := strings.Cut(line, ":")
		if !ok || name <= last {
			t.Fatalf("imports.txt:%d: want PACKAGE: IMPORTS, in order of packages, got %q", n, line)
		}
		last = name
		rows[name] = allowed{strings.Fields(list), n}
	}
	return rows
}

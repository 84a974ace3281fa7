package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestArchitecture: every package, file and exported name in docs/architecture.md is there.
func TestArchitecture(t *testing.T) {
	raw, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(raw), "\n"); n > 150 {
		t.Errorf("%d lines: nobody reads more than 150", n)
	}
	exported := exportedNames(t)
	path := regexp.MustCompile(`^(agent|broker|certs|firmware-sim|protocol|test)(/[a-z0-9_.-]+)*$`)
	name := regexp.MustCompile(`^([a-z0-9]+)\.([A-Z]\w*)$`)
	checked := 0
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(string(raw), -1) {
		word := m[1]
		switch n := name.FindStringSubmatch(word); {
		case path.MatchString(word):
			if _, err := os.Stat(filepath.Join("..", word)); err != nil {
				t.Errorf("docs/architecture.md names %s: %v", word, err)
			}
		case n != nil:
			if !exported[n[1]][n[2]] {
				t.Errorf("docs/architecture.md names %s, which no package %s exports", word, n[1])
			}
		default:
			continue
		}
		checked++
	}
	picture, _, _ := strings.Cut(string(raw), "\n| room |")
	for _, word := range regexp.MustCompile(`\b(?:agent|broker|protocol)/[a-z]+\b`).FindAllString(picture, -1) {
		if _, err := os.Stat(filepath.Join("..", word)); err != nil {
			t.Errorf("the picture in docs/architecture.md names %s: %v", word, err)
		}
		checked++
	}
	if checked < 60 {
		t.Errorf("%d names found in docs/architecture.md", checked)
	}
}

// exportedNames gives what the module's packages export at their top level, by the package's name.
func exportedNames(t *testing.T) map[string]map[string]bool {
	t.Helper()
	all := map[string]map[string]bool{}
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := all[file.Name.Name]
		if pkg == nil {
			pkg = map[string]bool{}
			all[file.Name.Name] = pkg
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					pkg[d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						pkg[s.Name.Name] = true
					case *ast.ValueSpec:
						for _, n := range s.Names {
							pkg[n.Name] = true
						}
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

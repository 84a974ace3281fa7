package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSecretsAreComparedInConstantTime: where secrets are handled, bytes are
// compared by hmac.Equal or subtle. The other comparisons are listed with what is
// compared; a new one has to be thought about (T-27).
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	public := map[string]string{
		"broker/auth provedBefore":         "names of authenticators, one from our own sealed session",
		"broker/control newSigningKey":     "ids of public keys",
		"broker/keyring For":               "ids of key statements",
		"broker/mint remembered":           "marks of requests whose proof was checked",
		"protocol Key":                     "ids of a pool's signing keys",
		"protocol/token checkEdwardsPoint": "bytes of a public key",
	}
	found := make(map[string]string)
	for _, dir := range []string{"broker/auth", "broker/mint", "broker/exchange", "broker/hook", "broker/atrest", "broker/control", "broker/keyring", "broker/proof", "protocol/token", "protocol"} {
		files := token.NewFileSet()
		entries, err := fs.Glob(os.DirFS(".."), path.Join(dir, "*.go"))
		if err != nil || len(entries) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(entries), err)
		}
		for _, name := range entries {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(files, path.Join("..", name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				ast.Inspect(f, func(n ast.Node) bool {
					if s, ok := n.(*ast.SelectorExpr); ok && variableTime(s) {
						found[dir+" "+f.Name.Name] = public[dir+" "+f.Name.Name]
					}
					return true
				})
			}
		}
	}
	if diff := cmp.Diff(public, found); diff != "" {
		t.Errorf("comparisons whose time depends on the bytes (-known +found):\n%s", diff)
	}
}

// variableTime tells functions that stop at the first byte that differs.
func variableTime(s *ast.SelectorExpr) bool {
	pkg, ok := s.X.(*ast.Ident)
	name := fmt.Sprint(pkg, ".", s.Sel.Name)
	return ok && (name == "bytes.Equal" || name == "slices.Equal")
}

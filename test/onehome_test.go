package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A rule that decides something lives in one place; every door asks there. Each row
// names a rule by what it takes to state it a second time, and where it lives.
var homes = []struct {
	rule  string
	marks mark
	homes []string // folders; what is below them counts as well if they end in /
}{
	{"a session has ended", mark{field: `^(SessionsRev|SessionsAfter)$`},
		[]string{"broker", "broker/boltstore", "broker/adminapi", "broker/cmd/signet/cli"}},
	{"whether a standing still holds", mark{call: `\.Ended$`}, []string{"broker", "broker/access", "broker/control"}},
	{"what goes only with force", mark{call: `^(broker\.)?InUse$`}, []string{"broker/control", "broker/adminapi"}},
	{"what a device may do on MQTT", mark{call: `^topic\.Own$`}, []string{"broker/access"}},
	{"whether a public key is sound", mark{imports: `^filippo\.io/edwards25519`}, []string{"protocol/token"}},
	{"which curves are sound", mark{call: `^elliptic\.P(384|521)$`}, []string{"protocol/token"}},
	{"how a JWK is read", mark{imports: `^github\.com/go-jose/go-jose/`}, []string{"protocol/verify"}},
	{"what CBOR may look like", mark{imports: `^github\.com/fxamacker/cbor/`}, []string{"protocol/detcbor"}},
	{"how a map of integer keys is read and written by hand", mark{define: `(?i)^(map|claim|field)_?writer$`}, []string{"protocol/detcbor", "protocol/token"}}, // token: CWT's own claims
	{"how secrets are sealed to a key", mark{imports: `^crypto/hpke$`}, []string{"protocol"}},
	{"what a key's thumbprint covers (RFC 9679)", mark{define: `^Thumbprint$`}, []string{"protocol/token"}},
	{"the key statement", mark{define: `^[sS]tatement$`}, []string{"protocol"}},
	{"the key statement", mark{call: `^token\.Sign1$`}, []string{"protocol"}},
	{"the protocol's topics", mark{text: `^(signet/v1|anon-$)`}, []string{"protocol/topic"}},
	{"how a UUID is made (RFC 9562)", mark{imports: `^github\.com/(google|gofrs)/uuid`}, nil},
	{"how a UUID is made (RFC 9562)", mark{define: `(?i)^new_?uuid(v7)?$`}, []string{"protocol/ident"}},
	{"how HTTP says no (RFC 9457)", mark{text: `^application/problem\+json$`}, []string{"broker/problem"}},
	{"how long a hook may take", mark{define: `(?i)hook_?timeout$`}, []string{"broker"}},
	{"what an enrollment may do", mark{define: `^Admit$`}, []string{"broker", "broker/access", "broker/mqttfront"}},
	{"when a device's key is in use twice", mark{define: `^(Lineage|Overtaken)$`}, []string{"broker"}},
	{"when a device's key is in use twice", mark{text: `(?i)cloned`}, []string{"broker/exchange/wrap", "broker/adminapi", "broker/cmd/signet/cli"}},
	{"how a broker is put together", mark{call: `^(auth|mint|exchange|hook|control|keyring|access|tail)\.New$`}, []string{"broker/core", "broker/proof"}},
	{"who is at the other end of a Unix socket", mark{call: `^unix\.GetsockoptUcred$|^syscall\.GetsockoptUcred$`}, []string{"protocol/peer"}},
	{"which challenges the protocol knows", mark{text: `^psk$`}, []string{"protocol/challenge"}},
	{"which challenges the protocol knows", mark{define: `^Kind(Key|PSK|TOTP|Enroll)$`}, nil},
	{"how many texts by name a message has, and how long", mark{define: `(?i)^max(pairs?|pair_?name|pair_?value|parameters|metadata)$`}, []string{"protocol"}},
	{"how long an audience's name is", mark{define: `(?i)^max_?audience$`}, []string{"protocol/ident"}},
	{"what a device hears of its status", mark{field: `^CodePending$`}, []string{"broker/auth", "agent", "agent/command", "firmware-sim/fleet"}},
	{"what groups and attributes may say", mark{define: `(?i)^max_?(attr|groups)`}, []string{"broker"}},
	{"what a replacement keeps", mark{field: `^Keep$`}, []string{"broker"}},
	{"what a name of anything but a device or a pool looks like", mark{define: `(?i)^check_?label$`}, []string{"broker"}},
	{"how long what is made by an operator lives", mark{define: `(?i)^(check|default|min|max)_?(operator|enroll)_?life$`}, []string{"broker"}},
	{"how many signing keys a pool has", mark{define: `(?i)^max_?signing_?keys$`}, []string{"broker"}},
	{"which signing keys a pool may have", mark{call: `^broker\.CheckSigningKeys$`}, []string{"broker/boltstore"}},
	{"how much one call of a store gives", mark{define: `(?i)^check_?limit$`}, []string{"broker"}},
	{"how a custom challenge is named", mark{define: `(?i)^(valid_?(challenge_?)?name|max_?challenge_?name)$`}, []string{"broker"}},
	{"whom to believe about where a connection comes from", mark{imports: `^github\.com/pires/go-proxyproto`}, []string{"broker/balancer"}},
	{"whom to believe about where a connection comes from", mark{text: `(?i)^(x-forwarded-for|forwarded)$`}, []string{"broker/balancer"}},
	{"what is told of a TLS connection alone (RFC 9266, RFC 9431)", mark{call: `\.ExportKeyingMaterial$`}, []string{"protocol/channel"}},
	{"how MQTT packets are read", mark{define: `^(ReadHeader|ParseConnect)$`}, []string{"broker/mqttd/packet"}},
	{"how a file takes the place of another", mark{call: `^os\.Rename$`}, []string{"broker/durable", "broker/backup", "agent/keyfile", "certs"}}, // backup: what was restored moves in; certs: folders
	{"what lies on the broker's disk", mark{imports: `^go\.etcd\.io/bbolt`}, []string{"broker/boltstore"}},
	{"how often each of many may do something", mark{imports: `^golang\.org/x/time/rate$`}, []string{"broker/budget", "broker/mqttd"}}, // mqttd: one rate for all that it hangs up on
	{"who may issue certificates", mark{imports: `^github\.com/smallstep/certificates`}, []string{"certs"}},
}

// A mark is what a statement of a rule cannot do without: one of these, a regular
// expression. A call is written as in the source, x.F as .F where x is no package.
type mark struct{ imports, call, define, field, text string }

// A sought is a mark, compiled.
type sought struct{ imports, call, define, field, text *regexp.Regexp }

func (m mark) compile() sought {
	c := func(s string) *regexp.Regexp {
		if s == "" {
			return regexp.MustCompile(`$.^`) // fits nothing
		}
		return regexp.MustCompile(s)
	}
	return sought{c(m.imports), c(m.call), c(m.define), c(m.field), c(m.text)}
}

// TestOneHome: what is strict in one place must not be lax in another. Tests and what
// is for tests may state a rule again: that is what they are for.
func TestOneHome(t *testing.T) {
	found, marks := make([]map[string]bool, len(homes)), make([]sought, len(homes))
	for i, h := range homes {
		found[i], marks[i] = map[string]bool{}, h.marks.compile()
	}
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if e != nil && e.IsDir() && path != ".." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || e.Name() == "bin") {
				return filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		folder, err := filepath.Rel("..", filepath.Dir(path))
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for i := range homes {
			if marks[i].in(file) {
				found[i][filepath.ToSlash(folder)] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range homes {
		for folder := range found[i] {
			if !slices.Contains(h.homes, folder) && !forTests(folder) {
				t.Errorf("%s states a rule of its own: %s. Its home is %s", folder, h.rule, strings.Join(h.homes, ", "))
			}
		}
		for _, home := range h.homes {
			if !found[i][home] {
				t.Errorf("%s is not stated in %s any more: let its row here say where it is", h.rule, home)
			}
		}
	}
}

// forTests tells folders whose code only tests use.
func forTests(folder string) bool {
	return strings.HasSuffix(folder, "test") || strings.HasPrefix(folder, "test/")
}

// in reports whether the file has the mark.
func (m *sought) in(file *ast.File) (found bool) {
	for _, i := range file.Imports {
		found = found || m.imports.MatchString(strings.Trim(i.Path.Value, `"`))
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			found = found || m.call.MatchString(called(n.Fun))
		case *ast.FuncDecl:
			found = found || m.define.MatchString(n.Name.Name)
		case *ast.TypeSpec:
			found = found || m.define.MatchString(n.Name.Name)
		case *ast.ValueSpec:
			for _, name := range n.Names {
				found = found || m.define.MatchString(name.Name)
			}
		case *ast.SelectorExpr:
			found = found || m.field.MatchString(n.Sel.Name)
		case *ast.KeyValueExpr:
			id, ok := n.Key.(*ast.Ident)
			found = found || ok && m.field.MatchString(id.Name)
		case *ast.BasicLit:
			found = found || n.Kind == token.STRING && m.text.MatchString(strings.Trim(n.Value, "\"`"))
		}
		return !found
	})
	return found
}

// called writes the function of a call.
func called(fun ast.Expr) string {
	switch f := fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok && x.Obj == nil {
			return x.Name + "." + f.Sel.Name
		}
		return "." + f.Sel.Name
	}
	return ""
}

// TestMarks: a mark finds what it is for, and nothing like it.
func TestMarks(t *testing.T) {
	const source = `package p
import "crypto/hpke"
type Statement struct{}
func (s *session) over(d *device) bool { return s.Rev < d.SessionsRev || topic.Own(d) == nil || s.Ended(d) }
const up = "signet/v1/x/rq"
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mark mark
		want bool
	}{
		{mark{imports: `^crypto/hpke$`}, true}, {mark{imports: `^crypto/hp$`}, false}, {mark{define: `^Statement$`}, true}, {mark{define: `^session$`}, false},
		{mark{field: `^SessionsRev$`}, true}, {mark{field: `^Rev$`}, true}, {mark{field: `^SessionsAfter$`}, false},
		{mark{call: `^topic\.Own$`}, true}, {mark{call: `^other\.Own$`}, false}, {mark{call: `Ended$`}, true}, {mark{text: `^signet/v1`}, true}, {mark{text: `^anon-$`}, false},
	} {
		sought := c.mark.compile()
		if got := sought.in(file); got != c.want {
			t.Errorf("%+v: %v", c.mark, got)
		}
	}
}

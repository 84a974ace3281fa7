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
	{"whose log a line goes to, and in which form", mark{call: `^slog\.(Default|SetDefault|Debug|Info|Warn|Error|Log)(Context)?$`}, nil},
	{"who may issue certificates", mark{imports: `^github\.com/smallstep/certificates`}, []string{"certs"}},
}

// A mark is what a statement of a rule cannot do without: one of these, a regular
// expression. A call is written as in the source, x.F as .F where x is no package.
type mark struct{ imports, call, define, field, text string }

// A source is what marks look at, each kind without what is written again.
type source struct{ imports, calls, defines, fields, texts map[string]bool }

func newSource() source {
	return source{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
}

// TestOneHome: what is strict in one place must not be lax in another. Tests and what
// is for tests may state a rule again: that is what they are for.
func TestOneHome(t *testing.T) {
	sources := map[string]source{}
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
		folder = filepath.ToSlash(folder)
		if _, known := sources[folder]; !known {
			sources[folder] = newSource()
		}
		sources[folder].add(file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range homes {
		for folder, src := range sources {
			if !slices.Contains(h.homes, folder) && !forTests(folder) && h.marks.in(src) {
				t.Errorf("%s states a rule of its own: %s. Its home is %s", folder, h.rule, strings.Join(h.homes, ", "))
			}
		}
		for _, home := range h.homes {
			if !h.marks.in(sources[home]) {
				t.Errorf("%s is not stated in %s any more: let its row here say where it is", h.rule, home)
			}
		}
	}
}

// forTests tells folders whose code only tests use.
func forTests(folder string) bool {
	return strings.HasSuffix(folder, "test") || strings.HasPrefix(folder, "test/")
}

// add looks at a file.
func (s source) add(file *ast.File) {
	for _, i := range file.Imports {
		s.imports[strings.Trim(i.Path.Value, `"`)] = true
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			s.calls[called(n.Fun)] = true
		case *ast.FuncDecl:
			s.defines[n.Name.Name] = true
		case *ast.TypeSpec:
			s.defines[n.Name.Name] = true
		case *ast.ValueSpec:
			for _, name := range n.Names {
				s.defines[name.Name] = true
			}
		case *ast.SelectorExpr:
			s.fields[n.Sel.Name] = true
		case *ast.KeyValueExpr:
			if id, ok := n.Key.(*ast.Ident); ok {
				s.fields[id.Name] = true
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				s.texts[strings.Trim(n.Value, "\"`")] = true
			}
		}
		return true
	})
}

// in reports whether the source has the mark.
func (m mark) in(s source) bool {
	has := func(expression string, of map[string]bool) bool {
		if expression == "" {
			return false
		}
		r := regexp.MustCompile(expression)
		for text := range of {
			if r.MatchString(text) {
				return true
			}
		}
		return false
	}
	return has(m.imports, s.imports) || has(m.call, s.calls) || has(m.define, s.defines) || has(m.field, s.fields) || has(m.text, s.texts)
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
	const text = `package p
import "crypto/hpke"
type Statement struct{}
func (s *session) over(d *device) bool { return s.Rev < d.SessionsRev || topic.Own(d) == nil || s.Ended(d) }
const up = "signet/v1/x/rq"
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	src := newSource()
	src.add(file)
	for _, c := range []struct {
		mark mark
		want bool
	}{
		{mark{imports: `^crypto/hpke$`}, true}, {mark{imports: `^crypto/hp$`}, false}, {mark{define: `^Statement$`}, true}, {mark{define: `^session$`}, false},
		{mark{field: `^SessionsRev$`}, true}, {mark{field: `^Rev$`}, true}, {mark{field: `^SessionsAfter$`}, false},
		{mark{call: `^topic\.Own$`}, true}, {mark{call: `^other\.Own$`}, false}, {mark{call: `Ended$`}, true}, {mark{text: `^signet/v1`}, true}, {mark{text: `^anon-$`}, false},
	} {
		if got := c.mark.in(src); got != c.want {
			t.Errorf("%+v: %v", c.mark, got)
		}
	}
}

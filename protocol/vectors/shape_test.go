package vectors_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol"
)

// A member is one key of a message's map, by its Go struct.
type member struct {
	key      int64
	name     string
	optional bool
	of       reflect.Type
}

// membersOf reads the struct tags of v, embedded structs included.
func membersOf(v reflect.Type) []member {
	var out []member
	for f := range v.Fields() {
		if f.Anonymous {
			out = append(out, membersOf(f.Type)...)
			continue
		}
		tag := f.Tag.Get("cbor")
		number, rest, _ := strings.Cut(tag, ",")
		if !f.IsExported() || !strings.Contains(rest, "keyasint") {
			continue
		}
		key, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			continue
		}
		out = append(out, member{key, snake(f.Name), strings.Contains(rest, "omitempty"), f.Type})
	}
	return out
}

var capital = regexp.MustCompile(`([a-z])([A-Z])`)

// snake writes a Go name as the vectors do; of the message's head in plain words.
func snake(s string) string {
	switch s {
	case "Kind":
		return "type"
	case "ID":
		return "id"
	}
	return strings.ToLower(capital.ReplaceAllString(s, "${1}_${2}"))
}

// shapes are the CDDL's rules and the structs that carry them out.
func shapes() map[string]reflect.Type {
	return map[string]reflect.Type{
		"start": reflect.TypeFor[protocol.Start](), "enrol": reflect.TypeFor[protocol.Enrol](), "challenge": reflect.TypeFor[protocol.Challenge](),
		"challenge-body": reflect.TypeFor[protocol.ChallengeBody](), "answer": reflect.TypeFor[protocol.Answer](),
		"refresh": reflect.TypeFor[protocol.Refresh](), "refresh-body": reflect.TypeFor[protocol.RefreshBody](),
		"grant": reflect.TypeFor[protocol.Grant](), "grant-body": reflect.TypeFor[protocol.GrantBody](),
		"refusal": reflect.TypeFor[protocol.Refusal](), "problem": reflect.TypeFor[protocol.Problem](), "event": reflect.TypeFor[protocol.Event](),
	}
}

func types() map[string]protocol.Type {
	return map[string]protocol.Type{
		"start": protocol.TypeStart, "challenge": protocol.TypeChallenge, "answer": protocol.TypeAnswer, "grant": protocol.TypeGrant,
		"refusal": protocol.TypeRefusal, "refresh": protocol.TypeRefresh, "enrol": protocol.TypeEnrol, "event": protocol.TypeEvent,
	}
}

func codes() map[string]protocol.Code {
	return map[string]protocol.Code{
		"internal": protocol.CodeInternal, "malformed": protocol.CodeMalformed, "version": protocol.CodeVersion, "critical": protocol.CodeCritical,
		"denied": protocol.CodeDenied, "wrong-answer": protocol.CodeWrongAnswer, "expired": protocol.CodeExpired, "replayed": protocol.CodeReplayed,
		"disabled": protocol.CodeDisabled, "pending": protocol.CodePending, "busy": protocol.CodeBusy, "too-large": protocol.CodeTooLarge, "exists": protocol.CodeExists,
	}
}

func codeName(c protocol.Code) string {
	for name, code := range codes() {
		if code == c {
			return name
		}
	}
	return ""
}

var (
	comment  = regexp.MustCompile(`;[^\n]*`)
	ruleHead = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*)(?:<t>)?\s*=\s`)
	cddlKey  = regexp.MustCompile(`(\?)?\s*(-?[0-9]+)\s*=>`)
	nested   = regexp.MustCompile(`60001 => \{([^}]*)\}`)
	codeItem = regexp.MustCompile(`([a-z-]+): ([0-9]+)`)
	headUse  = regexp.MustCompile(`head<([0-9]+)>`)
)

// rules cuts the CDDL into its rules.
func rules(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile("../signet.cddl")
	if err != nil {
		t.Fatal(err)
	}
	text := comment.ReplaceAllString(string(raw), "")
	at := ruleHead.FindAllStringSubmatchIndex(text, -1)
	out := make(map[string]string)
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		out[text[m[2]:m[3]]] = text[m[1]:end]
	}
	return out
}

// keysIn gives each key of a rule and whether it may be absent.
func keysIn(rule string) map[int64]bool {
	out := make(map[int64]bool)
	for _, m := range cddlKey.FindAllStringSubmatch(rule, -1) {
		n, err := strconv.ParseInt(m[2], 10, 64)
		if err == nil {
			out[n] = m[1] == "?"
		}
	}
	return out
}

func TestCDDLAndStructsHaveTheSameKeys(t *testing.T) {
	all := rules(t)
	for name, of := range shapes() {
		rule, ok := all[name]
		if !ok {
			t.Errorf("the CDDL has no rule %q", name)
			continue
		}
		detail := nested.FindStringSubmatch(rule)
		want := keysIn(nested.ReplaceAllString(rule, "60001 => x"))
		if strings.Contains(rule, "head<") {
			for k, v := range keysIn(all["head"]) {
				want[k] = v
			}
		}
		if strings.Contains(rule, "call") {
			for k, v := range keysIn(all["call"]) {
				want[k] = v
			}
		}
		if name == "grant" { // a choice: one of two
			want[3], want[4] = true, true
		}
		compareKeys(t, name, want, membersOf(of))
		if name == "problem" {
			compareKeys(t, "problem's detail", keysIn(detail[1]), membersOf(reflect.TypeFor[protocol.ProblemDetail]()))
		}
	}
}

func compareKeys(t *testing.T, name string, want map[int64]bool, got []member) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d keys in the CDDL, %d in the struct", name, len(want), len(got))
	}
	for _, m := range got {
		optional, ok := want[m.key]
		if !ok {
			t.Errorf("%s: key %d (%s) is not in the CDDL", name, m.key, m.name)
		} else if optional != m.optional {
			t.Errorf("%s: key %d (%s): optional is %v in the CDDL, %v in the struct", name, m.key, m.name, optional, m.optional)
		}
	}
}

func TestCDDLNumbersTypesAndCodes(t *testing.T) {
	all := rules(t)
	for name, number := range types() {
		m := headUse.FindStringSubmatch(all[name])
		if m == nil || m[1] != strconv.Itoa(int(number)) {
			t.Errorf("%s: the CDDL says head<%v>, the code %d", name, m, number)
		}
	}
	items := codeItem.FindAllStringSubmatch(all["code"], -1)
	if len(items) != len(codes()) {
		t.Errorf("%d codes in the CDDL, %d in the code", len(items), len(codes()))
	}
	for _, m := range items {
		if c, ok := codes()[m[1]]; !ok || strconv.Itoa(int(c)) != m[2] {
			t.Errorf("code %s is %s in the CDDL, %d in the code", m[1], m[2], c)
		}
	}
	if !slices.Contains(strings.Fields(all["message"]), "event") {
		t.Error("message does not list event")
	}
}

package vectors_test

import (
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
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
		"start": reflect.TypeFor[protocol.Start](), "enroll": reflect.TypeFor[protocol.Enroll](), "challenge": reflect.TypeFor[protocol.Challenge](),
		"challenge-body": reflect.TypeFor[protocol.ChallengeBody](), "answer": reflect.TypeFor[protocol.Answer](),
		"refresh": reflect.TypeFor[protocol.Refresh](), "refresh-body": reflect.TypeFor[protocol.RefreshBody](),
		"grant": reflect.TypeFor[protocol.Grant](), "grant-body": reflect.TypeFor[protocol.GrantBody](), "succession": reflect.TypeFor[protocol.Succession](),
		"refusal": reflect.TypeFor[protocol.Refusal](), "problem": reflect.TypeFor[protocol.Problem](),
		"problem-detail": reflect.TypeFor[protocol.ProblemDetail](), "event": reflect.TypeFor[protocol.Event](),
		"connect-proof": reflect.TypeFor[protocol.ConnectProof](),
	}
}

func types() map[string]protocol.Type {
	return map[string]protocol.Type{
		"start": protocol.TypeStart, "challenge": protocol.TypeChallenge, "answer": protocol.TypeAnswer, "grant": protocol.TypeGrant,
		"refusal": protocol.TypeRefusal, "refresh": protocol.TypeRefresh, "enroll": protocol.TypeEnroll, "event": protocol.TypeEvent,
	}
}

func codes() map[string]protocol.Code {
	return map[string]protocol.Code{
		"internal": protocol.CodeInternal, "malformed": protocol.CodeMalformed, "version": protocol.CodeVersion, "critical": protocol.CodeCritical,
		"denied": protocol.CodeDenied, "wrong-answer": protocol.CodeWrongAnswer, "expired": protocol.CodeExpired, "replayed": protocol.CodeReplayed,
		"disabled": protocol.CodeDisabled, "pending": protocol.CodePending, "busy": protocol.CodeBusy, "too-large": protocol.CodeTooLarge, "exists": protocol.CodeExists,
		"tries": protocol.CodeTries, "flow": protocol.CodeFlow,
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

// ruleKeys gives the keys of a rule's map and whether each may be absent.
func ruleKeys(t *testing.T, m matcher, name string) map[int64]bool {
	t.Helper()
	r := m.rules[name]
	if r == nil || r.typ == nil || (*r.typ)[0].members == nil {
		t.Fatalf("the CDDL has no map %q", name)
	}
	return m.keys((*r.typ)[0].members, nil)
}

func TestCDDLAndStructsHaveTheSameKeys(t *testing.T) {
	m := matcher{rules: readCDDL(t)}
	for name, of := range shapes() {
		compareKeys(t, name, ruleKeys(t, m, name), membersOf(of))
	}
}

// TestCDDLNamesNoKeyTwice: the first of two would hide the second.
func TestCDDLNamesNoKeyTwice(t *testing.T) {
	m := matcher{rules: readCDDL(t)}
	for name, r := range m.rules {
		g := r.group
		if r.typ != nil {
			g = (*r.typ)[0].members
		}
		if g == nil {
			continue
		}
		for _, entries := range *g {
			seen := make(map[int64]bool)
			for _, e := range entries {
				if e.key == nil {
					continue
				}
				if n, ok := m.number(e.key); ok && seen[n] {
					t.Errorf("%s: key %d twice", name, n)
				} else if ok {
					seen[n] = true
				}
			}
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

// TestCDDLNumbers: types of messages, codes of refusals, algorithms, labels of
// claims and types of signed objects have the code's numbers, and no others.
func TestCDDLNumbers(t *testing.T) {
	all := readCDDL(t)
	for name, number := range types() {
		head := (*(*all[name].typ)[0].members)[0][0].value
		if n, _ := (*(*head)[0].args[0])[0].literal.(int64); n != int64(number) {
			t.Errorf("%s: type %d in the CDDL, %d in the code", name, n, number)
		}
	}
	if choices := *all["message"].typ; len(choices) != len(types()) {
		t.Errorf("message is a choice of %d, there are %d", len(choices), len(types()))
	}
	want := make(map[string]int64)
	for name, c := range codes() {
		want[name] = int64(c)
	}
	compareNumbers(t, "code", enumOf(all["code"]), want)
	compareNumbers(t, "alg", enumOf(all["alg"]), map[string]int64{"ES256": int64(token.ES256), "EdDSA": int64(token.EdDSA), "RS256": int64(token.RS256)})
	labels := make(map[string]int64)
	for name, r := range all {
		if r.typ != nil {
			if n, ok := (*r.typ)[0].literal.(int64); ok && n < -65536 {
				labels[name] = n
			}
		}
	}
	compareNumbers(t, "claim", labels, map[string]int64{
		"client-id": token.ClaimClientID, "origin-jti": token.ClaimOriginID, "auth-time": token.ClaimAuthTime, "device": token.ClaimDevice,
		"groups": token.ClaimGroups, "roles": token.ClaimRoles, "acr": token.ClaimACR, "attributes": token.ClaimAttributes,
	})
	objects := make(map[string]int64)
	for _, name := range []string{"access-cwt", "id-cwt", "key-statement", "anchor-succession", "mqtt-cwt"} {
		objects[name], _ = (*(*all[name].typ)[0].args[0])[0].literal.(int64)
	}
	compareNumbers(t, "typ", objects, map[string]int64{"access-cwt": token.TypeAccess, "id-cwt": token.TypeID, "key-statement": token.TypeKeyStatement, "anchor-succession": token.TypeAnchorSuccession, "mqtt-cwt": token.TypeMQTTPassword})
}

func enumOf(r *rule) map[string]int64 {
	out := make(map[string]int64)
	for _, e := range (*(*r.typ)[0].enum)[0] {
		out[e.label], _ = (*e.value)[0].literal.(int64)
	}
	return out
}

func compareNumbers(t *testing.T, what string, cddl, code map[string]int64) {
	t.Helper()
	if d := cmp.Diff(cddl, code); d != "" {
		t.Errorf("%s (-CDDL +code):\n%s", what, d)
	}
}

package interop

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

// issued is where the vectors' clock stands.
const issued = "1790000000"

// TestVectorsInPython checks every vector with code that shares nothing with ours.
func TestVectorsInPython(t *testing.T) {
	setUp(t)
	t.Logf("%s", run(t, "", python, "check_vectors.py", vectorFolder))
}

type verdicts struct {
	Valid, Invalid []verdict
}

type verdict struct {
	Form, Name string
	Accepted   bool
}

// TestTokensInJavaScript: npm's jose and @auth0/cose believe our tokens and no others.
func TestTokensInJavaScript(t *testing.T) {
	dir := npmFolder(t)
	file, err := filepath.Abs(filepath.Join(vectorFolder, "tokens.json"))
	if err != nil {
		t.Fatal(err)
	}
	// @auth0/cose reads neither crit nor where alg stands, and claims are its caller's.
	judge(t, run(t, dir, "node", "verify.mjs", file, issued), "cwt critical header", "cwt alg in the unprotected header", "cwt unknown critical claim")
}

// TestTokensInPython: python3-jwt believes our JWTs, cbor2 with cryptography our CWTs.
func TestTokensInPython(t *testing.T) {
	setUp(t)
	// python3-jwt 2.6 does not read crit.
	judge(t, run(t, "", python, "verify.py", filepath.Join(vectorFolder, "tokens.json"), issued), "jwt critical header", "jwt payload padded")
}

// judge wants all valid tokens accepted and all invalid ones refused, but for
// what a library is known to let pass, of either form at least ten kinds.
func judge(t *testing.T, out []byte, lenient ...string) {
	t.Helper()
	var got verdicts
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	passes := make(map[string]bool)
	for _, name := range lenient {
		passes[name] = true
	}
	accepted, refused := make(map[string]int), make(map[string]int)
	for _, v := range got.Valid {
		accepted[v.Form]++
		if !v.Accepted {
			t.Errorf("%s %s: refused", v.Form, v.Name)
		}
	}
	for _, v := range got.Invalid {
		if !v.Accepted {
			refused[v.Form]++
		} else if !passes[v.Form+" "+v.Name] {
			t.Errorf("%s %s: accepted", v.Form, v.Name)
		}
	}
	t.Logf("accepted %v, kinds of tampered tokens refused %v", accepted, refused)
	for _, form := range []string{"jwt", "cwt"} {
		if accepted[form] < 3 || refused[form] < 10 {
			t.Errorf("%s: %d accepted and %d kinds refused, want at least 3 and 10", form, accepted[form], refused[form])
		}
	}
}

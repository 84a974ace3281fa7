package interop

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/c2sp/wycheproof"
)

// A hostile is one case of Project Wycheproof for the real program.
type hostile struct {
	name, token, key string
	must, mustNot    bool // be accepted
	kinds            []string
}

// TestWycheproofByProgram puts every case of the JWS, JWK and JSON Web Crypto
// collections to signet token verify, as somebody outside would: the key in a
// file, the token on standard input, the verdict in the exit code.
func TestWycheproofByProgram(t *testing.T) {
	program := buildSignet(t)
	var cases []hostile
	for _, file := range []string{"json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"} {
		cases = append(cases, readHostile(t, file)...)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the counts
	codes, kinds := make(map[int]int), make(map[string]int)
	queue := make(chan hostile)
	for range 2 * runtime.NumCPU() {
		wg.Go(func() {
			for c := range queue {
				code := judgeOne(t, program, c)
				mu.Lock()
				codes[code]++
				for _, kind := range c.kinds {
					if c.mustNot {
						kinds[kind]++
					}
				}
				mu.Unlock()
			}
		})
	}
	for _, c := range cases {
		queue <- c
	}
	close(queue)
	wg.Wait()
	t.Logf("exit codes %v; kinds that must be refused %v", codes, kinds)
	if codes[0] < 10 || codes[1] < 430 || codes[2] != 0 {
		t.Errorf("exit codes %v: want at least 10 accepted, 430 refused and none unusable", codes)
	}
	for _, kind := range []string{"AlgIsNone", "ModifiedPadding", "ModifiedSignature", "WrongPrimitive", "JsonSerialization", "MixedKeySet", "Ambiguous", "DuplicateKid", "JsonWebKeyset"} {
		if kinds[kind] == 0 {
			t.Errorf("no case of %s", kind)
		}
	}
}

func buildSignet(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "signet")
	run(t, "../..", "go", "build", "-o", program, "./broker/cmd/signet")
	return program
}

// judgeOne gives the exit code, and fails the test if it is the wrong one.
func judgeOne(t *testing.T, program string, c hostile) int {
	args := []string{"--format", "jws", "--key", c.key}
	if hasClaims(c.token) {
		args = append(args, "--at", "1300000000") // the RFCs' examples have expired
	}
	code, said := verifyBy(t, program, c.token, args...)
	switch {
	case c.must && code != 0, c.mustNot && code != 1, code < 0 || code > 2:
		t.Errorf("%s: exit %d: %s", c.name, code, said)
	case code == 0 && said != "", code == 1 && strings.Count(said, "\n") != 1:
		t.Errorf("%s: exit %d, says %q", c.name, code, said)
	}
	return code
}

// verifyBy runs signet token verify; -1 stands for a program that did not end by itself.
func verifyBy(t *testing.T, program, stdin string, args ...string) (code int, said string) {
	cmd := exec.CommandContext(t.Context(), program, append([]string{"token", "verify"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Error(err)
		return -1, ""
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// TestVectorsByProgram has the real program read tokens.json. It judges any JWS
// and CWT, so what only the reader of one class or issuer refuses, it lets pass.
func TestVectorsByProgram(t *testing.T) {
	program, dir := buildSignet(t), t.TempDir()
	raw, err := os.ReadFile(filepath.Join(vectorFolder, "tokens.json"))
	if err != nil {
		t.Fatal(err)
	}
	type vector struct{ Name, Form, Class, Token string }
	var f struct {
		Audience, JWKS, Anchor string
		COSEKeys               string `json:"cose_keys"`
		Valid, Invalid         []vector
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{"jwt": f.JWKS, "cwt": f.COSEKeys, "keys": f.Anchor}
	for name, text := range keys {
		keys[name] = filepath.Join(dir, name)
		if err := os.WriteFile(keys[name], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(v vector) (int, string) {
		switch {
		case v.Form == "jwt" && v.Class == "id":
			return verifyBy(t, program, v.Token, "--format", "jws", "--key", keys["jwt"], "--aud", "default", "--at", issued)
		case v.Form == "jwt":
			return verifyBy(t, program, v.Token, "--format", "jws", "--key", keys["jwt"], "--aud", f.Audience, "--at", issued)
		case v.Class == "keys", v.Class == "anchor":
			return verifyBy(t, program, v.Token, "--format", "cose", "--key", keys["keys"])
		case v.Class == "id":
			return verifyBy(t, program, v.Token, "--format", "cwt", "--key", keys["cwt"], "--at", issued)
		}
		return verifyBy(t, program, v.Token, "--format", "cwt", "--key", keys["cwt"], "--aud", f.Audience, "--at", issued)
	}
	passes := map[string]bool{
		"jwt typ of an ID token": true, "jwt another issuer": true, "cwt an access token as ID token": true,
		"cwt unknown critical claim": true, "cwt an ID token as key statement": true, "cwt a key statement as succession": true, "cwt a succession as key statement": true,
	}
	refused := make(map[string]int)
	for _, v := range f.Valid {
		if code, said := read(v); code != 0 {
			t.Errorf("%s: exit %d: %s", v.Name, code, said)
		}
	}
	for _, v := range f.Invalid {
		code, said := read(v)
		if want := map[bool]int{true: 0, false: 1}[passes[v.Form+" "+v.Name]]; code != want {
			t.Errorf("%s %s: exit %d, want %d: %s", v.Form, v.Name, code, want, said)
		}
		refused[v.Form] += code
	}
	if refused["jwt"] < 10 || refused["cwt"] < 10 {
		t.Errorf("refused only %v", refused)
	}
	for _, args := range [][]string{{}, {"--format", "jws"}, {"--format", "x", "--key", keys["jwt"]}, {"--format", "jws", "--key", "/nowhere"}, {"--format", "jws", "--key", keys["jwt"], "--at", "noon"}, {"--no-such-flag"}} {
		if code, said := verifyBy(t, program, "x", args...); code != 2 || said == "" {
			t.Errorf("%v: exit %d %q, want 2 and why", args, code, said)
		}
	}
}

func hasClaims(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	return err == nil && strings.HasPrefix(string(payload), "{")
}

func readHostile(t *testing.T, name string) []hostile {
	t.Helper()
	raw, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		TestGroups []struct {
			Public, Private json.RawMessage
			Tests           []struct {
				TcID            int
				Comment, Result string
				Flags           []string
				JWS, JWE        json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	var out []hostile
	dir := t.TempDir()
	for i, g := range f.TestGroups {
		key := g.Public
		if key == nil {
			key = g.Private
		}
		path := filepath.Join(dir, fmt.Sprintf("%d.jwk", i))
		if err := os.WriteFile(path, key, 0o600); err != nil {
			t.Fatal(err)
		}
		ours := strings.Contains(string(key), `"ES256"`) || strings.Contains(string(key), `"RS256"`)
		for _, c := range g.Tests {
			text := c.JWS
			if text == nil {
				text = c.JWE // never to be accepted: nothing here decrypts
			}
			h := hostile{name: fmt.Sprintf("%s %d (%s)", name, c.TcID, c.Comment), token: string(text), key: path, kinds: c.Flags}
			var s string
			if json.Unmarshal(text, &s) == nil {
				h.token = s
			}
			h.must = c.Result == "valid" && ours && c.JWS != nil
			h.mustNot = c.Result == "invalid" || c.JWS == nil
			out = append(out, h)
		}
	}
	return out
}

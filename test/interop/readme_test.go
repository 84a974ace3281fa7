package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/token"
)

// TestREADMEInJavaScript runs the README's JavaScript as it stands there, but for the issuer, on a
// token for it and on one for another audience, at a server whose root the system does not know,
// with the variable that docs/backends.md names.
func TestREADMEInJavaScript(t *testing.T) {
	block := codeBlock(t, "../../README.md", "js")
	k := newKeyServer(t)
	dir := npmFolder(t)
	for audience, want := range map[string]string{"demo": "accepted lamp-1", "other": "refused ERR_JWT_CLAIM_VALIDATION_FAILED"} {
		jwt := k.token(t, token.Access, func(c *token.Claims) { c.Audience = audience })
		script := fmt.Sprintf("const jwt = %q\n", jwt) +
			strings.Replace(strings.ReplaceAll(block, "https://signet.example/pools/demo", k.issuer), "const jwks", "try {\nconst jwks", 1) +
			"console.log('accepted', payload['signet:device'])\n} catch (e) { console.log('refused', e.code ?? e) }\n"
		file := filepath.Join(dir, "readme.mjs")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(run(t, dir, "env", "NODE_EXTRA_CA_CERTS="+k.root, "node", file))); got != want {
			t.Errorf("audience %s: %q, want %q", audience, got, want)
		}
	}
}

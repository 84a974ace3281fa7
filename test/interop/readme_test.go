package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

// TestREADMEInJavaScript runs the README's JavaScript as it stands there, on a
// token for it and on one for another audience.
func TestREADMEInJavaScript(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```js\n")
	block, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("README.md has no JavaScript")
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.NewKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := npmFolder(t)
	for audience, want := range map[string]string{"demo": "accepted lamp-1", "other": "refused ERR_JWT_CLAIM_VALIDATION_FAILED"} {
		jwt := mint(t, signer, key, audience)
		// fetch gives the key set instead of the network.
		script := fmt.Sprintf("globalThis.fetch = async () => new Response(%q, { headers: { 'content-type': 'application/json' } })\nconst jwt = %q\n", token.MarshalJWKS([]*token.Key{key}), jwt) +
			strings.Replace(block, "const jwks", "try {\nconst jwks", 1) +
			"console.log('accepted', payload['signet:device'])\n} catch (e) { console.log('refused', e.code ?? e) }\n"
		file := filepath.Join(dir, "readme.mjs")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(run(t, dir, "node", file))); got != want {
			t.Errorf("audience %s: %q, want %q", audience, got, want)
		}
	}
}

func mint(t *testing.T, s *token.Signer, key *token.Key, audience string) string {
	t.Helper()
	device := identtest.Device(t, "demo:lamp-1")
	now := time.Now()
	jwt, err := token.SignJWT(token.Access, &token.Claims{
		Issuer: "https://signet.example/pools/demo", Subject: ident.UUID{1}, Audience: audience, Device: device, ClientID: "default",
		IssuedAt: now, NotBefore: now, Expires: now.Add(time.Hour), ID: []byte("12345678"), Confirmation: token.Confirm(key),
	}, s)
	if err != nil {
		t.Fatal(err)
	}
	return jwt
}

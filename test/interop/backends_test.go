package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

// A keyServer serves a pool's keys over HTTPS by a root of its own, as signetd does, and
// signs tokens.
type keyServer struct {
	issuer, root string // the root's file
	signer       *token.Signer
	key          *token.Key
	fetches      int
}

func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k := &keyServer{}
	if k.signer, err = token.NewSigner(private); err != nil {
		t.Fatal(err)
	}
	if k.key, err = token.NewKey(&private.PublicKey); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/pools/demo/.well-known/jwks.json" {
			http.NotFound(w, r)
			return
		}
		k.fetches++
		_, _ = w.Write(token.MarshalJWKS([]*token.Key{k.key}))
	}))
	t.Cleanup(s.Close)
	k.issuer = s.URL + "/pools/demo"
	k.root = filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(k.root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

// token signs one of a class, changed by edit.
func (k *keyServer) token(t *testing.T, class token.Class, edit func(*token.Claims)) string {
	t.Helper()
	now := time.Now()
	c := &token.Claims{
		Issuer: k.issuer, Subject: ident.UUID{1}, Audience: "demo", Device: identtest.Device(t, "demo:lamp-1"), ClientID: "default",
		IssuedAt: now, Expires: now.Add(time.Hour), ID: []byte("12345678"),
	}
	if class == token.Access {
		c.Confirmation = token.Confirm(k.key)
	} else {
		c.Nonce = []byte("0123456789abcdef")
	}
	edit(c)
	jwt, err := token.SignJWT(class, c, k.signer)
	if err != nil {
		t.Fatal(err)
	}
	return jwt
}

// codeBlock gives the first code block of a document in a language.
func codeBlock(t *testing.T, file, language string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```"+language+"\n")
	block, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatalf("%s has no block of %s", file, language)
	}
	return block
}

// TestBackendsInPython runs docs/backends.md's Python as it stands there, but for the
// issuer's and the root's place, at a server whose root the system does not know.
func TestBackendsInPython(t *testing.T) {
	setUp(t)
	block := codeBlock(t, "../../docs/backends.md", "python")
	k := newKeyServer(t)
	other := newKeyServer(t)
	script := strings.Replace(strings.Replace(block, "https://signet.example:8443/pools/demo", k.issuer, 1), "root.pem", k.root, 1)
	script += "\nimport sys\nfor t in sys.argv[1:]:\n    try:\n        print('accepted', device(t))\n    except jwt.InvalidTokenError as e:\n        print('refused', type(e).__name__)\n"
	none := func(*token.Claims) {}
	tokens := []string{
		k.token(t, token.Access, none),
		k.token(t, token.Access, func(c *token.Claims) { c.Audience = "other" }),
		k.token(t, token.Access, func(c *token.Claims) { c.Issuer = other.issuer }),
		k.token(t, token.Access, func(c *token.Claims) {
			c.IssuedAt, c.Expires = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}),
		k.token(t, token.Access, func(c *token.Claims) { c.IssuedAt = time.Now().Add(30 * time.Second) }), // its clock is behind
		k.token(t, token.ID, func(c *token.Claims) { c.Audience = "demo" }),
		other.token(t, token.Access, func(c *token.Claims) { c.Issuer = k.issuer }),
	}
	want := "accepted lamp-1\nrefused InvalidAudienceError\nrefused InvalidIssuerError\nrefused ExpiredSignatureError\naccepted lamp-1\nrefused InvalidTokenError\nrefused InvalidTokenError\n"
	got := run(t, t.TempDir(), "/usr/bin/python3", append([]string{"-c", script}, tokens...)...)
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if k.fetches != 1 {
		t.Errorf("%d fetches of the keys, want one: an unknown key brings another only after a minute", k.fetches)
	}
}

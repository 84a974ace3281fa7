package verify_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

const issuer = "https://signet.example/pools/demo"

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newSigner(t testing.TB, alg token.Alg) *token.Signer {
	t.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case token.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case token.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func someClaims(t testing.TB) token.Claims {
	d := identtest.Device(t, "demo:sensor-1")
	return token.Claims{
		Issuer: issuer, Subject: ident.UUID{1}, Audience: "demo", Expires: noon.Add(time.Hour), IssuedAt: noon,
		ID: []byte("12345678"), Confirmation: token.Confirm(newSigner(t, token.EdDSA).Key()), Device: d, Nonce: []byte("12345678"),
	}
}

// newVerifier is for noon and the audience demo.
func newVerifier(t testing.TB, change func(*verify.Config), keys ...*token.Key) *verify.Verifier {
	t.Helper()
	set, err := verify.NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	c := verify.Config{
		Issuer: issuer, Audience: "demo", Keys: set, Now: func() time.Time { return noon },
		Algorithms: []token.Alg{token.ES256, token.EdDSA},
	}
	if change != nil {
		change(&c)
	}
	v, err := verify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// forms signs the claims in each form that Verify reads.
func forms(t testing.TB, class token.Class, c *token.Claims, s *token.Signer) map[string][]byte {
	t.Helper()
	jwt, err := token.SignJWT(class, c, s)
	if err != nil {
		t.Fatal(err)
	}
	cwt, err := token.SignCWT(class, c, s)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{"JWT": []byte(jwt), "CWT": cwt, "CWT in base64url": []byte(base64.RawURLEncoding.EncodeToString(cwt))}
	if class == token.Access {
		if out["compact CWT"], err = token.SignCWT(class, c.Compact(), s); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestVerify(t *testing.T) {
	s := newSigner(t, token.ES256)
	v := newVerifier(t, nil, s.Key())
	c := someClaims(t)
	for name, raw := range forms(t, token.Access, &c, s) {
		got, err := v.Verify(t.Context(), raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Subject != c.Subject || got.Issuer != issuer {
			t.Errorf("%s: %+v", name, got)
		}
		if _, err := v.VerifyID(t.Context(), raw); !errors.Is(err, verify.ErrType) {
			t.Errorf("%s as ID token: %v, want ErrType", name, err)
		}
	}
	for name, raw := range forms(t, token.ID, &c, s) {
		if _, err := v.VerifyID(t.Context(), raw); err != nil {
			t.Errorf("ID %s: %v", name, err)
		}
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, verify.ErrType) {
			t.Errorf("ID %s as access token: %v, want ErrType", name, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	s := newSigner(t, token.ES256)
	for _, tt := range []struct {
		name   string
		claims func(*token.Claims)
		config func(*verify.Config)
		want   error
	}{
		{"in date by leeway", func(c *token.Claims) { c.Expires = noon.Add(-59 * time.Second) }, nil, nil},
		{"expired", func(c *token.Claims) { c.Expires = noon.Add(-60 * time.Second) }, nil, verify.ErrExpired},
		{"expired, no leeway", func(c *token.Claims) { c.Expires = noon }, func(c *verify.Config) { c.Leeway = -1 }, verify.ErrExpired},
		{"issued in leeway", func(c *token.Claims) { c.IssuedAt = noon.Add(60 * time.Second) }, nil, nil},
		{"issued later", func(c *token.Claims) { c.IssuedAt = noon.Add(61 * time.Second) }, nil, verify.ErrNotYetValid},
		{"not before", func(c *token.Claims) { c.NotBefore = noon.Add(61 * time.Second) }, nil, verify.ErrNotYetValid},
		{"audience", func(c *token.Claims) { c.Audience = "other" }, nil, verify.ErrAudience},
		{"audience's prefix", func(c *token.Claims) { c.Audience = "dem" }, nil, verify.ErrAudience},
		{"issuer", func(c *token.Claims) { c.Issuer = issuer + "/" }, nil, verify.ErrIssuer},
		{"algorithm", nil, func(c *verify.Config) { c.Algorithms = []token.Alg{token.EdDSA} }, verify.ErrAlgorithm},
		{"keys", nil, func(c *verify.Config) { c.Keys = new(verify.KeySet) }, verify.ErrUnknownKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := someClaims(t)
			if tt.claims != nil {
				tt.claims(&c)
			}
			v := newVerifier(t, tt.config, s.Key())
			all := forms(t, token.Access, &c, s)
			delete(all, "compact CWT") // has neither issuer nor times
			for name, raw := range all {
				if _, err := v.Verify(t.Context(), raw); !errors.Is(err, tt.want) {
					t.Errorf("%s: %v, want %v", name, err, tt.want)
				}
			}
		})
	}
}

func TestVerifyMalformed(t *testing.T) {
	v := newVerifier(t, nil)
	for _, raw := range []string{"", "x", "..", "a.b", "0oRDoQEmoPZA", "\xd2", "0oRD\noQEm", "null", strings.Repeat("A", 1<<20)} {
		if _, err := v.Verify(t.Context(), []byte(raw)); !errors.Is(err, verify.ErrMalformed) {
			t.Errorf("%.20q: %v, want ErrMalformed", raw, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*verify.Config){
		"issuer":     func(c *verify.Config) { c.Issuer = "" },
		"audience":   func(c *verify.Config) { c.Audience = "" },
		"algorithms": func(c *verify.Config) { c.Algorithms = nil },
		"keys":       func(c *verify.Config) { c.Keys = nil },
		"HMAC":       func(c *verify.Config) { c.Algorithms = []token.Alg{token.HMAC256} },
	} {
		c := verify.Config{Issuer: issuer, Audience: "demo", Algorithms: []token.Alg{token.ES256}, Keys: new(verify.KeySet)}
		change(&c)
		if _, err := verify.New(c); err == nil {
			t.Errorf("without %s: no error", name)
		}
	}
}

// A brokenSource has no keys and no excuse that a token could be blamed for.
type brokenSource struct{}

func (brokenSource) Key(context.Context, []byte) (*token.Key, error) {
	return nil, errors.New("issuer is out of reach")
}

func TestMiddleware(t *testing.T) {
	s := newSigner(t, token.EdDSA)
	c := someClaims(t)
	late := c
	late.Expires = noon.Add(-time.Hour)
	good, expired := string(forms(t, token.Access, &c, s)["JWT"]), string(forms(t, token.Access, &late, s)["JWT"])
	cwt := string(forms(t, token.Access, &c, s)["CWT in base64url"])
	for _, tt := range []struct {
		name      string
		auth      []string
		config    func(*verify.Config)
		status    int
		challenge string
	}{
		{"good", []string{"Bearer " + good}, nil, 200, ""},
		{"CWT", []string{"bearer " + cwt}, nil, 200, ""},
		{"none", nil, nil, 401, "Bearer"},
		{"basic", []string{"Basic eDp5"}, nil, 401, "Bearer"},
		{"empty", []string{"Bearer "}, nil, 400, `Bearer error="invalid_request"`},
		{"bare", []string{"Bearer"}, nil, 400, `Bearer error="invalid_request"`},
		{"two tokens", []string{"Bearer " + good + " x"}, nil, 400, `Bearer error="invalid_request"`},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, nil, 400, `Bearer error="invalid_request"`},
		{"expired", []string{"Bearer " + expired}, nil, 401, `Bearer error="invalid_token"`},
		{"forged", []string{"Bearer " + good[:len(good)-8] + "AAAAAAAA"}, nil, 401, `Bearer error="invalid_token"`},
		{"no keys", []string{"Bearer " + good}, func(c *verify.Config) { c.Keys = brokenSource{} }, 503, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := verify.Middleware(newVerifier(t, tt.config, s.Key()))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				claims, ok := verify.FromContext(r.Context())
				fmt.Fprint(w, ok && claims.Subject == c.Subject)
			}))
			r := httptest.NewRequest("GET", "/", nil)
			r.Header["Authorization"] = tt.auth
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status || w.Header().Get("WWW-Authenticate") != tt.challenge {
				t.Errorf("%d %q, want %d %q", w.Code, w.Header().Get("WWW-Authenticate"), tt.status, tt.challenge)
			}
			if w.Code == 200 && w.Body.String() != "true" {
				t.Error("the handler has no claims")
			}
		})
	}
	if _, ok := verify.FromContext(t.Context()); ok {
		t.Error("claims from nowhere")
	}
}

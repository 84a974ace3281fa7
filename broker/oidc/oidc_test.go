package oidc_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/broker/oidc"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

const (
	base      = "/pools/demo/.well-known/"
	discovery = base + "openid-configuration"
	jwks      = base + "jwks.json"
	coseKeys  = base + "cose-keys"
)

func pool(t *testing.T, s string) ident.Pool {
	t.Helper()
	return identtest.Pool(t, s)
}

// world has pools demo and other.
func world(t *testing.T) (*controltest.World, http.Handler) {
	t.Helper()
	w := controltest.New(t)
	for _, name := range []string{"demo", "other"} {
		if _, err := w.CreatePool(t.Context(), broker.By{Actor: broker.ActorLocal}, pool(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	return w, oidc.Handler(keyring.New(w.Store, w.Sealer, nil))
}

func get(h http.Handler, method, path string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCaching: every document may be kept for KeySetLife, and is asked for again by its ETag.
func TestCaching(t *testing.T) {
	w, h := world(t)
	types := map[string]string{discovery: "application/json", jwks: "application/jwk-set+json", coseKeys: "application/cose-key-set"}
	tags := make(map[string]string)
	for path, contentType := range types {
		r := get(h, http.MethodGet, path)
		tags[path] = r.Header.Get("ETag")
		want := map[string]string{"Content-Type": contentType, "Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff"}
		for k, v := range want {
			if got := r.Header.Get(k); got != v {
				t.Errorf("%s: %s is %q, want %q", path, k, got, v)
			}
		}
		if whole := body(t, r); r.StatusCode != http.StatusOK || whole == "" || len(tags[path]) < 10 {
			t.Fatalf("%s: status %d, ETag %q", path, r.StatusCode, tags[path])
		}
		head := get(h, http.MethodHead, path)
		if diff := cmp.Diff(r.Header, head.Header); head.StatusCode != http.StatusOK || diff != "" || body(t, head) != "" {
			t.Errorf("HEAD %s: status %d (-GET +HEAD):\n%s", path, head.StatusCode, diff)
		}
		for _, match := range []string{tags[path], `"x", ` + tags[path], "W/" + tags[path], "*"} {
			if r := get(h, http.MethodGet, path, "If-None-Match", match); r.StatusCode != http.StatusNotModified || body(t, r) != "" || r.Header.Get("ETag") != tags[path] {
				t.Errorf("%s with If-None-Match %s: status %d", path, match, r.StatusCode)
			}
		}
		if r := get(h, http.MethodGet, path, "If-None-Match", `"other"`); r.StatusCode != http.StatusOK {
			t.Errorf("%s with another ETag: status %d", path, r.StatusCode)
		}
		if r := get(h, http.MethodPost, path); r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: status %d", path, r.StatusCode)
		}
	}
	if _, err := w.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, pool(t, "demo"), token.EdDSA, false); err != nil {
		t.Fatal(err)
	}
	w.Clock.Advance(time.Second)
	for path := range types {
		if r := get(h, http.MethodGet, path, "If-None-Match", tags[path]); r.StatusCode != http.StatusOK {
			t.Errorf("%s after a key was announced: status %d", path, r.StatusCode)
		}
	}
}

type brokenRings struct{}

func (brokenRings) Ring(context.Context, ident.Pool) (*keyring.Ring, error) {
	return nil, errors.New("disk on fire at /var/lib")
}

// TestProblems: a pool that isn't there, or could not be, is a 404 that nobody
// keeps; a failure is a 503 that says nothing of its cause.
func TestProblems(t *testing.T) {
	_, h := world(t)
	for _, c := range []struct {
		h      http.Handler
		path   string
		status int
	}{
		{h, "/pools/nobody/.well-known/jwks.json", http.StatusNotFound},
		{h, "/pools/NOT%20A%20POOL/.well-known/jwks.json", http.StatusNotFound},
		{h, "/pools/nobody/.well-known/openid-configuration", http.StatusNotFound},
		{h, "/pools/%2e%2e/.well-known/cose-keys", http.StatusNotFound},
		{oidc.Handler(brokenRings{}), jwks, http.StatusServiceUnavailable},
	} {
		r := get(c.h, http.MethodGet, c.path)
		var p struct {
			Title, Detail string
			Status        int
		}
		text := body(t, r)
		err := json.Unmarshal([]byte(text), &p)
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if r.StatusCode != c.status || err != nil || p.Status != c.status || p.Title == "" || p.Detail == "" || kind != "application/problem+json" {
			t.Errorf("%s: status %d, %s: %s", c.path, r.StatusCode, kind, text)
		}
		if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("ETag") != "" || strings.Contains(text, "fire") {
			t.Errorf("%s: %v %s", c.path, r.Header, text)
		}
	}
	if a, b := body(t, get(h, http.MethodGet, "/pools/nobody/.well-known/jwks.json")), body(t, get(h, http.MethodGet, "/pools/A/.well-known/jwks.json")); a != b {
		t.Errorf("no such pool in two ways: %s and %s", a, b)
	}
}

// TestDiscovery: what backends look for (OpenID Connect Discovery 1.0, 3 and 4.3).
func TestDiscovery(t *testing.T) {
	w, h := world(t)
	if _, err := w.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, pool(t, "demo"), token.RS256, false); err != nil {
		t.Fatal(err)
	}
	p, err := w.Pool(t.Context(), pool(t, "demo"))
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal([]byte(body(t, get(h, http.MethodGet, discovery))), &d); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"issuer": p.Issuer, "jwks_uri": p.Issuer + "/.well-known/jwks.json", "signet_cose_keys_uri": p.Issuer + "/.well-known/cose-keys"} {
		if d[k] != v {
			t.Errorf("%s is %v, want %s", k, d[k], v)
		}
	}
	algs, _ := d["id_token_signing_alg_values_supported"].([]any)
	slices.SortFunc(algs, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	if diff := cmp.Diff([]any{"ES256", "RS256"}, algs); diff != "" {
		t.Errorf("algorithms (-want +got):\n%s", diff)
	}
	for _, k := range []string{"response_types_supported", "subject_types_supported"} {
		if list, _ := d[k].([]any); len(list) == 0 {
			t.Errorf("%s is missing", k)
		}
	}
	claims, _ := d["claims_supported"].([]any)
	for _, c := range []string{"iss", "sub", "aud", "exp", "iat", "jti", "cnf"} {
		if !slices.Contains(claims, any(c)) {
			t.Errorf("claims_supported has no %s: %v", c, claims)
		}
	}
}

// TestKeySets: both sets hold the pool's own keys in every phase, public halves only.
func TestKeySets(t *testing.T) {
	w, h := world(t)
	demo := pool(t, "demo")
	for _, alg := range []token.Alg{token.EdDSA, token.RS256} {
		if _, err := w.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, demo, alg, alg == token.EdDSA); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := w.ListKeys(t.Context(), demo)
	if err != nil {
		t.Fatal(err)
	}
	phases := make(map[broker.KeyState]bool)
	var ids []string
	for _, k := range keys {
		phases[k.State] = true
		ids = append(ids, k.ID)
	}
	if len(phases) != 3 {
		t.Fatalf("phases %v", phases)
	}
	text := body(t, get(h, http.MethodGet, jwks))
	for _, member := range []string{`"d"`, `"p"`, `"q"`, `"dp"`, `"dq"`, `"qi"`, `"k"`, `"x5u"`, `"x5c"`} {
		if strings.Contains(text, member) {
			t.Errorf("the JWK set has a member %s", member)
		}
	}
	own, err := verify.ParseJWKS([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	cose, err := verify.ParseCOSEKeySet([]byte(body(t, get(h, http.MethodGet, coseKeys))))
	if err != nil {
		t.Fatal(err)
	}
	var theirs jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(text), &theirs); err != nil {
		t.Fatal(err)
	}
	if len(theirs.Keys) != len(ids) {
		t.Errorf("%d keys in the set, %d in the pool", len(theirs.Keys), len(ids))
	}
	for _, id := range ids {
		k, err := own.Key(t.Context(), []byte(id))
		if err != nil {
			t.Fatalf("key %s: %v", id, err)
		}
		if c, err := cose.Key(t.Context(), k.COSEKID()); err != nil || !c.Equal(k) {
			t.Errorf("COSE key %x: %v", k.COSEKID(), err)
		}
		if j := theirs.Key(id); len(j) != 1 || !j[0].IsPublic() || !j[0].Valid() || j[0].Use != "sig" || j[0].Algorithm != k.Alg().String() {
			t.Errorf("another library reads key %s as %+v", id, j)
		}
	}
	if other := body(t, get(h, http.MethodGet, "/pools/other/.well-known/jwks.json")); slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(other, id) }) {
		t.Error("a pool publishes another's keys")
	}
}

package verify_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/signetd/signet/protocol/strictjson"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

// FuzzVerify: only tokens that were signed are accepted, by call and by header,
// and every refusal says of which kind it is.
func FuzzVerify(f *testing.F) {
	s, err := token.NewSigner(ed25519.NewKeyFromSeed(make([]byte, 32))) // the same in each of the fuzzer's processes
	if err != nil {
		f.Fatal(err)
	}
	v := newVerifier(f, nil, s.Key())
	c := someClaims(f)
	c.Confirmation = token.Confirm(s.Key())
	good := forms(f, token.Access, &c, s)
	for _, raw := range good {
		f.Add(raw)
	}
	for _, raw := range forms(f, token.ID, &c, s) {
		f.Add(raw)
	}
	f.Add([]byte("eyJhbGciOiJub25lIn0.e30."))
	handler := verify.Middleware(v)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	kinds := []error{verify.ErrMalformed, verify.ErrHeader, verify.ErrType, verify.ErrAlgorithm, verify.ErrSignature, verify.ErrUnknownKey, verify.ErrClaims}
	f.Fuzz(func(t *testing.T, data []byte) {
		ours := false
		for _, raw := range good {
			ours = ours || bytes.Equal(raw, data)
		}
		_, err := v.Verify(t.Context(), data)
		if (err == nil) != ours {
			t.Fatalf("%q: %v, ours %v", data, err, ours)
		}
		known := err == nil
		for _, kind := range kinds {
			known = known || errors.Is(err, kind)
		}
		if !known {
			t.Fatalf("untyped error %v", err)
		}
		if bytes.ContainsAny(data, " \t,") {
			return // a header with two tokens
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"] = []string{"Bearer " + string(data)}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if (w.Code == http.StatusNoContent) != ours || !ours && (w.Code != 400 && w.Code != 401 || w.Header().Get("WWW-Authenticate") == "") {
			t.Fatalf("%q: status %d, ours %v", data, w.Code, ours)
		}
	})
}

// FuzzParseJWK: one reader, alone and in a set; what it takes can be written and
// reads the same, and what it refuses is an ErrKey.
func FuzzParseJWK(f *testing.F) {
	s, err := token.NewSigner(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Key().MarshalJWK())
	f.Add([]byte(`{"kty":"oct","k":"AAAA"}`))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA","key_ops":["verify"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := verify.ParseJWK(data)
		if (key == nil) != errors.Is(err, token.ErrKey) {
			t.Fatalf("key %v, error %v", key, err)
		}
		if err != nil {
			return
		}
		if again, err := verify.ParseJWK(key.MarshalJWK()); err != nil || !again.Equal(key) {
			t.Errorf("written and read again: %v", err)
		}
		text := append(append([]byte(`{"keys":[`), data...), `]}`...)
		if _, err := strictjson.Object(text); err != nil {
			return // too long or too deep with the set around it
		}
		set, err := verify.ParseJWKS(text)
		if err != nil || len(set.Keys()) != 1 || !set.Keys()[0].Equal(key) {
			t.Errorf("in a set: %v", err)
		}
	})
}

package token_test

import (
	"crypto/rand"
	"io"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/signetd/signet/protocol/token"
	"github.com/veraison/go-cose"
)

var coseAlg = map[token.Alg]cose.Algorithm{token.ES256: cose.AlgorithmES256, token.EdDSA: cose.AlgorithmEdDSA}

// TestGoCOSE: go-cose reads our CWTs with its own keys, and we read its messages.
func TestGoCOSE(t *testing.T) {
	for alg, theirs := range coseAlg {
		t.Run(alg.String(), func(t *testing.T) {
			s := newSigner(t, alg)
			raw, err := token.SignCWT(token.Access, fullClaims(t), s)
			if err != nil {
				t.Fatal(err)
			}
			var m cose.Sign1Message
			if err := m.UnmarshalCBOR(raw); err != nil {
				t.Fatal(err)
			}
			var key cose.Key
			if err := key.UnmarshalCBOR(s.Key().MarshalCOSE()); err != nil {
				t.Fatal(err)
			}
			v, err := key.Verifier()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Verify(nil, v); err != nil {
				t.Errorf("go-cose refuses ours: %v", err)
			}
			m.Payload[5] ^= 1
			if err := m.Verify(nil, v); err == nil {
				t.Error("go-cose accepts a changed payload")
			}
			raw = signWithGoCOSE(t, theirs, s)
			got, err := token.OpenSign1(raw, token.Access, s.Key(), []byte("aad"))
			if err != nil {
				t.Fatalf("we refuse go-cose's: %v", err)
			}
			if string(got) != "hello" {
				t.Errorf("payload %q", got)
			}
		})
	}
}

// A coseSigner lends our Signer to go-cose.
type coseSigner struct {
	alg cose.Algorithm
	s   *token.Signer
}

func (c coseSigner) Algorithm() cose.Algorithm { return c.alg }

func (c coseSigner) Sign(_ io.Reader, content []byte) ([]byte, error) {
	return c.s.Sign(content)
}

func signWithGoCOSE(t *testing.T, alg cose.Algorithm, s *token.Signer) []byte {
	t.Helper()
	m := cose.NewSign1Message()
	m.Headers.Protected = cose.ProtectedHeader{cose.HeaderLabelAlgorithm: alg, int64(16): int64(token.TypeAccess)}
	m.Headers.Unprotected = cose.UnprotectedHeader{cose.HeaderLabelKeyID: s.Key().COSEKID()}
	m.Payload = []byte("hello")
	if err := m.Sign(rand.Reader, []byte("aad"), coseSigner{alg, s}); err != nil {
		t.Fatal(err)
	}
	raw, err := m.MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestGoJOSE: go-jose reads our JWTs and our key as a JWK, and agrees on its id.
func TestGoJOSE(t *testing.T) {
	for _, alg := range []token.Alg{token.ES256, token.EdDSA, token.RS256} {
		t.Run(alg.String(), func(t *testing.T) {
			s := newSigner(t, alg)
			raw, err := token.SignJWT(token.Access, fullClaims(t), s)
			if err != nil {
				t.Fatal(err)
			}
			var jwk jose.JSONWebKey
			if err := jwk.UnmarshalJSON(s.Key().MarshalJWK()); err != nil {
				t.Fatal(err)
			}
			if jwk.KeyID != s.Key().KID() || jwk.Algorithm != alg.String() || jwk.Use != "sig" {
				t.Errorf("JWK reads as %+v", jwk)
			}
			m, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg.String())})
			if err != nil {
				t.Fatal(err)
			}
			payload, err := m.Verify(jwk)
			if err != nil {
				t.Fatalf("go-jose refuses ours: %v", err)
			}
			ours, err := token.VerifyJWS([]byte(raw), s.Key())
			if err != nil || string(ours.Payload) != string(payload) {
				t.Errorf("we read another payload than go-jose: %v", err)
			}
		})
	}
}

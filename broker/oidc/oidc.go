// Package oidc serves what backends need to validate a pool's tokens: the OpenID
// Connect discovery document (OpenID Connect Discovery 1.0, section 3), the JWK set
// (RFC 7517) and the COSE key set (RFC 9052, 7).
//
// It serves public keys only.
package oidc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// Rings gives pools' keys.
type Rings interface {
	Ring(ctx context.Context, pool ident.Pool) (*keyring.Ring, error)
}

type discovery struct {
	Issuer     string   `json:"issuer"`
	JWKS       string   `json:"jwks_uri"`
	COSEKeys   string   `json:"signet_cose_keys_uri"`
	Responses  []string `json:"response_types_supported"`
	Subjects   []string `json:"subject_types_supported"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`
	Claims     []string `json:"claims_supported"`
}

// Handler serves every pool below /pools/{pool}.
func Handler(rings Rings) http.Handler {
	mux := http.NewServeMux()
	serve := func(path, contentType string, body func(*keyring.Ring) ([]byte, error)) {
		mux.HandleFunc("GET /pools/{pool}/.well-known/"+path, func(w http.ResponseWriter, r *http.Request) {
			document(w, r, rings, contentType, body)
		})
	}
	serve("openid-configuration", "application/json", discover)
	serve("jwks.json", "application/jwk-set+json", func(r *keyring.Ring) ([]byte, error) { return token.MarshalJWKS(r.Verifiers), nil })
	serve("cose-keys", "application/cose-key-set", func(r *keyring.Ring) ([]byte, error) { return token.MarshalCOSEKeySet(r.Verifiers), nil })
	return mux
}

func discover(r *keyring.Ring) ([]byte, error) {
	var algs []string
	seen := make(map[string]bool)
	for _, k := range r.Verifiers {
		if a := k.Alg().String(); !seen[a] {
			seen[a] = true
			algs = append(algs, a)
		}
	}
	return json.Marshal(discovery{
		Issuer: r.Issuer, JWKS: r.Issuer + "/.well-known/jwks.json", COSEKeys: r.Issuer + "/.well-known/cose-keys",
		Responses: []string{"none"}, Subjects: []string{"public"}, Algorithms: algs,
		Claims: []string{"iss", "sub", "aud", "exp", "iat", "jti", "cnf", "client_id", "token_use", "origin_jti", "auth_time", "signet:pool", "signet:device", "signet:groups"},
	})
}

func document(w http.ResponseWriter, r *http.Request, rings Rings, contentType string, body func(*keyring.Ring) ([]byte, error)) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff")
	pool, err := ident.ParsePool(r.PathValue("pool"))
	if err != nil {
		problem.New(http.StatusNotFound, "no such pool").Write(w)
		return
	}
	ring, err := rings.Ring(r.Context(), pool)
	if errors.Is(err, broker.ErrNotFound) {
		problem.New(http.StatusNotFound, "no such pool").Write(w)
		return
	}
	var raw []byte
	if err == nil {
		raw, err = body(ring)
	}
	if err != nil {
		problem.New(http.StatusServiceUnavailable, "keys are not available now").Write(w)
		return
	}
	sum := sha256.Sum256(raw)
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(broker.KeySetLife/time.Second)))
	h.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
}

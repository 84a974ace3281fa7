package remote_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/protocol/verify/remote"
)

// A backend that fetches the pool's keys with the first token, and keeps them fresh.
func Example() {
	issuer, client, lamp := demoIssuer()
	keys, err := remote.New(remote.Config{Issuer: issuer, Client: client})
	if err != nil {
		log.Fatal(err)
	}
	v, err := verify.New(verify.Config{
		Issuer:     issuer,
		Audience:   "demo",
		Algorithms: []token.Alg{token.EdDSA},
		Keys:       keys,
	})
	if err != nil {
		log.Fatal(err)
	}
	claims, err := v.Verify(context.Background(), lamp)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(claims.Device)
	// Output: demo:lamp-1
}

// demoIssuer serves what signetd serves of a pool: its issuer URL, a client that
// trusts this server, and a device's token. Of a public server the client is nil.
func demoIssuer() (issuer string, client *http.Client, lamp []byte) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		log.Fatal(err)
	}
	signer, err := token.NewSigner(private)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	issuer = server.URL + "/pools/demo"
	mux.HandleFunc("/pools/demo/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer, issuer+"/.well-known/jwks.json")
	})
	mux.HandleFunc("/pools/demo/.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(token.MarshalJWKS([]*token.Key{signer.Key()}))
	})
	device, err := ident.ParseDevice("demo:lamp-1")
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	jwt, err := token.SignJWT(token.Access, &token.Claims{
		Issuer: issuer, Subject: ident.UUID{1}, Audience: "demo", IssuedAt: now, Expires: now.Add(time.Hour),
		ID: []byte("12345678"), Device: device, Confirmation: token.Confirm(signer.Key()),
	}, signer)
	if err != nil {
		log.Fatal(err)
	}
	return issuer, server.Client(), []byte(jwt)
}

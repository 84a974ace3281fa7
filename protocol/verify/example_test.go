package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/protocol/verify/remote"
)

// A backend that gets keys from the issuer and tokens from its clients.
func Example() {
	keys, err := remote.New(remote.Config{Issuer: "https://signet.example/pools/demo"})
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := verify.New(verify.Config{
		Issuer:     "https://signet.example/pools/demo",
		Audience:   "demo",
		Algorithms: []token.Alg{token.ES256},
		Keys:       keys,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = v.Verify(context.Background(), []byte("not a token"))
	fmt.Println(errors.Is(err, verify.ErrMalformed))
	// Output: true
}

// A handler behind Middleware knows which device calls.
func ExampleMiddleware() {
	pemBytes, err := os.ReadFile("pool-key.pem")
	if err != nil {
		return
	}
	keys, err := verify.ParsePEM(pemBytes)
	if err != nil {
		return
	}
	v, err := verify.New(verify.Config{
		Issuer: "https://signet.example/pools/demo", Audience: "telemetry",
		Algorithms: []token.Alg{token.ES256, token.EdDSA}, Keys: keys,
	})
	if err != nil {
		return
	}
	http.Handle("/readings", verify.Middleware(v)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context())
		fmt.Fprintf(w, "hello, %s\n", claims.Subject)
	})))
}

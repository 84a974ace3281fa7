package verify_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

// What the examples read: the keys of a pool, as a JWK set and as a COSE key set in
// base64url, and the access token of a device of it, as a JWT and as a CWT.
const (
	poolJWKS = `{"keys":[{"alg":"EdDSA","kid":"--6IM5l0OosLj9yWskISYhUA3n_3CURQkmrYMSha_ck","use":"sig","crv":"Ed25519","kty":"OKP","x":"6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw"}]}`
	poolCOSE = "gaUBAQJEy_ZcigMnIAYhWCDqSmxj4pxSCr71UHsTLsX5lUd2rr6-e5JCHuppFEbSLA"

	lampJWT = "eyJhbGciOiJFZERTQSIsImtpZCI6Ii0tNklNNWwwT29zTGo5eVdza0lTWWhVQTNuXzNDVVJRa21yWU1TaGFfY2siLCJ0eXAiOiJhdCtqd3QifQ." +
		"eyJpc3MiOiJodHRwczovL3NpZ25ldC5leGFtcGxlL3Bvb2xzL2RlbW8iLCJzdWIiOiIwMTlhYzVlMC0xYjAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDEiLCJhdWQiOiJkZW1vIiwiZXhwIjoxNzk1ODcwODAwLCJpYXQiOjE3OTU4NjcyMDAsImp0aSI6Ik1USXpORFUyTnpnIiwiY25mIjp7ImprdCI6Ii0tNklNNWwwT29zTGo5eVdza0lTWWhVQTNuXzNDVVJRa21yWU1TaGFfY2sifSwiY2xpZW50X2lkIjoiZGVmYXVsdCIsInNjb3BlIjoidGVsZW1ldHJ5IiwidG9rZW5fdXNlIjoiYWNjZXNzIiwic2lnbmV0OnBvb2wiOiJkZW1vIiwic2lnbmV0OmRldmljZSI6ImxhbXAtMSJ9." +
		"1g99EMQ08uSHYFYTtzp1yEaR-P83TmkYDEiS38w0XScb40BTFQ8M6ts2jxxR0TcyksmsPAwzNEJe1n1VxaqsDg"
	lampCWT = "0oRHogEnEBn96aEERMv2XIpYVacCUAGaxeAbAHAAgAAAAAAAAAEDZGRlbW8EGmsK0FAHSDEyMzQ1Njc4CKEDUMv2XIr8tfaQVpJxcM_mrMIJaXRlbGVtZXRyeToAAQAAZ2RlZmF1bHRYQ" +
		"GE6NneEAP53lrFbZEOunAoslKTfsBWRgDMspPBZnPdqaRvKWF8_U8TjqgKkzOHqpqyTfTqG4hVn6McPnUQEIw0"
)

// backThen is when the token was good. A real backend leaves Config.Now alone.
func backThen() time.Time { return time.Date(2026, 11, 28, 12, 30, 0, 0, time.UTC) }

// demoVerifier is what the examples below verify with.
func demoVerifier() *verify.Verifier {
	keys, err := verify.ParseJWKS([]byte(poolJWKS))
	if err != nil {
		log.Fatal(err)
	}
	v, err := verify.New(verify.Config{
		Issuer: "https://signet.example/pools/demo", Audience: "demo",
		Algorithms: []token.Alg{token.EdDSA}, Keys: keys, Now: backThen,
	})
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A backend that keeps the pool's keys in a file and opens no connection.
func Example() {
	keys, err := verify.ParseJWKS([]byte(poolJWKS))
	if err != nil {
		log.Fatal(err)
	}
	v, err := verify.New(verify.Config{
		Issuer:     "https://signet.example/pools/demo",
		Audience:   "demo",
		Algorithms: []token.Alg{token.EdDSA},
		Keys:       keys,
		Now:        backThen,
	})
	if err != nil {
		log.Fatal(err)
	}
	claims, err := v.Verify(context.Background(), []byte(lampJWT))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(claims.Device, "until", claims.Expires.UTC().Format(time.TimeOnly))
	// Output: demo:lamp-1 until 13:00:00
}

// A compact CWT is a third of a JWT's size. It names the device by its subject, which
// never changes, and leaves out what the verifier knows.
func ExampleVerifier_Verify_cwt() {
	set, err := base64.RawURLEncoding.DecodeString(poolCOSE)
	if err != nil {
		log.Fatal(err)
	}
	keys, err := verify.ParseCOSEKeySet(set)
	if err != nil {
		log.Fatal(err)
	}
	v, err := verify.New(verify.Config{
		Issuer: "https://signet.example/pools/demo", Audience: "demo",
		Algorithms: []token.Alg{token.EdDSA}, Keys: keys, Now: backThen,
	})
	if err != nil {
		log.Fatal(err)
	}
	claims, err := v.Verify(context.Background(), []byte(lampCWT)) // in base64url; the bare bytes do as well
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(claims.Subject, claims.ClientID)
	// Output: 019ac5e0-1b00-7000-8000-000000000001 default
}

// Errors tell what is wrong. The caller is told none of it.
func ExampleVerifier_Verify_errors() {
	v := demoVerifier()
	_, err := v.Verify(context.Background(), []byte("not a token"))
	fmt.Println(errors.Is(err, verify.ErrMalformed))
	_, err = v.Verify(context.Background(), []byte(lampJWT[:len(lampJWT)-2]+"AA"))
	fmt.Println(errors.Is(err, verify.ErrSignature), errors.Is(err, verify.ErrMalformed))
	// Output:
	// true
	// true false
}

// A handler behind Middleware knows which device calls.
func ExampleMiddleware() {
	readings := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context())
		fmt.Fprintf(w, "hello, %s", claims.Device)
	})
	mux := http.NewServeMux()
	mux.Handle("/readings", verify.Middleware(demoVerifier())(readings))

	r := httptest.NewRequest(http.MethodPost, "/readings", nil)
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, r)
	fmt.Println(answer.Code)

	r.Header.Set("Authorization", "Bearer "+lampJWT)
	answer = httptest.NewRecorder()
	mux.ServeHTTP(answer, r)
	fmt.Println(answer.Code, answer.Body)
	// Output:
	// 401
	// 200 hello, demo:lamp-1
}

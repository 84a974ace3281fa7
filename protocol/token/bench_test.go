package token_test

import (
	"testing"
	"time"

	"github.com/signetd/signet/protocol/token"
)

// The benchmarks run the raw signature check of the same bytes' size in turn with
// the whole, so that a busy machine slows both, and report whole/raw as x-raw.
// Goal: 1.1 or less.

func BenchmarkVerifyCWT(b *testing.B) {
	for _, alg := range []token.Alg{token.ES256, token.EdDSA} {
		b.Run(alg.String(), func(b *testing.B) {
			s := newSigner(b, alg)
			raw, err := token.SignCWT(token.Access, fullClaims(b).Compact(), s)
			if err != nil {
				b.Fatal(err)
			}
			keys := lookup(s.Key())
			compare(b, s, raw, func() error { _, err := token.ParseCWT(raw, token.Access, keys); return err })
		})
	}
}

func BenchmarkVerifyJWT(b *testing.B) {
	full, usual := fullClaims(b), fullClaims(b)
	usual.Nonce, usual.Attributes, usual.Roles, usual.NotBefore = nil, nil, nil, time.Time{}
	for name, claims := range map[string]*token.Claims{"usual": usual, "full": full} {
		for _, alg := range []token.Alg{token.ES256, token.EdDSA} {
			b.Run(alg.String()+"/"+name, func(b *testing.B) {
				s := newSigner(b, alg)
				text, err := token.SignJWT(token.Access, claims, s)
				if err != nil {
					b.Fatal(err)
				}
				raw, keys := []byte(text), lookup(s.Key())
				compare(b, s, raw, func() error { _, err := token.ParseJWT(raw, token.Access, keys); return err })
			})
		}
	}
}

func compare(b *testing.B, s *token.Signer, msg []byte, whole func() error) {
	sig, err := s.Sign(msg)
	if err != nil {
		b.Fatal(err)
	}
	check := rawCheck(b, s.Key(), msg, sig)
	var rawTime, wholeTime time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if !check() {
			b.Fatal("raw check failed")
		}
		middle := time.Now()
		if err := whole(); err != nil {
			b.Fatal(err)
		}
		rawTime += middle.Sub(start)
		wholeTime += time.Since(middle)
	}
	b.ReportMetric(float64(wholeTime)/float64(rawTime), "x-raw")
	b.ReportMetric(float64(wholeTime.Nanoseconds())/float64(b.N), "ns/verify")
}

package bench

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/test/harness"
)

// tokens lets a device authenticate and gives what it got.
func tokens(b *testing.B, pool token.Alg, format protocol.Format) (*harness.Signet, *agent.Tokens) {
	b.Helper()
	s := harness.New(b)
	s.Rotate(b, pool)
	a, err := agent.New(b.Context(), agent.Config{Device: s.Name(b, "lamp-1"), Prover: harness.NewEd25519(b), State: &agent.Memory{}})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := a.Enroll(b.Context(), s, agent.Admission{Token: s.Token(b, 1)}); err != nil {
		b.Fatal(err)
	}
	g, err := a.Authenticate(b.Context(), s, agent.Ask{Format: &format})
	if err != nil {
		b.Fatal(err)
	}
	return s, g
}

var formats = []struct {
	name   string
	format protocol.Format
}{{"CWT", protocol.FormatCWT}, {"JWT", protocol.FormatJWT}}

// BenchmarkVerify is verify.Verifier.Verify, with every check a backend makes, on
// a real grant's access token, against the standard library's check of a signature
// over as many bytes. Both take turns at each step; medians are compared. Package token has the same
// for its readers alone.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []token.Alg{token.ES256, token.EdDSA} {
		for _, f := range formats {
			b.Run(f.name+"/"+alg.String(), func(b *testing.B) {
				s, g := tokens(b, alg, f.format)
				v := newVerifier(b, s, alg)
				raw := newRawCheck(b, alg, g.Access)
				var raws, wholes []time.Duration
				b.ReportAllocs()
				for b.Loop() {
					start := time.Now()
					if !raw() {
						b.Fatal("raw check failed")
					}
					middle := time.Now()
					if _, err := v.Verify(b.Context(), g.Access); err != nil {
						b.Fatal(err)
					}
					raws, wholes = append(raws, middle.Sub(start)), append(wholes, time.Since(middle))
				}
				floor, whole := median(raws), median(wholes)
				b.ReportMetric(float64(whole)/float64(floor), "x-floor")
				b.ReportMetric(float64(whole.Nanoseconds()), "ns/verify")
				b.ReportMetric(float64(floor.Nanoseconds()), "floor-ns")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// median is what half of the runs took at most: others that want the machine do
// not show in it.
func median[T cmp.Ordered](d []T) T {
	slices.Sort(d)
	return d[len(d)/2]
}

func newVerifier(b *testing.B, s *harness.Signet, alg token.Alg) *verify.Verifier {
	b.Helper()
	ring, err := s.Keys.Ring(b.Context(), s.Pool)
	if err != nil {
		b.Fatal(err)
	}
	set, err := verify.NewKeySet(ring.Verifiers...)
	if err != nil {
		b.Fatal(err)
	}
	v, err := verify.New(verify.Config{Issuer: ring.Issuer, Audience: "demo", Algorithms: []token.Alg{alg}, Keys: set})
	if err != nil {
		b.Fatal(err)
	}
	return v
}

func newRawCheck(b *testing.B, alg token.Alg, msg []byte) func() bool {
	b.Helper()
	s := newSigner(b, alg)
	sig, err := s.Sign(msg)
	if err != nil {
		b.Fatal(err)
	}
	switch pub := s.Key().Public().(type) {
	case ed25519.PublicKey:
		return func() bool { return ed25519.Verify(pub, msg, sig) }
	case *ecdsa.PublicKey:
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
		if err != nil {
			b.Fatal(err)
		}
		return func() bool {
			digest := sha256.Sum256(msg)
			return ecdsa.VerifyASN1(pub, digest[:], der)
		}
	}
	b.Fatal("no raw check for this key")
	return nil
}

// BenchmarkTokenSize is how long the tokens of a real grant are: a device of pool
// demo, the default audience, a short issuer.
func BenchmarkTokenSize(b *testing.B) {
	for _, f := range formats {
		b.Run(f.name, func(b *testing.B) {
			_, g := tokens(b, token.ES256, f.format)
			b.ReportMetric(float64(len(g.Access)), "B-access")
			b.ReportMetric(float64(len(g.ID)), "B-id")
			b.ReportMetric(0, "ns/op")
		})
	}
}

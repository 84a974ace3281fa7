package bench

import (
	"context"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
)

// direct is a link on a TLS connection whose name both ends know.
type direct struct {
	s    *harness.Signet
	name []byte
}

func (l direct) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	return l.s.Exchange.Respond(ctx, exchange.Caller{Channel: access.Channel{Name: l.name}}, request).Message, nil
}

func (l direct) End() agent.End { return agent.End{Channel: l.name, Server: l.name} }

// BenchmarkConnect is a device's connect proof, made by the agent and judged by
// access.Rule.Admit with the store behind it, against the standard library's check of
// the token's signature and one signature and one check of it more. Both take turns at
// each step; medians are compared.
func BenchmarkConnect(b *testing.B) {
	for name, key := range map[string]struct {
		prover agent.Prover
		alg    token.Alg
	}{"EdDSA": {harness.NewEd25519(b), token.EdDSA}, "ES256": {harness.NewP256(b), token.ES256}} {
		b.Run(name, func(b *testing.B) {
			s := harness.New(b)
			a, err := agent.New(b.Context(), agent.Config{Device: s.Name(b, "lamp-1"), Prover: key.prover, State: &agent.Memory{}})
			if err != nil {
				b.Fatal(err)
			}
			link := direct{s, oneChannel()}
			g, err := a.Enroll(b.Context(), link, agent.Admission{Token: s.Token(b, 1)})
			if err != nil {
				b.Fatal(err)
			}
			cred := a.Credential()
			if cred == nil {
				b.Fatal("no credential")
			}
			tokenCheck, proofCheck := newRawCheck(b, token.ES256, g.Access), newRawCheck(b, key.alg, g.Access)
			var floors, wholes []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				if _, err := key.prover.Prove(g.Access); err != nil || !tokenCheck() || !proofCheck() {
					b.Fatal("floor: ", err)
				}
				middle := time.Now()
				password, err := cred.Password(link.End(), cred.Username)
				if err != nil {
					b.Fatal(err)
				}
				c := access.Connect{Device: a.Device(), ClientID: cred.Username, Password: password, Channel: access.Channel{Name: link.name}}
				if _, err := s.Access.Admit(b.Context(), c); err != nil {
					b.Fatal(err)
				}
				floors, wholes = append(floors, middle.Sub(start)), append(wholes, time.Since(middle))
			}
			floor, whole := median(floors), median(wholes)
			b.ReportMetric(float64(whole)/float64(floor), "x-floor")
			b.ReportMetric(float64(whole.Nanoseconds()), "ns/connect")
			b.ReportMetric(float64(floor.Nanoseconds()), "floor-ns")
			b.ReportMetric(0, "ns/op")
		})
	}
}

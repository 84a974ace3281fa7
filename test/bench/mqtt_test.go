package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/firmware"
	"github.com/signetd/signet/firmware-sim/fleet"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

const (
	rounds = 3  // of authentications by the fleet, with the floor's in between
	each   = 96 // authentications of a device in a round
)

// BenchmarkAuthenticationMQTT has firmware-sim's fleet authenticate at signetd, a
// process of its own, over MQTT and TLS: 64 devices, each on its connection, again
// and again, with grants sealed as agents want them. The broker's CPU is the
// kernel's account of its process; the crypto floor is measured between the
// rounds, while the fleet waits. The devices share the machine with the broker,
// so auths/s is what both together reach.
func BenchmarkAuthenticationMQTT(b *testing.B) {
	for _, c := range []authCase{{token.EdDSA, token.EdDSA, true}, {token.ES256, token.ES256, true}} {
		b.Run(c.String(), c.benchMQTT)
	}
}

func (c authCase) benchMQTT(b *testing.B) {
	s := newBroker(b)
	if _, err := s.pool.RotateKey(b.Context(), adminapi.KeyRotation{Alg: c.pool.String(), Activate: true}); err != nil {
		b.Fatal(err)
	}
	scenario := fleet.Scenario{Name: "bench", Steps: []fleet.Step{{Do: firmware.Enroll}, {Do: firmware.Authenticate, Times: 16}}}
	for range rounds {
		scenario.Steps = append(scenario.Steps, fleet.Step{Do: firmware.Authenticate, Times: each})
	}
	kinds := map[token.Alg]firmware.Kind{token.EdDSA: firmware.Ed25519, token.ES256: firmware.P256}
	pool := identtest.Pool(b, "demo")
	account := &accounts{b: b, server: s.child, floor: newFloor(b, c)}
	report, err := fleet.Run(b.Context(), fleet.Config{
		Pool: pool, Prefix: "lamp", Devices: callers, Keys: []firmware.Kind{kinds[c.device]}, Scenario: scenario,
		Faults: fault.Source{Seed: 1}, Concurrency: callers, Voucher: s.voucher(b, callers), Dial: s.dial, Progress: account,
	})
	if err != nil {
		b.Fatal(err)
	}
	want := callers * (16 + rounds*each)
	if report.Authentications != want || len(report.Failures) > 0 || report.Unauthenticated > 0 {
		b.Fatalf("%d authentications of %d, failures %v", report.Authentications, want, report.Failures)
	}
	n := float64(callers * rounds * each)
	cost := float64(account.spent.Microseconds()) / n
	floor := float64(account.bare.spent.Microseconds()) / float64(account.bare.ops)
	b.ReportMetric(n/account.took.Seconds(), "auths/s")
	b.ReportMetric(cost, "cpu-us/auth")
	b.ReportMetric(floor, "floor-us/auth")
	b.ReportMetric(cost/floor, "x-floor")
	b.ReportMetric(0, "ns/op")
}

func (b *signetd) dial(a *agent.Agent) agent.Dialer {
	return func(ctx context.Context, cred *agent.Credential) (agent.Connection, error) {
		l, err := mqttlink.Dial(ctx, mqttlink.Options{Broker: b.url, Trust: mqttlink.Trust{Roots: b.trust.Roots, Floor: a.Floor}, Credential: cred})
		if err != nil {
			return nil, fmt.Errorf("dial: %w", err) // not a nil *Link in a Connection
		}
		return l, nil
	}
}

// accounts meters the server in each step of a scenario but the first two, which
// make the fleet and warm it up, and the floor after each.
type accounts struct {
	b      *testing.B
	server *child
	floor  func(int)

	step        int
	began       time.Time
	before      time.Duration
	took, spent time.Duration
	bare        meter
}

var _ fleet.Progress = (*accounts)(nil)

// Begin implements fleet.Progress.
func (a *accounts) Begin(string, int) {
	a.step++
	a.began, a.before = time.Now(), a.server.cpu(a.b)
}

// Add implements fleet.Progress.
func (a *accounts) Add(int) {}

// End implements fleet.Progress.
func (a *accounts) End() {
	if a.step <= 2 {
		return
	}
	a.took += time.Since(a.began)
	a.spent += a.server.cpu(a.b) - a.before
	a.bare.run(a.b, 2048, callers, a.floor)
}

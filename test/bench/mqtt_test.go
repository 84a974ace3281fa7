package bench

import (
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol/token"
)

// BenchmarkAuthenticationMQTT drives signetd, a process of its own, over MQTT and
// TLS: 64 devices, each on its connection, authenticate again and again. The
// broker's CPU is the kernel's account of its process. The devices share the
// machine with it, so auths/s is what both together reach.
func BenchmarkAuthenticationMQTT(b *testing.B) {
	s := newBroker(b)
	devices := s.enrol(b, "lamp", callers)
	floor := newFloor(b, authCase{token.EdDSA, token.ES256, true})
	login := func(i int) {
		d := devices[i%callers]
		if _, err := d.Authenticate(b.Context(), d.link, agent.Ask{}); err != nil {
			b.Error(err)
		}
	}
	spread(512, callers, login) // warm
	var bare meter
	bare.run(b, 4096, callers, floor)
	before := s.cpu(b)
	b.ResetTimer()
	spread(b.N, callers, login)
	b.StopTimer()
	spent := s.cpu(b) - before
	bare.run(b, 4096, callers, floor)
	n := float64(b.N)
	each := float64(spent.Microseconds()) / n
	b.ReportMetric(n/b.Elapsed().Seconds(), "auths/s")
	b.ReportMetric(each, "cpu-us/auth")
	b.ReportMetric(each*float64(bare.ops)/float64(bare.spent.Microseconds()), "x-floor")
}

package mqttd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/topic"
	"github.com/signetd/signet/protocol/topic/topictest"
)

// eight is a standing with a grant of eight filters, and names: of the first filter, of the last,
// and of none, which has to be compared with all of them to their last level.
func eight(t testing.TB) (s *Standing, names []topic.Name) {
	s = &Standing{Device: identtest.Device(t, "plant-1:lamp-1"), Permissions: topic.Permissions{Retain: true}}
	for i := range 8 {
		f := topictest.Filter(t, fmt.Sprintf("devices/plant-1/lamp-%d/+/state/#", i))
		s.Permissions.Publish, s.Permissions.Subscribe = append(s.Permissions.Publish, f), append(s.Permissions.Subscribe, f)
	}
	for _, n := range []string{"devices/plant-1/lamp-0/3/state/on", "devices/plant-1/lamp-7/3/state/on", "devices/plant-1/lamp-7/3/other/on"} {
		names = append(names, topictest.Name(t, n))
	}
	return s, names
}

// permitted asks what is asked of a message on its way through: may it be published, and delivered?
func permitted(s *Standing, n topic.Name) bool {
	return mayPublish(s, n, true) && mayRead(s, n.Filter())
}

// TestPermissionAllocatesNothing: the permission to publish and to read is asked of every message, and of
// every one of its deliveries.
func TestPermissionAllocatesNothing(t *testing.T) {
	s, names := eight(t)
	if n := testing.AllocsPerRun(100, func() {
		for i, name := range names {
			if permitted(s, name) != (i < 2) {
				t.Error(name)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkPermission is the permission to publish a message, and to be delivered one, for a grant of eight filters of which
// the last one matches, against walking through the levels of as many texts.
func BenchmarkPermission(b *testing.B) {
	s, names := eight(b)
	const turn = 1000
	var floor, whole time.Duration
	n, levels := 0, 0
	for b.Loop() {
		start := time.Now()
		for range turn {
			for _, f := range s.Permissions.Publish {
				for rest, more := f.String(), true; more; levels++ {
					_, rest, more = strings.Cut(rest, "/")
				}
			}
		}
		floor += time.Since(start)
		start = time.Now()
		for range turn {
			if !mayPublish(s, names[1], false) || !mayRead(s, names[1].Filter()) {
				b.Fatal("not permitted")
			}
		}
		whole += time.Since(start)
		n += turn
	}
	if levels != 48*n {
		b.Fatalf("%d levels", levels)
	}
	b.ReportMetric(float64(whole.Nanoseconds())/float64(2*n), "ns/check")
	b.ReportMetric(float64(whole)/float64(2*floor), "x-floor")
}

package subscription

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/topic"
	"github.com/signetd/signet/protocol/topic/topictest"
)

// fleet subscribes so many devices to what is below their own topics, and a backend to all.
func fleet(t testing.TB, x *Index[string], devices int) []client {
	cs := make([]client, devices)
	for i := range cs {
		x.Add(&cs[i], topictest.Subscription(t, fmt.Sprintf("devices/pool/device-%06d/#", i)), Options{QoS: 1})
	}
	x.Add(&client{Owner: "backend"}, topictest.Subscription(t, "devices/+/+/up"), Options{QoS: 1, Identifier: 1})
	return cs
}

// TestNoAllocations: a Matches that has grown needs nothing more.
func TestNoAllocations(t *testing.T) {
	x := New[string]()
	cs := fleet(t, x, 100)
	for i := range cs {
		x.Add(&cs[i], topictest.Subscription(t, "devices/pool/+/up"), Options{Identifier: 2})
		x.Add(&cs[i], topictest.Subscription(t, "$share/g/devices/#"), Options{})
	}
	n := topictest.Name(t, "devices/pool/device-000007/up")
	var m Matches[string]
	var took *client
	run := func() {
		x.Match(n, nil, &m)
		for _, g := range m.Groups {
			for c := range x.Members(g) {
				took = c
				break
			}
		}
	}
	run()
	if len(m.Receivers) != 101 || len(m.Groups) != 1 || took == nil {
		t.Fatalf("%d receivers, %d groups", len(m.Receivers), len(m.Groups))
	}
	if got := testing.AllocsPerRun(100, run); got != 0 {
		t.Errorf("%v allocations", got)
	}
	m.Reset()
	if all := m.Receivers[:cap(m.Receivers)]; all[0].Subscriber != nil || m.Groups[:1][0] != nil || m.publisher != nil {
		t.Error("it holds on to sessions")
	}
}

// TestMemory: what a plain subscription takes, its text and its place in the session
// included.
func TestMemory(t *testing.T) {
	const n = 10000
	texts := make([]topic.Subscription, n)
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	cs, x := make([]client, n), New[string]()
	before := heap()
	for i := range texts {
		texts[i] = topictest.Subscription(t, fmt.Sprintf("devices/pool/device-%06d/#", i))
	}
	text := (heap() - before) / n
	for i := range cs {
		x.Add(&cs[i], texts[i], Options{QoS: 1})
	}
	took := (heap() - before) / n
	t.Logf("%d bytes a subscription, %d of them its text", took, text)
	if took > 250 {
		t.Errorf("%d bytes a subscription, at most 250 are wanted", took)
	}
	for i := range cs {
		x.RemoveAll(&cs[i])
	}
	empty(t, x)
	runtime.KeepAlive(texts)
}

// BenchmarkMatch: what one device's message costs does not depend on what others subscribe
// to, and the worst that a device can do to its own messages is bounded by its filters.
func BenchmarkMatch(b *testing.B) {
	for _, others := range []struct {
		name   string
		filter func(i int) string
	}{
		{"alone", nil},
		{"10000 of +/+/+/#", func(int) string { return "other/+/+/#" }},
		{"10000 different behind +", func(i int) string { return fmt.Sprintf("+/+/+/z%d/#", i) }},
		{"10000 different between +", func(i int) string { return fmt.Sprintf("devices/+/z%d/+/y/#", i) }},
		{"10000 by a wildcard and levels", func(i int) string { return fmt.Sprintf("+%s/z%d", strings.Repeat("/x", i%12), i) }},
	} {
		b.Run(others.name, func(b *testing.B) {
			x := New[string]()
			fleet(b, x, 10000)
			for i := range 10000 {
				if others.filter != nil {
					x.Add(&client{}, topictest.Subscription(b, others.filter(i)), Options{})
				}
			}
			n := topictest.Name(b, "devices/pool/device-000007/up")
			var m Matches[string]
			b.ReportAllocs()
			for b.Loop() {
				x.Match(n, nil, &m)
			}
			if len(m.Receivers) != 2 {
				b.Fatal(len(m.Receivers))
			}
		})
	}
	// One device's worst: eight sessions of 128 filters that all match one of its names.
	b.Run("1024 filters of one device", func(b *testing.B) {
		x, cs := New[string](), make([]client, 8)
		for i := range 1024 {
			f := "devices/p/n"
			for bit := range 10 {
				f += [2]string{"/a", "/+"}[i>>bit&1]
			}
			x.Add(&cs[i%8], topictest.Subscription(b, f), Options{})
		}
		n := topictest.Name(b, "devices/p/n"+strings.Repeat("/a", 10))
		var m Matches[string]
		b.ReportAllocs()
		for b.Loop() {
			x.Match(n, nil, &m)
		}
		if len(m.Receivers) != 8 {
			b.Fatal(len(m.Receivers))
		}
	})
	b.Run("10000 receivers by two filters", func(b *testing.B) {
		x, cs := New[string](), make([]client, 10000)
		for i := range cs {
			x.Add(&cs[i], topictest.Subscription(b, "all/#"), Options{})
			x.Add(&cs[i], topictest.Subscription(b, "all/+"), Options{})
		}
		n := topictest.Name(b, "all/x")
		var m Matches[string]
		b.ReportAllocs()
		for b.Loop() {
			x.Match(n, nil, &m)
		}
		if len(m.Receivers) != 10000 {
			b.Fatal(len(m.Receivers))
		}
	})
}

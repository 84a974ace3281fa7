package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/intake"
)

// TestHandshakesAreSeen: who waits how long is measured by kind of source, and who waits long is
// logged, in sums.
func TestHandshakesAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		reg := prometheus.NewRegistry()
		h, err := handshakes(1, reg, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		h.Came(intake.Source("192.0.2.7:1"))
		begin := func(remote string) func() {
			end, err := h.Begin(remote)
			if err != nil {
				t.Error(err)
			}
			return end
		}
		for range 3 {
			ends := make(chan func())
			first := begin("198.51.100.1:1")
			go func() { ends <- begin("198.51.100.2:1") }()
			synctest.Wait()
			if got := figure(t, reg, "signet_handshakes_waiting", "stranger"); got != 1 {
				t.Errorf("%v wait", got)
			}
			begin("192.0.2.7:1")()
			time.Sleep(2 * time.Second)
			first()
			(<-ends)()
		}
		if known, others := figure(t, reg, "signet_handshake_wait_seconds", "known"), figure(t, reg, "signet_handshake_wait_seconds", "stranger"); known != 3 || others != 6 {
			t.Errorf("measured %v and %v, want three and six", known, others)
		}
		if got := figure(t, reg, "signet_handshakes_limit", ""); got != 1 {
			t.Errorf("the limit is %v", got)
		}
		if n := strings.Count(said.String(), "\n"); n != 1 || !strings.Contains(said.String(), "source=stranger remote=198.51.100.2:1 waited=2s") {
			t.Errorf("%d lines at once: %s", n, &said)
		}
		synctest.Wait()
	})
	for set, want := range map[int]int{0: runtime.GOMAXPROCS(0), -1: 0, 5: 5} {
		h, err := handshakes(set, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil || h.Turns() != want {
			t.Errorf("limits.handshakes: %d: %d turns, %v, want %d", set, h.Turns(), err, want)
		}
	}
	if got := intake.Kinds; fmt.Sprint(got) != "[known stranger]" {
		t.Errorf("kinds %v: docs/signetd.md tells of known and stranger", got)
	}
}

// figure gives a gauge or a counter, or how often a histogram was observed, by the value of its label.
func figure(t *testing.T, r *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name || label != "" && m.GetLabel()[0].GetValue() != label {
				continue
			}
			if h := m.GetHistogram(); h != nil {
				return float64(h.GetSampleCount())
			}
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no %s of %q", name, label)
	return 0
}

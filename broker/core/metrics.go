package core

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/hook"
)

// observeHooks registers how long hooks take and why they were not called. The labels are words of package hook: there are
// as many hooks as operators like.
func observeHooks(r prometheus.Registerer) (hook.Observer, error) {
	if r == nil {
		return hook.Observer{}, nil
	}
	times := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "signet_hook_duration_seconds", Help: "How long hooks took to answer, by what they were asked (trigger) and how it ended (outcome).",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"trigger", "outcome"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "signet_hook_refused_total", Help: "Calls of hooks that were not made, by cause.",
	}, []string{"cause"})
	for _, c := range hook.Causes {
		refused.WithLabelValues(string(c))
	}
	for _, c := range []prometheus.Collector{times, refused} {
		if err := r.Register(c); err != nil {
			return hook.Observer{}, fmt.Errorf("metrics of hooks: %w", err)
		}
	}
	return hook.Observer{
		Called: func(trigger string, outcome hook.Outcome, took time.Duration) {
			times.WithLabelValues(trigger, string(outcome)).Observe(took.Seconds())
		},
		Refused: func(cause hook.Cause) { refused.WithLabelValues(string(cause)).Inc() },
	}, nil
}

package core

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/hook"
)

// hookTimes registers how long hooks take. Its labels are words of package hook: there are
// as many hooks as operators like.
func hookTimes(r prometheus.Registerer) (hook.Called, error) {
	if r == nil {
		return nil, nil
	}
	times := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "signet_hook_duration_seconds", Help: "How long hooks took to answer, by what they were asked (trigger) and how it ended (outcome).",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"trigger", "outcome"})
	if err := r.Register(times); err != nil {
		return nil, fmt.Errorf("metrics of hooks: %w", err)
	}
	return func(trigger string, outcome hook.Outcome, took time.Duration) {
		times.WithLabelValues(trigger, string(outcome)).Observe(took.Seconds())
	}, nil
}

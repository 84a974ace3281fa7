package core

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/hook"
	"github.com/signetd/signet/broker/tally"
)

// observeHooks registers how long hooks take and why they were not called, and logs the latter in
// sums. The labels are words of package hook: there are as many hooks as operators like.
func observeHooks(r prometheus.Registerer, log *slog.Logger) (hook.Observer, error) {
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
	told := tally.New(log)
	for _, c := range []prometheus.Collector{times, refused} {
		if r == nil {
			break
		}
		if err := r.Register(c); err != nil {
			return hook.Observer{}, fmt.Errorf("metrics of hooks: %w", err)
		}
	}
	return hook.Observer{
		Called: func(trigger string, outcome hook.Outcome, took time.Duration) {
			times.WithLabelValues(trigger, string(outcome)).Observe(took.Seconds())
		},
		Refused: func(cause hook.Cause, h *broker.Hook, whom hook.Whom) {
			refused.WithLabelValues(string(cause)).Inc()
			attrs := []any{"cause", string(cause), "pool", h.Pool.String(), "hook", h.Name}
			if whom.Source.IsValid() {
				attrs = append(attrs, "source", whom.Source.String())
			}
			if whom.Device != "" {
				attrs = append(attrs, "device", whom.Device)
			}
			told.Note(context.Background(), slog.LevelWarn, string(cause), "hook not called, the device hears busy", attrs...)
		},
	}, nil
}

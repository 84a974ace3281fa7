package daemon

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/tally"
)

// longTurn is how long a handshake waits before the log tells of it: somebody notices then.
const longTurn = time.Second

// handshakes makes the turns of both ports' TLS handshakes, counts them and logs who waits long.
// turns are those of config.Limits.Handshakes.
func handshakes(turns int, reg prometheus.Registerer, log *slog.Logger) (*intake.Handshakes, error) {
	waits := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "signet_handshake_wait_seconds", Help: "How long TLS handshakes waited for their turn to be computed, by source: known, where a device has come from, or stranger.",
		Buckets: []float64{.001, .01, .1, .5, 1, 2.5, 5, 10},
	}, []string{"source"})
	for _, k := range intake.Kinds {
		waits.WithLabelValues(string(k))
	}
	told := tally.New(log)
	if turns == 0 {
		turns = runtime.GOMAXPROCS(0)
	}
	var h *intake.Handshakes
	if turns > 0 {
		h = intake.NewHandshakes(turns, func(t intake.Turn) {
			waits.WithLabelValues(string(t.Kind)).Observe(t.Waited.Seconds())
			if t.Waited >= longTurn {
				told.Note(context.Background(), slog.LevelWarn, string(t.Kind), "TLS handshakes wait long for their turn",
					"source", string(t.Kind), "remote", t.Remote, "waited", t.Waited.Round(time.Millisecond), "waiting", h.Waiting(t.Kind), "turns", h.Turns())
			}
		})
	}
	waiting := func(k intake.Kind) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "signet_handshakes_waiting", Help: "TLS handshakes that wait for their turn now, by source.", ConstLabels: prometheus.Labels{"source": string(k)},
		}, func() float64 { return float64(h.Waiting(k)) })
	}
	limit := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "signet_handshakes_limit", Help: "TLS handshakes of each kind of source that are computed at once; 0 is no bound.",
	}, func() float64 { return float64(h.Turns()) })
	return h, errors.Join(reg.Register(waits), reg.Register(waiting(intake.KindKnown)), reg.Register(waiting(intake.KindStranger)), reg.Register(limit))
}

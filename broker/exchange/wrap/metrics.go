package wrap

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
)

// metrics counts messages. Their labels come from the protocol alone: nothing that a
// stranger sends makes another one.
type metrics struct {
	messages *prometheus.CounterVec
	limited  prometheus.Counter
	replaced prometheus.Counter
	paced    prometheus.Counter
	older    prometheus.Counter
	clones   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signet_exchange_messages_total",
			Help: "Messages of devices, by what they ask (step) and what they came to (outcome: challenge, grant, or the code of the refusal).",
		}, []string{"step", "outcome"}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "signet_exchange_limited_total",
			Help: "Messages answered busy unread, because too many of their source were refused.",
		}),
		replaced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "signet_exchange_keys_replaced_total",
			Help: "Devices whose key was replaced by an enrollment token: each one is a WARN in the log and a record replace-key in the audit trail.",
		}),
		paced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "signet_exchange_device_limited_total",
			Help: "Logins and renewals answered busy because their device had too many lately.",
		}),
		older: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "signet_store_older_total",
			Help: "Grants to devices that have what the store does not know of: an older copy of it was put back.",
		}),
		clones: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "signet_exchange_clones_total",
			Help: "Logins that showed that two copies of their device's key are in use: each one is a WARN in the log and in the device's history.",
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.messages, m.limited, m.replaced, m.paced, m.older, m.clones} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of the exchange: %w", err)
		}
	}
	return m, nil
}

// count counts one message; outcome is a word, as slug makes one.
func (m *metrics) count(step, outcome string) { m.messages.WithLabelValues(step, outcome).Inc() }

// Counted counts messages by step and outcome.
func Counted(next exchange.Handler, to *metrics) exchange.Handler {
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		out := next.Handle(ctx, from, m)
		if out.KeyReplaced != "" {
			to.replaced.Inc()
		}
		if out.Cloned != nil {
			to.clones.Inc()
		}
		if _, often := errors.AsType[*exchange.TooOften](out.Err); often {
			to.paced.Inc()
		}
		switch {
		case out.Err != nil:
			to.count(step(m), slug(out.Code.String()))
		case out.Admitted != nil:
			to.count(step(m), "grant")
		default:
			to.count(step(m), "challenge")
		}
		return out
	})
}

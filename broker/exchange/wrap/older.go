package wrap

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol"
)

// Older tells operators that the store is an older copy: a device has more of this broker
// than the store knows of, and nobody has said that it was put back.
func Older(next exchange.Handler, counter prometheus.Counter, log *slog.Logger) exchange.Handler {
	told := tally.New(log)
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		out := next.Handle(ctx, from, m)
		if out.Admitted != nil && out.Admitted.Newer != "" {
			counter.Inc()
			told.Note(ctx, slog.LevelWarn, "older store", "an older copy of the store was put back: a device has what it does not know of; stop signetd and run signetd restore --in-place",
				"device", out.Claimed.String(), "has", out.Admitted.Newer)
		}
		return out
	})
}

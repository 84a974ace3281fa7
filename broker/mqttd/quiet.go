package mqttd

import (
	"context"
	"log/slog"
)

// quiet lets mochi's records through as debug messages, without packets:
// mochi logs whole ones, payloads and passwords included, and at a level that
// any client can flood.
type quiet struct{ next slog.Handler }

// loggable says which of mochi's attributes hold no bytes of a packet.
func loggable(key string) bool {
	switch key {
	case "error", "client", "listener":
		return true
	}
	return false
}

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.next.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, slog.LevelDebug, "mqtt: "+r.Message, 0)
	r.Attrs(func(a slog.Attr) bool {
		if loggable(a.Key) {
			out.AddAttrs(slog.String(a.Key, a.Value.String()))
		}
		return true
	})
	return q.next.Handle(ctx, out)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	var kept []slog.Attr
	for _, a := range attrs {
		if loggable(a.Key) {
			kept = append(kept, a)
		}
	}
	return quiet{q.next.WithAttrs(kept)}
}

func (q quiet) WithGroup(string) slog.Handler { return q }

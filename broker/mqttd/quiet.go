package mqttd

import (
	"context"
	"log/slog"

	"github.com/signetd/signet/broker/tally"
)

// quiet lets mochi's records through as debug messages, without packets:
// mochi logs whole ones, payloads and passwords included, and at a level that
// any client can flood.
type quiet struct {
	told *tally.Log
	next slog.Handler // says what is enabled
}

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
	var attrs []any
	r.Attrs(func(a slog.Attr) bool {
		if loggable(a.Key) {
			attrs = append(attrs, slog.String(a.Key, a.Value.String()))
		}
		return true
	})
	q.told.Note(ctx, slog.LevelDebug, "mochi "+r.Message, "mqtt: "+r.Message, attrs...)
	return nil
}

// WithAttrs gives q: nothing that mochi adds to all of its lines is worth one.
func (q quiet) WithAttrs([]slog.Attr) slog.Handler { return q }

func (q quiet) WithGroup(string) slog.Handler { return q }

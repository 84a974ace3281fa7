package daemon

import (
	"context"
	"log"
	"log/slog"
	"strings"

	"github.com/signetd/signet/broker/tally"
)

// httpLog takes what net/http says of itself: a handler's panic is an error of ours, the
// rest is about clients who went away or speak something else.
func httpLog(to *slog.Logger) *log.Logger { return log.New(&httpLines{tally.New(to)}, "", 0) }

type httpLines struct{ told *tally.Log }

// Write implements io.Writer for one line.
func (h *httpLines) Write(line []byte) (int, error) {
	level, kind, said := slog.LevelDebug, "client", strings.TrimSpace(string(line))
	if strings.HasPrefix(said, "http: panic") || strings.HasPrefix(said, "http2: panic") {
		level, kind = slog.LevelError, "panic"
	}
	h.told.Note(context.Background(), level, kind, "http server", "said", said)
	return len(line), nil
}

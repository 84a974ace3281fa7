package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// A handler's panic is told as an error of ours, over HTTP/2 too; what clients bring about is not.
func TestHTTPLog(t *testing.T) {
	for line, level := range map[string]string{
		"http: panic serving 192.0.2.1:4711: boom":       "ERROR",
		"http2: panic serving 192.0.2.1:4711: boom":      "ERROR",
		"http: TLS handshake error from 192.0.2.1:4711:": "DEBUG",
	} {
		var out bytes.Buffer
		httpLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))).Print(line)
		if !strings.Contains(out.String(), "level="+level) {
			t.Errorf("%q: %s", line, &out)
		}
	}
}

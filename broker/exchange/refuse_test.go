package exchange

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
)

// What the store cannot do for lack of room is no fault of the device's, nor one
// that its next try finds mended.
func TestRefuseWhenFull(t *testing.T) {
	full := fmt.Errorf("commit: %w", broker.ErrFull)
	for name, c := range map[string]struct {
		err   error
		code  protocol.Code
		retry uint32
		level string
	}{
		"login":   {recordError(full, ""), protocol.CodeBusy, 60, "ERROR"},
		"refresh": {fmt.Errorf("refresh: %w", full), protocol.CodeBusy, 60, "ERROR"},
		"busy":    {fmt.Errorf("made again meanwhile: %w", protocol.CodeBusy), protocol.CodeBusy, 1, "INFO"},
		"unknown": {fmt.Errorf("disk on fire"), protocol.CodeInternal, 0, "ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			r := New(nil, nil, nil, slog.New(slog.NewTextHandler(&log, nil)))
			m, ok := r.refuse(t.Context(), Caller{}, &protocol.Start{}, c.err).(*protocol.Refusal)
			if !ok || m.Problem.Signet.Code != c.code || uint32(m.Problem.Signet.RetryAfter) != c.retry {
				t.Errorf("refused with %+v", m)
			}
			if !strings.Contains(log.String(), "level="+c.level) {
				t.Errorf("logged %s", log.String())
			}
		})
	}
}

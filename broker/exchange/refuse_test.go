package exchange

import (
	"errors"
	"fmt"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
)

// What the store cannot do for lack of room is no fault of the device's, nor one
// that its next try finds mended.
func TestRefuse(t *testing.T) {
	full := fmt.Errorf("commit: %w", broker.ErrFull)
	for name, c := range map[string]struct {
		err   error
		code  protocol.Code
		retry uint32
	}{
		"login":   {recordError(full, ""), protocol.CodeBusy, 60},
		"refresh": {fmt.Errorf("refresh: %w", full), protocol.CodeBusy, 60},
		"busy":    {fmt.Errorf("made again meanwhile: %w", protocol.CodeBusy), protocol.CodeBusy, 1},
		"unknown": {errors.New("disk on fire"), protocol.CodeInternal, 0},
	} {
		t.Run(name, func(t *testing.T) {
			out := refuse(&protocol.Start{}, c.err)
			m, ok := out.Reply.(*protocol.Refusal)
			if !ok || m.Problem.Signet.Code != c.code || m.Problem.Signet.RetryAfter != c.retry || out.Code != c.code {
				t.Errorf("refused with %+v", m)
			}
			if !errors.Is(out.Err, c.err) || out.Admitted != nil {
				t.Errorf("%+v", out)
			}
		})
	}
}

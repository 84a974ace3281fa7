package exchange

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident/identtest"
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
			out := Refuse(&protocol.Start{}, c.err)
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

// TestBusy: what is not looked at is answered with its call's id and a time to wait, if it
// says which call it is of, and with nothing otherwise.
func TestBusy(t *testing.T) {
	r := NewResponder(nil, nil)
	d := identtest.Device(t, "demo:lamp")
	start := &protocol.Start{Request: protocol.Request{Pool: d.Pool, Name: d.Name, Nonce: make([]byte, protocol.NonceLen), SealTo: make([]byte, 32)}}
	start.ID = protocol.CallID{7}
	raw, err := protocol.Encode(start)
	if err != nil {
		t.Fatal(err)
	}
	m, err := protocol.Decode(r.Busy(raw, 1500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := m.(*protocol.Refusal); !ok || got.Call() != start.ID || got.Problem.Signet.Code != protocol.CodeBusy || got.Problem.Signet.RetryAfter != 2 {
		t.Errorf("answered %+v", m)
	}
	if got := r.Busy([]byte("nonsense"), time.Second); got != nil {
		t.Errorf("nonsense is answered %x", got)
	}
}

package wrap

import (
	"fmt"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// TestNoRoomToEnroll: without room an enrollment is refused before anything is done for it,
// with a time to come again, and everything else goes on.
func TestNoRoomToEnroll(t *testing.T) {
	var full error
	core := &always{Outcome: granted(ident.Device{}, exchange.Admission{})}
	h := Roomed(core, func() error { return full })
	ask := func(m protocol.Message) exchange.Outcome { return h.Handle(t.Context(), exchange.Caller{}, m) }
	others := []protocol.Message{&protocol.Start{}, &protocol.Answer{}, &protocol.Refresh{}}
	for range 2 {
		asked := core.asked
		for _, m := range others {
			ask(m)
		}
		if core.asked != asked+len(others) {
			t.Errorf("%d of %d came through", core.asked-asked, len(others))
		}
		asked = core.asked
		out := ask(&protocol.Enroll{})
		m, refusal := out.Reply.(*protocol.Refusal)
		switch {
		case full == nil && core.asked != asked+1:
			t.Error("refused with room")
		case full != nil && (core.asked != asked || !refusal || out.Code != protocol.CodeBusy || m.Problem.Signet.RetryAfter == 0 || out.Err == nil):
			t.Errorf("without room: %+v", out)
		}
		full = fmt.Errorf("%w for new devices", broker.ErrFull)
	}
}

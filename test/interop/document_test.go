package interop

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
)

// TestTheDocumentHasTheCodesFigures keeps the times and limits of docs/protocol.md
// those of the code, where the code names them.
func TestTheDocumentHasTheCodesFigures(t *testing.T) {
	raw, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	minutes := func(d time.Duration) int { return int(d / time.Minute) }
	hours := func(d time.Duration) int { return int(d / time.Hour) }
	thousands := func(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
	for _, want := range []string{
		fmt.Sprintf("| answer to a challenge | %d min after it was made |", minutes(auth.SessionLife)),
		fmt.Sprintf("| wrong answers to a custom challenge | %d in a row, then %d s to %d h between two |", broker.FreeTries, int(broker.WaitAfter(broker.FreeTries)/time.Second), hours(broker.WaitAfter(1000))),
		fmt.Sprintf("| challenges of a call | at most %d |", auth.MaxRounds),
		fmt.Sprintf("| access token | %d min to %d h; %d h unless the client says otherwise |", minutes(broker.MinAccessLife), hours(broker.MaxAccessLife), hours(broker.DefaultAccessLife)),
		fmt.Sprintf("| refresh token | %d h to %d years; %d days; or none |", hours(broker.MinRefreshLife), hours(broker.MaxRefreshLife)/24/365, hours(broker.DefaultRefreshLife)/24),
		fmt.Sprintf("| grace for a replaced refresh token | up to %d h; %d min |", hours(broker.MaxGrace), minutes(broker.DefaultGrace)),
		fmt.Sprintf("| request or reply | %d KiB; `enroll` and `answer` %d KiB |", protocol.MaxMessage>>10, protocol.MaxAnswer>>10),
		fmt.Sprintf("| opening message | %d KiB of it are repeated in answers |", protocol.MaxOpening>>10),
		fmt.Sprintf("| password in CONNECT | %d KiB |", protocol.MaxConnect>>10),
		fmt.Sprintf("| MQTT password | %d min to connect, ", minutes(broker.DefaultMQTTPasswordLife)),
		fmt.Sprintf("| session | %s bytes |", thousands(protocol.MaxSession)),
		fmt.Sprintf("| map of texts | %d pairs, ", protocol.MaxPairs),
		fmt.Sprintf("names have 1 to %d and values at most %d printable ASCII characters", broker.MaxAttrKey, broker.MaxAttrValue),
		fmt.Sprintf("%d pairs with those are the most", broker.MaxAttributes),
		fmt.Sprintf("at most %d levels and %d members", detcbor.MaxDepth, detcbor.MaxItems),
		fmt.Sprintf("| 2 | nonce | the broker's, %d bytes |", protocol.ServerNonce),
		fmt.Sprintf("| 6 | nonce | %d random bytes", protocol.NonceLen),
		fmt.Sprintf("The pin is the first %d bytes", protocol.PinLen),
		fmt.Sprintf("| 14 | token id | %d bytes", protocol.TokenIDLen),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the document does not say %q", want)
		}
	}
	for _, name := range []string{protocol.EventDisabled, protocol.EventRenew} {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the document does not name the event %q", name)
		}
	}
}

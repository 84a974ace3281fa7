package broker_test

import (
	"strings"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// TestWhatAClientAllowsADeviceCanAsk: an audience is as long for operators as on the wire.
func TestWhatAClientAllowsADeviceCanAsk(t *testing.T) {
	id := identtest.Device(t, "demo:lamp-1")
	for _, n := range []int{1, ident.MaxAudience, ident.MaxAudience + 1} {
		audience := strings.Repeat("a", n)
		c := broker.NewClient(id.Pool, "app")
		c.Audiences = []string{audience}
		allowed := c.Validate() == nil
		raw, err := protocol.Encode(&protocol.Start{Request: protocol.Request{
			Pool: id.Pool, Name: id.Name, Nonce: make([]byte, protocol.NonceLen), Audience: audience,
		}})
		if err == nil {
			_, err = protocol.Decode(raw)
		}
		if want := n <= ident.MaxAudience; allowed != want || (err == nil) != want {
			t.Errorf("an audience of %d bytes: a client may have it: %v, a message may: %v", n, allowed, err)
		}
	}
}

package mqttlink

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/signetd/signet/protocol"
)

// TestWhatSaysMost: of what comes at once a reply goes before the connection's end, and that before the caller's.
func TestWhatSaysMost(t *testing.T) {
	request, err := protocol.Encode(&protocol.Refresh{Head: protocol.Head{ID: protocol.CallID{1}}, Body: []byte{1}, Proof: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	ended := errors.New("the connection has ended")
	done := make(chan struct{})
	close(done)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		c := Calls{
			Send:   func(context.Context, []byte) error { return nil },
			Resend: time.Hour, Done: done, Err: func() error { return ended },
		}
		if _, err := c.RoundTrip(gone, request); !errors.Is(err, ended) {
			t.Fatalf("the connection's end and the caller's: %v", err)
		}
		c.Send = func(context.Context, []byte) error { c.Arrive(request); return nil }
		if _, err := c.RoundTrip(gone, request); err != nil {
			t.Fatalf("a reply and the connection's end: %v", err)
		}
	}
}

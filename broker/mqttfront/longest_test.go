package mqttfront_test

import (
	"strings"
	"testing"

	"github.com/signetd/signet/protocol"
)

// TestLongestAnswer: an answer of 16 KiB, the opening message that it repeats
// included, reaches the broker on a stranger's connection.
func TestLongestAnswer(t *testing.T) {
	f := start(t, nil)
	link := f.anonymous()
	id := protocol.CallID{7}
	d := f.Name(t, "lamp")
	w := protocol.Request{
		Pool: d.Pool, Name: d.Name, Nonce: make([]byte, protocol.NonceLen), SealTo: make([]byte, 32),
		Metadata: map[string]string{"a": strings.Repeat("x", 1024), "b": strings.Repeat("x", 1024)},
	}
	opening := f.encode(&protocol.Start{Head: protocol.Head{ID: id}, Request: w})
	m := &protocol.Answer{Head: protocol.Head{ID: id}, Session: make([]byte, protocol.MaxSession), Proof: make([]byte, 64), Secret: make([]byte, 300), Opening: opening}
	m.Secret = make([]byte, 300+protocol.MaxAnswer-len(f.encode(m)))
	raw := f.encode(m)
	if len(raw) != protocol.MaxAnswer {
		t.Fatalf("%d bytes", len(raw))
	}
	reply, err := link.RoundTrip(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := protocol.Decode(reply); err != nil || r.Type() != protocol.TypeRefusal {
		t.Errorf("got %v %v, want a refusal", r, err)
	}
}

func (f *fixture) encode(m protocol.Message) []byte {
	f.t.Helper()
	raw, err := protocol.Encode(m)
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

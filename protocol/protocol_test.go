package protocol_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

func request(t *testing.T) protocol.Request {
	t.Helper()
	d := identtest.Device(t, "demo:lamp-1")
	return protocol.Request{Pool: d.Pool, Name: d.Name, Nonce: bytes.Repeat([]byte{7}, 16), SealTo: bytes.Repeat([]byte{9}, 32)}
}

func samples(t *testing.T) []protocol.Message {
	head := protocol.Head{ID: protocol.CallID{1, 2, 3}}
	opening, err := protocol.Encode(&protocol.Start{Head: head, Request: request(t)})
	if err != nil {
		t.Fatal(err)
	}
	return []protocol.Message{
		&protocol.Start{Head: head, Request: request(t)},
		&protocol.Enroll{Head: head, Request: request(t), Key: []byte{1}, TokenID: make([]byte, 8), Attributes: map[string]string{"site": "north"}},
		&protocol.Challenge{Head: head, Session: []byte{1}, Body: []byte{2}},
		&protocol.Answer{Head: head, Session: []byte{1}, Proof: []byte{2}, Opening: opening},
		&protocol.Grant{Head: head, Sealed: []byte{1}},
		&protocol.Refresh{Head: head, Body: []byte{1}, Proof: []byte{1}},
		&protocol.Event{Head: head, Name: protocol.EventDisabled},
		protocol.Refuse(head.ID, protocol.ProblemDetail{Code: protocol.CodeVersion}),
	}
}

func TestRoundTrip(t *testing.T) {
	for _, m := range samples(t) {
		raw, err := protocol.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := protocol.Decode(raw)
		if err != nil {
			t.Fatalf("type %d: %v", m.Type(), err)
		}
		same := cmp.Comparer(func(a, b ident.Pool) bool { return a == b })
		names := cmp.Comparer(func(a, b ident.Name) bool { return a == b })
		if d := cmp.Diff(m, got, same, names, cmpopts.IgnoreUnexported(protocol.Head{}, protocol.Answer{})); d != "" {
			t.Errorf("type %d (-sent +received):\n%s", m.Type(), d)
		}
		if !bytes.Equal(got.Bytes(), raw) {
			t.Errorf("type %d: bytes not kept", m.Type())
		}
	}
}

// edit re-encodes m's map after change has had it.
func edit(t *testing.T, m protocol.Message, change func(map[int64]any)) []byte {
	t.Helper()
	raw, err := protocol.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	var top map[int64]any
	if err := detcbor.Unmarshal(raw, &top); err != nil {
		t.Fatal(err)
	}
	change(top)
	out, err := detcbor.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDecodeRefuses(t *testing.T) {
	start := func() protocol.Message {
		return &protocol.Start{Head: protocol.Head{ID: protocol.CallID{5}}, Request: request(t)}
	}
	for _, tt := range []struct {
		name   string
		change func(map[int64]any)
		want   protocol.Code
	}{
		{"other version", func(m map[int64]any) { m[0] = 2 }, protocol.CodeVersion},
		{"no version", func(m map[int64]any) { delete(m, 0) }, protocol.CodeVersion},
		{"no type", func(m map[int64]any) { delete(m, 1) }, protocol.CodeMalformed},
		{"version beyond a byte", func(m map[int64]any) { m[0] = 70000 }, protocol.CodeVersion},
		{"type beyond a byte", func(m map[int64]any) { m[1] = 70000 }, protocol.CodeMalformed},
		{"null for an optional field", func(m map[int64]any) { m[7] = nil }, protocol.CodeMalformed},
		{"null for a text", func(m map[int64]any) { m[5] = nil }, protocol.CodeMalformed},
		{"an array of integers for bytes", func(m map[int64]any) { m[6] = []int{7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7} }, protocol.CodeMalformed},
		{"numbers in metadata", func(m map[int64]any) { m[11] = map[string]int{"a": 1} }, protocol.CodeMalformed},
		{"unknown type", func(m map[int64]any) { m[1] = 99 }, protocol.CodeMalformed},
		{"critical field", func(m map[int64]any) { m[-1] = true }, protocol.CodeCritical},
		{"no nonce", func(m map[int64]any) { delete(m, 6) }, protocol.CodeMalformed},
		{"short nonce", func(m map[int64]any) { m[6] = []byte{1} }, protocol.CodeMalformed},
		{"short X25519 key", func(m map[int64]any) { m[7] = []byte{1} }, protocol.CodeMalformed},
		{"wildcard in name", func(m map[int64]any) { m[4] = "a/#" }, protocol.CodeMalformed},
		{"no pool", func(m map[int64]any) { delete(m, 3) }, protocol.CodeMalformed},
		{"nonce is text", func(m map[int64]any) { m[6] = "0123456789abcdef" }, protocol.CodeMalformed},
		{"format 2", func(m map[int64]any) { m[8] = 2 }, protocol.CodeMalformed},
		{"large", func(m map[int64]any) { m[100] = make([]byte, protocol.MaxMessage) }, protocol.CodeTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := protocol.Decode(edit(t, start(), tt.change))
			var d *protocol.DecodeError
			if !errors.As(err, &d) || d.Code != tt.want {
				t.Fatalf("got %v, want code %q", err, tt.want)
			}
			if d.ID != (protocol.CallID{5}) {
				t.Errorf("the error lost the call id")
			}
		})
	}
}

// TestDecodeWithoutCall: what does not say which call it belongs to is refused
// without an id, so that nobody is answered.
func TestDecodeWithoutCall(t *testing.T) {
	for name, change := range map[string]func(map[int64]any){
		"missing":  func(m map[int64]any) { delete(m, 2) },
		"short":    func(m map[int64]any) { m[2] = []byte{1, 2, 3} },
		"long":     func(m map[int64]any) { m[2] = make([]byte, 17) },
		"an array": func(m map[int64]any) { m[2] = []int{1, 2, 3} },
	} {
		_, err := protocol.Decode(edit(t, &protocol.Start{Head: protocol.Head{ID: protocol.CallID{5}}, Request: request(t)}, change))
		var d *protocol.DecodeError
		if !errors.As(err, &d) || d.Code != protocol.CodeMalformed || d.ID != (protocol.CallID{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodePassesOverOptionalFields(t *testing.T) {
	raw := edit(t, &protocol.Start{Request: request(t)}, func(m map[int64]any) { m[99] = "later" })
	if _, err := protocol.Decode(raw); err != nil {
		t.Fatal(err)
	}
}

func TestTranscriptBindsOrderAndLength(t *testing.T) {
	var zero protocol.Transcript
	ab, ba := zero.Add([]byte("a")).Add([]byte("b")), zero.Add([]byte("b")).Add([]byte("a"))
	if ab == ba || ab == zero.Add([]byte("ab")) {
		t.Error("different conversations, one transcript")
	}
	if bytes.Equal(protocol.ProofInput("key", ab), protocol.ProofInput("psk", ab)) {
		t.Error("two purposes, one proof input")
	}
}

func TestSealedGrantOpensInItsExchangeOnly(t *testing.T) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var t0 protocol.Transcript
	t0 = t0.Add([]byte("x"))
	sealed, err := protocol.SealGrant(key.PublicKey().Bytes(), t0, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := protocol.OpenGrant(key, t0, sealed); err != nil || string(got) != "body" {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := protocol.OpenGrant(key, t0.Add(nil), sealed); !errors.Is(err, protocol.ErrSealed) {
		t.Errorf("other transcript: %v", err)
	}
	if _, err := protocol.OpenAnswer(key, t0, sealed); !errors.Is(err, protocol.ErrSealed) {
		t.Errorf("grant taken for an answer: %v", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := protocol.OpenGrant(key, t0, sealed); !errors.Is(err, protocol.ErrSealed) {
		t.Errorf("changed: %v", err)
	}
}

func TestEnrollToken(t *testing.T) {
	tok, err := protocol.NewEnrollToken(bytes.Repeat([]byte{3}, 28), bytes.Repeat([]byte{4}, 32))
	if err != nil {
		t.Fatal(err)
	}
	again, err := protocol.ParseEnrollToken(tok.Reveal())
	if err != nil || again != tok {
		t.Fatalf("got %v, %v", again, err)
	}
	if strings.Contains(tok.String(), tok.Reveal()[8:]) {
		t.Error("String shows the secret")
	}
	for _, bad := range []string{"", "sgne_", tok.Reveal()[:20], "x" + tok.Reveal(), tok.Reveal() + "A"} {
		if _, err := protocol.ParseEnrollToken(bad); !errors.Is(err, protocol.ErrEnrollToken) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

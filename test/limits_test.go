package test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/test/harness"
)

// pairs gives n pairs of size bytes each, names and values together.
func pairs(n, size int) map[string]string {
	m := make(map[string]string, n)
	for i := range n {
		m[fmt.Sprintf("%02d", i)] = strings.Repeat("x", size-2)
	}
	return m
}

// TestAsMuchAsAMessageHolds: metadata and attributes count for nothing but the size
// of the message that says them, through every round of the exchange.
func TestAsMuchAsAMessageHolds(t *testing.T) {
	s, h := harness.New(t), counting(3)
	quiz(t, s, h)
	solve := func(_ context.Context, _ string, params map[string]string) ([]byte, error) {
		return []byte(params["question"]), nil
	}
	for name, m := range map[string]struct {
		metadata, attributes map[string]string
		fits                 bool
	}{
		"sixteen pairs of metadata":     {pairs(protocol.MaxPairs, 490), nil, true},
		"metadata of 1 KiB each":        {pairs(7, 2+1024), nil, true},
		"attributes of 256 bytes each":  {nil, pairs(protocol.MaxPairs, 2+broker.MaxAttrValue), true},
		"an attribute of 257 bytes":     {nil, pairs(1, 2+broker.MaxAttrValue+1), false},
		"metadata beyond the limit":     {pairs(8, 1020), nil, false},
		"attributes beyond the limit":   {nil, pairs(8, 1020), false},
		"both, and a longer enrollment": {pairs(1, 10), pairs(12, 1020), false},
		"as much of both as may be":     {pairs(protocol.MaxPairs, 490), pairs(protocol.MaxPairs, 2+broker.MaxAttrValue), true},
	} {
		t.Run(name, func(t *testing.T) {
			id, key := s.Name(t, strings.NewReplacer(" ", "-", ",", "").Replace(name)), harness.NewP256(t)
			of := func(client string) *agent.Agent {
				a, err := agent.New(t.Context(), agent.Config{Device: id, Client: client, Prover: key, State: &agent.Memory{}, Pin: s.Pin(t), Solver: solve})
				if err != nil {
					t.Fatal(err)
				}
				return a
			}
			_, err := of("").Enroll(t.Context(), s, agent.Admission{Token: s.Token(t, 1), Attributes: m.attributes})
			if err == nil {
				_, err = of("quiz").Authenticate(t.Context(), s, agent.Ask{Metadata: m.metadata})
			}
			if (err == nil) != m.fits {
				t.Fatalf("fits: %t, but %v", m.fits, err)
			}
			if d, err := s.Store.Device(t.Context(), id); m.fits && (err != nil || len(d.Attributes) != len(m.attributes)) {
				t.Errorf("%d of %d attributes are stored: %v", len(d.Attributes), len(m.attributes), err)
			}
			for _, e := range h.seen(check) {
				if e.Device.Name == id.Name.String() && len(e.Request.Metadata) != len(m.metadata) {
					t.Errorf("a hook saw %d of %d pairs", len(e.Request.Metadata), len(m.metadata))
				}
			}
		})
	}
}

// TestOpeningsThatCannotBeRepeatedAreRefused: at once, and not when they are answered.
func TestOpeningsThatCannotBeRepeatedAreRefused(t *testing.T) {
	s := harness.New(t)
	k := newTalk(t, s.Exchange, s.Name(t, "lamp-1"))
	m := &protocol.Enroll{Head: protocol.Head{ID: k.id}, Request: k.request, Key: harness.NewP256(t).PublicKey(), Attributes: pairs(9, 1020)}
	wantCode(t, ask(t, s.Exchange, k.encode(m)), protocol.CodeTooLarge, "9 KiB to repeat")
}

// TestAnswersOfSixteenKiB: the longest answer is looked at, a longer one is none.
func TestAnswersOfSixteenKiB(t *testing.T) {
	s := harness.New(t)
	k := newTalk(t, s.Exchange, s.Name(t, "lamp-1"))
	k.request.Metadata = pairs(7, 2+1024)
	k.start()
	longest := k.longestAnswer()
	if len(longest) != protocol.MaxAnswer {
		t.Fatalf("%d bytes", len(longest))
	}
	wantCode(t, ask(t, s.Exchange, longest), protocol.CodeDenied, "an answer of 16 KiB with a wrong proof")
}

// longestAnswer is as long as an answer may be, and wrong.
func (k *talk) longestAnswer() []byte {
	k.t.Helper()
	m := &protocol.Answer{Head: protocol.Head{ID: k.id}, Session: k.challenge.Session, Proof: make([]byte, 64), Secret: make([]byte, 300), Opening: k.opening}
	m.Secret = make([]byte, 300+protocol.MaxAnswer-len(k.encode(m)))
	return k.encode(m)
}

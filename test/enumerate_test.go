package test

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/test/harness"
)

// strangers are names of equal length and what a pool knows of each, none of which
// whoever lacks the key may find out.
func strangers(t *testing.T, s *harness.Signet) []ident.Device {
	t.Helper()
	names := []ident.Device{s.Name(t, "lamp-0")} // nobody
	for i, d := range []broker.Device{
		{Status: broker.StatusActive}, {Status: broker.StatusDisabled}, {Status: broker.StatusQuarantined}, {Status: broker.StatusPending},
		{Status: broker.StatusActive, Authenticators: []broker.Authenticator{{ID: broker.KeyID{1}, Kind: challenge.PSK, Sealed: []byte("x")}}},
		{Status: broker.StatusActive, Authenticators: []broker.Authenticator{}},
	} {
		d.ID = s.Name(t, "lamp-"+string(rune('1'+i)))
		d.Subject = ident.UUID(sum16(d.ID.String()))
		if d.Authenticators == nil {
			d.Authenticators = []broker.Authenticator{harness.Registered(t, harness.NewP256(t).PublicKey())}
		}
		if err := s.Store.CreateDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, d); err != nil {
			t.Fatal(err)
		}
		names = append(names, d.ID)
	}
	return names
}

// fixed makes a call whose own choices are the same each time.
func fixed(t *testing.T, s *harness.Signet, d ident.Device) *talk {
	t.Helper()
	k := newTalk(t, s.Exchange, d)
	k.id, k.request.Nonce = protocol.CallID{1}, make([]byte, protocol.NonceLen)
	return k
}

// TestNobodyCanListNames: to whoever lacks the key a device that does not exist, is
// disabled, pending, quarantined or has another key says the same, byte for byte,
// at the same point (T-26).
func TestNobodyCanListNames(t *testing.T) {
	s := harness.New(t)
	key := harness.NewP256(t)
	type said struct {
		Challenge        int // bytes: nonce and session are random
		Kind, Issuer     string
		Answer, Junk     string
		Refresh, Enroll  string
		TokenOfNobody    string
		AnswerToAnothers string
	}
	hear := func(d ident.Device, p agent.Prover) said {
		var out said
		k := fixed(t, s, d)
		k.start()
		out.Challenge, out.Kind, out.Issuer = len(k.encode(k.challenge)), k.body.Kind, k.body.Issuer
		reply := func(raw []byte) string {
			return hex.EncodeToString(s.Exchange.Respond(t.Context(), exchange.Caller{}, raw).Message)
		}
		out.Answer = reply(k.proof(p))
		out.Junk = reply(k.encode(&protocol.Answer{Head: protocol.Head{ID: k.id}, Session: k.challenge.Session, Opening: k.opening, Proof: []byte("junk")}))
		out.AnswerToAnothers = reply(k.encode(&protocol.Answer{Head: protocol.Head{ID: k.id}, Session: k.challenge.Session, Opening: k.opening, Secret: make([]byte, 64)}))
		out.Refresh = reply(fixed(t, s, d).refresh(p, ident.UUID{1}, []byte("x")))
		out.Enroll = reply(enrollment(t, s, d, p, nil))
		out.TokenOfNobody = reply(enrollment(t, s, d, p, make([]byte, protocol.TokenIDLen)))
		return out
	}
	names := strangers(t, s)
	want := hear(names[0], key)
	for _, d := range names[1:] {
		if diff := cmp.Diff(want, hear(d, key)); diff != "" {
			t.Errorf("%s (-nobody +it):\n%s", d, diff)
		}
	}
	for what, raw := range map[string]string{"answer": want.Answer, "refresh": want.Refresh, "enrollment": want.Enroll} {
		bytes, err := hex.DecodeString(raw)
		if err != nil {
			t.Fatal(err)
		}
		m, err := protocol.Decode(bytes)
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, m, protocol.CodeDenied, what)
	}
}

// TestLogTellsStrangersApart: the operator, whom a refused device's owner asks, reads what the
// device does not hear.
func TestLogTellsStrangersApart(t *testing.T) {
	for i, want := range map[int]string{0: "no device of that name", 1: `err="proof does not fit`, 6: "nothing of the kind"} {
		var said bytes.Buffer
		s, err := harness.Open(t.Context(), t.TempDir(), slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		d, key := strangers(t, s)[i], harness.NewP256(t)
		k := fixed(t, s, d)
		k.start()
		for _, raw := range [][]byte{k.proof(key), fixed(t, s, d).refresh(key, ident.UUID{1}, []byte("x"))} {
			s.Exchange.Respond(t.Context(), exchange.Caller{}, raw)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		lines := slices.DeleteFunc(strings.Split(said.String(), "\n"), func(line string) bool { return !strings.Contains(line, "msg=refused") })
		if len(lines) != 2 || !strings.Contains(lines[0], want) || !strings.Contains(lines[1], want) {
			t.Errorf("%s: the log says %q", d, lines)
		}
	}
}

// enrollment begins an enrollment of d with p's key and gives the answer to its challenge.
func enrollment(t *testing.T, s *harness.Signet, d ident.Device, p agent.Prover, tokenID []byte) []byte {
	t.Helper()
	k := fixed(t, s, d)
	k.opening = k.encode(&protocol.Enroll{Head: protocol.Head{ID: k.id}, Request: k.request, Key: p.PublicKey(), TokenID: tokenID})
	k.said = k.said.Add(k.opening)
	k.take(ask(t, s.Exchange, k.opening))
	proof, err := p.Prove(protocol.ProofInput(protocol.PurposeEnroll, k.said))
	if err != nil {
		t.Fatal(err)
	}
	a := &protocol.Answer{Head: protocol.Head{ID: k.id}, Session: k.challenge.Session, Opening: k.opening, Proof: proof}
	if tokenID != nil {
		a.TokenProof = make([]byte, 64)
	}
	return k.encode(a)
}

// TestOnlyTheKeyLearnsTheStatus: whoever has the key is told what became of the device.
func TestOnlyTheKeyLearnsTheStatus(t *testing.T) {
	s := harness.New(t)
	for status, code := range map[broker.Status]protocol.Code{
		broker.StatusDisabled: protocol.CodeDisabled, broker.StatusQuarantined: protocol.CodeDisabled, broker.StatusPending: protocol.CodePending,
	} {
		key, id := harness.NewEd25519(t), s.Name(t, "lamp-"+string(status))
		d := broker.Device{ID: id, Subject: ident.UUID(sum16(id.String())), Status: status, Authenticators: []broker.Authenticator{harness.Registered(t, key.PublicKey())}}
		if err := s.Store.CreateDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, d); err != nil {
			t.Fatal(err)
		}
		k := newTalk(t, s.Exchange, id)
		k.start()
		wantCode(t, k.answer(k.proof(key)), code, string(status))
		wantCode(t, ask(t, s.Exchange, enrollment(t, s, id, key, nil)), code, "enrollment of a "+string(status)+" device")
		wantCode(t, ask(t, s.Exchange, newTalk(t, s.Exchange, id).refresh(key, ident.UUID{1}, []byte("x"))), code, "refresh of a "+string(status)+" device")
	}
}

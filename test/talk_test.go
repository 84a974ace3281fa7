package test

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/test/harness"
)

// A talk is one call made by hand, message by message, so that tests can send each
// of them as often, as late and to whom they like.
type talk struct {
	t       testing.TB
	to      *exchange.Responder
	id      protocol.CallID
	request protocol.Request
	key     *ecdh.PrivateKey
	said    protocol.Transcript

	opening   []byte       // start or enroll
	by        agent.Prover // who answered last
	challenge *protocol.Challenge
	body      *protocol.ChallengeBody
}

// newTalk prepares a call of the device d.
func newTalk(t testing.TB, to *exchange.Responder, d ident.Device) *talk {
	t.Helper()
	k := &talk{t: t, to: to, request: protocol.Request{Pool: d.Pool, Name: d.Name, Nonce: make([]byte, protocol.NonceLen)}}
	if _, err := rand.Read(k.request.Nonce); err != nil {
		t.Fatal(err)
	}
	if _, err := rand.Read(k.id[:]); err != nil {
		t.Fatal(err)
	}
	var err error
	if k.key, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	k.request.SealTo = k.key.PublicKey().Bytes()
	return k
}

func (k *talk) encode(m protocol.Message) []byte {
	k.t.Helper()
	raw, err := protocol.Encode(m)
	if err != nil {
		k.t.Fatal(err)
	}
	return raw
}

// ask sends raw to a responder and gives its reply.
func ask(t testing.TB, to *exchange.Responder, raw []byte) protocol.Message {
	t.Helper()
	r := to.Respond(t.Context(), exchange.Caller{}, raw)
	m, err := protocol.Decode(r.Message)
	if err != nil {
		t.Fatalf("reply %x: %v", r.Message, err)
	}
	return m
}

// start opens the call and takes the first challenge.
func (k *talk) start() protocol.Message {
	k.t.Helper()
	k.opening = k.encode(&protocol.Start{Head: protocol.Head{ID: k.id}, Request: k.request})
	k.said = k.said.Add(k.opening)
	return k.take(ask(k.t, k.to, k.opening))
}

// take notes a challenge.
func (k *talk) take(m protocol.Message) protocol.Message {
	k.t.Helper()
	c, ok := m.(*protocol.Challenge)
	if !ok {
		return m
	}
	k.challenge = c
	var err error
	if k.body, err = protocol.DecodeChallengeBody(c.Body); err != nil {
		k.t.Fatal(err)
	}
	k.said = k.said.Add(c.Body)
	return m
}

// enroll opens the call as an enrollment by token and answers its first challenge.
func (k *talk) enroll(t testing.TB, p agent.Prover, tok *protocol.EnrollToken) protocol.Message {
	t.Helper()
	k.by = p
	k.opening = k.encode(&protocol.Enroll{Head: protocol.Head{ID: k.id}, Request: k.request, Key: p.PublicKey(), TokenID: tok.ID()})
	k.said = k.said.Add(k.opening)
	k.take(ask(t, k.to, k.opening))
	proof, err := p.Prove(protocol.ProofInput(protocol.PurposeEnroll, k.said))
	if err != nil {
		t.Fatal(err)
	}
	key, err := tok.Key()
	if err != nil {
		t.Fatal(err)
	}
	return k.answer(k.encode(&protocol.Answer{
		Head: protocol.Head{ID: k.id}, Session: k.challenge.Session, Opening: k.opening,
		Proof: proof, TokenProof: ed25519.Sign(key, protocol.ProofInput(protocol.PurposeEnrollToken, k.said)),
	}))
}

// proof makes the answer to a key or psk challenge.
func (k *talk) proof(p agent.Prover) []byte {
	k.t.Helper()
	k.by = p
	proof, err := p.Prove(protocol.ProofInput(k.body.Kind, k.said))
	if err != nil {
		k.t.Fatal(err)
	}
	return k.encode(&protocol.Answer{Head: protocol.Head{ID: k.id}, Session: k.challenge.Session, Opening: k.opening, Proof: proof})
}

// secret makes the answer to a custom challenge.
func (k *talk) secret(answer string) []byte {
	k.t.Helper()
	sealed, err := protocol.SealAnswer(k.body.SealTo, k.said, []byte(answer))
	if err != nil {
		k.t.Fatal(err)
	}
	m := &protocol.Answer{Head: protocol.Head{ID: k.id}, Session: k.challenge.Session, Opening: k.opening, Secret: sealed}
	if k.by != nil {
		if m.Proof, err = k.by.Prove(protocol.SecretInput(k.said, sealed)); err != nil {
			k.t.Fatal(err)
		}
	}
	return k.encode(m)
}

// answer sends an answer, notes that it was said, and takes what follows.
func (k *talk) answer(raw []byte) protocol.Message {
	k.t.Helper()
	m := ask(k.t, k.to, raw)
	if _, refused := m.(*protocol.Refusal); refused {
		return m
	}
	k.said = k.said.Add(raw)
	return k.take(m)
}

// opened opens a grant.
func (k *talk) opened(m protocol.Message) *protocol.GrantBody {
	k.t.Helper()
	g, ok := m.(*protocol.Grant)
	if !ok {
		k.t.Fatalf("got %T %v, want a grant", m, m)
	}
	raw, err := protocol.OpenGrant(k.key, k.said, g.Sealed)
	if err != nil {
		k.t.Fatal(err)
	}
	body, err := protocol.DecodeGrantBody(raw)
	if err != nil {
		k.t.Fatal(err)
	}
	return body
}

// refresh makes a call that refreshes what g gave; what it said is in k.
func (k *talk) refresh(p agent.Prover, session ident.UUID, token []byte) []byte {
	k.t.Helper()
	handle := sha256.Sum256(token)
	body, err := detcbor.Marshal(protocol.RefreshBody{Request: k.request, Session: session, Handle: handle[:]})
	if err != nil {
		k.t.Fatal(err)
	}
	k.said = protocol.Transcript{}.Add(body)
	proof, err := p.Prove(protocol.ProofInput(protocol.PurposeRefresh, k.said))
	if err != nil {
		k.t.Fatal(err)
	}
	return k.encode(&protocol.Refresh{Head: protocol.Head{ID: k.id}, Body: body, Proof: proof})
}

// wantCode checks that m is a refusal with code.
func wantCode(t testing.TB, m protocol.Message, code protocol.Code, what string) {
	t.Helper()
	if r, ok := m.(*protocol.Refusal); !ok || r.Problem.Signet.Code != code {
		t.Errorf("%s: got %T %v, want a refusal with %q", what, m, m, code)
	}
}

// register puts a device with p's key into a pool.
func register(t testing.TB, s *harness.Signet, id ident.Device, p agent.Prover) broker.Device {
	t.Helper()
	d := broker.Device{
		ID: id, Subject: ident.UUID(sum16(id.String())), Status: broker.StatusActive,
		Authenticators: []broker.Authenticator{harness.Registered(t, p.PublicKey())},
	}
	if err := s.Store.CreateDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, d); err != nil {
		t.Fatal(err)
	}
	return d
}

func sum16(s string) [16]byte { h := sha256.Sum256([]byte(s)); return [16]byte(h[:16]) }

package agent_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

const issuer = "https://broker.example/pools/demo"

// fakeBroker speaks the protocol with real keys and keeps its sessions in memory.
// Its fields bend what it does.
type fakeBroker struct {
	t        *testing.T
	anchor   *token.Signer
	signer   *token.Signer
	sealKey  *ecdh.PrivateKey
	issued   time.Time // of its key statement
	now      time.Time
	flow     []string // custom challenges after the proof
	secret   string   // their answer
	tries    uint8
	disabled bool
	life     uint32
	not      string // audience that nobody may have
	wait     uint32 // seconds, in refusals
	admit    *protocol.EnrollToken

	bendGrant     func(*protocol.GrantBody)
	bendClaims    func(*token.Claims)
	bendChallenge func(*protocol.ChallengeBody)
	bendReply     func(raw []byte) []byte
	statementBy   *token.Signer
	moved         bool                  // its anchor is another: no device has its statement
	successions   []protocol.Succession // of earlier anchors

	mu      sync.Mutex
	devices map[ident.Name]*token.Key
	subject map[ident.Name]ident.UUID
	refresh map[[32]byte]ident.UUID
	open    map[string]*conversation
	calls   int
	refused int
	relayed bool // somebody stands between the agent and this broker
}

type conversation struct {
	said    protocol.Transcript
	request protocol.Request
	key     *token.Key
	enroll  *protocol.Enroll
	step    int
	left    uint8
	id      protocol.CallID
}

func newSigner(t *testing.T) *token.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newFakeBroker(t *testing.T) *fakeBroker {
	seal, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBroker{
		t: t, anchor: newSigner(t), signer: newSigner(t), sealKey: seal, now: time.Unix(1_790_000_000, 0), issued: time.Unix(1_780_000_000, 0), tries: 3, life: 3600,
		devices: map[ident.Name]*token.Key{}, subject: map[ident.Name]ident.UUID{}, refresh: map[[32]byte]ident.UUID{}, open: map[string]*conversation{},
	}
	b.admit = b.tokenOf(t, b.anchor)
	return b
}

// tokenOf makes an enrollment token that pins an anchor.
func (b *fakeBroker) tokenOf(t *testing.T, anchor *token.Signer) *protocol.EnrollToken {
	t.Helper()
	seed := make([]byte, 28)
	_, _ = rand.Read(seed)
	thumb := anchor.Key().Thumbprint()
	tok, err := protocol.NewEnrollToken(seed, thumb[:])
	if err != nil {
		t.Fatal(err)
	}
	return &tok
}

// End is of the connection that the agent believes to be on.
func (b *fakeBroker) End() agent.End {
	return agent.End{Channel: fakeName("the agent's end"), Server: fakeName("broker")}
}

// fakeName gives 32 bytes.
func fakeName(of string) []byte {
	sum := sha256.Sum256([]byte(of))
	return sum[:]
}

func (b *fakeBroker) RoundTrip(_ context.Context, request []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	m, err := protocol.Decode(request)
	if err != nil {
		b.t.Errorf("the agent sent what does not decode: %v", err)
		return nil, err
	}
	reply, err := b.respond(m)
	var code protocol.Code
	if errors.As(err, &code) {
		b.refused++
		reply = protocol.Refuse(m.Call(), protocol.ProblemDetail{Code: code, RetryAfter: b.wait})
	} else if err != nil {
		return nil, err
	}
	raw, err := protocol.Encode(reply)
	if b.bendReply != nil {
		raw = b.bendReply(raw)
	}
	return raw, err
}

func (b *fakeBroker) disable(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disabled = yes
}

func (b *fakeBroker) isDisabled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.disabled
}

func (b *fakeBroker) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

func (b *fakeBroker) respond(m protocol.Message) (protocol.Message, error) {
	switch m := m.(type) {
	case *protocol.Enroll:
		key, err := token.ParseCOSEKey(m.Key)
		if err != nil {
			return nil, protocol.CodeMalformed
		}
		c := &conversation{request: m.Request, key: key, enroll: m, left: b.tries, id: m.ID}
		c.said = c.said.Add(m.Bytes())
		return b.challenge(c)
	case *protocol.Start:
		c := &conversation{request: m.Request, key: b.devices[m.Name], left: b.tries, id: m.ID}
		c.said = c.said.Add(m.Bytes())
		return b.challenge(c)
	case *protocol.Answer:
		return b.answered(m)
	case *protocol.Refresh:
		return b.refreshed(m)
	}
	return nil, protocol.CodeMalformed
}

func (b *fakeBroker) challenge(c *conversation) (protocol.Message, error) {
	body := protocol.ChallengeBody{Kind: challenge.Key, Nonce: make([]byte, 32), Issuer: issuer}
	_, _ = rand.Read(body.Nonce)
	if c.enroll != nil {
		body.Kind = challenge.Enroll
	}
	if c.step > 0 {
		body.Kind, body.Params = b.flow[c.step-1], map[string]string{"ask": "colour"}
		body.SealTo = b.sealKey.PublicKey().Bytes()
		if body.Kind == challenge.Key {
			body.Params, body.SealTo = nil, nil
		} else {
			body.PoolKeys = b.poolKeys(c)
		}
	}
	if b.bendChallenge != nil {
		b.bendChallenge(&body)
	}
	raw, err := detcbor.Marshal(body)
	if err != nil {
		return nil, err
	}
	c.said = c.said.Add(raw)
	session := rand.Text()
	b.open[session] = c
	return &protocol.Challenge{Head: protocol.Head{ID: c.id}, Session: []byte(session), Body: raw}, nil
}

func (b *fakeBroker) answered(m *protocol.Answer) (protocol.Message, error) {
	c := b.open[string(m.Session)]
	if c == nil {
		return nil, protocol.CodeExpired
	}
	if !b.right(c, m) {
		if c.left--; c.left == 0 {
			delete(b.open, string(m.Session))
			return nil, protocol.CodeDenied
		}
		return protocol.Refuse(m.ID, protocol.ProblemDetail{Code: protocol.CodeWrongAnswer, TriesLeft: c.left}), nil
	}
	next := *c // a session may be answered again until it is granted, as at the real broker
	c = &next
	c.said = c.said.Add(m.Bytes())
	if c.step < len(b.flow) {
		c.step++
		return b.challenge(c)
	}
	delete(b.open, string(m.Session))
	if b.disabled {
		return nil, protocol.CodeDisabled
	}
	if c.enroll != nil {
		b.devices[c.request.Name] = c.key
		if b.subject[c.request.Name].IsZero() {
			b.subject[c.request.Name] = ident.UUID([]byte(rand.Text())[:16])
		}
	}
	return b.grant(c)
}

func (b *fakeBroker) right(c *conversation, m *protocol.Answer) bool {
	if c.step > 0 && b.flow[c.step-1] != challenge.Key {
		plain, err := protocol.OpenAnswer(b.sealKey, c.said, m.Secret)
		return err == nil && string(plain) == b.secret
	}
	purpose := challenge.Key
	if c.enroll != nil {
		purpose = protocol.PurposeEnroll
		key, err := b.admit.Key()
		if err != nil || string(c.enroll.TokenID) != string(b.admit.ID()) {
			return false
		}
		pub, err := token.NewKey(key.Public())
		if err != nil || pub.Verify(protocol.ProofInput(protocol.PurposeEnrollToken, c.said), m.TokenProof) != nil {
			return false
		}
	}
	return c.key != nil && c.key.Verify(protocol.ProofInput(purpose, c.said), m.Proof) == nil
}

func (b *fakeBroker) refreshed(m *protocol.Refresh) (protocol.Message, error) {
	body, err := protocol.DecodeRefreshBody(m.Body)
	if err != nil {
		return nil, protocol.CodeMalformed
	}
	c := &conversation{request: body.Request, key: b.devices[body.Name], id: m.ID}
	c.said = c.said.Add(m.Body)
	handle := [32]byte(body.Handle)
	switch {
	case b.disabled:
		return nil, protocol.CodeDisabled
	case c.key == nil || c.key.Verify(protocol.ProofInput(protocol.PurposeRefresh, c.said), m.Proof) != nil:
		return nil, protocol.CodeDenied
	case b.refresh[handle] != body.Session:
		return nil, protocol.CodeDenied
	}
	delete(b.refresh, handle)
	return b.grant(c)
}

func (b *fakeBroker) statement() []byte {
	by := b.anchor
	if b.statementBy != nil {
		by = b.statementBy
	}
	raw, err := protocol.EncodeStatement(&protocol.Statement{
		Issuer: issuer, Keys: []*token.Key{b.signer.Key()}, SealTo: b.sealKey.PublicKey().Bytes(), Issued: b.issued,
	}, by)
	if err != nil {
		b.t.Fatal(err)
	}
	return raw
}

// poolKeys is what the device lacks to believe the pool's keys.
func (b *fakeBroker) poolKeys(c *conversation) (k protocol.PoolKeys) {
	if c.request.Statement == nil || b.moved {
		k.Statement, k.Successions = b.statement(), b.successions
	}
	if c.enroll != nil {
		k.Anchor = b.anchor.Key().MarshalCOSE()
	}
	return k
}

func (b *fakeBroker) grant(c *conversation) (protocol.Message, error) {
	if b.not != "" && c.request.Audience == b.not {
		return nil, protocol.CodeDenied
	}
	claims := token.Claims{
		Issuer: issuer, Subject: b.subject[c.request.Name], Audience: "default", IssuedAt: b.now, Expires: b.now.Add(time.Hour),
		Nonce: c.request.Nonce, ID: []byte("12345678"), Confirmation: token.Confirm(c.key),
	}
	if b.bendClaims != nil {
		b.bendClaims(&claims)
	}
	id, err := token.SignCWT(token.ID, &claims, b.signer)
	if err != nil {
		b.t.Fatal(err)
	}
	access, err := token.SignCWT(token.Access, claims.Compact(), b.signer)
	if err != nil {
		b.t.Fatal(err)
	}
	body := protocol.GrantBody{
		Access: access, ID: id, Refresh: []byte(rand.Text() + rand.Text())[:32], Session: ident.UUID([]byte(rand.Text())[:16]), Life: b.life,
		Subject: b.subject[c.request.Name], Issuer: issuer, Publish: []string{"devices/demo/x/#"}, Subscribe: []string{"devices/demo/x/#"},
	}
	b.refresh[sha256.Sum256(body.Refresh)] = body.Session
	body.Direct = !b.relayed && bytes.Equal(c.request.Channel, b.End().Channel)
	body.PoolKeys = b.poolKeys(c)
	if b.bendGrant != nil {
		b.bendGrant(&body)
	}
	raw, err := detcbor.Marshal(body)
	if err != nil {
		return nil, err
	}
	sealed, err := protocol.SealGrant(c.request.SealTo, c.said, raw)
	return &protocol.Grant{Head: protocol.Head{ID: c.id}, Sealed: sealed}, err
}

// memoryState is a disk that may be full.
type memoryState struct {
	agent.Memory
	full error // of each Save
}

func (m *memoryState) Save(ctx context.Context, r agent.Record) error {
	if m.full != nil {
		return m.full
	}
	return m.Memory.Save(ctx, r)
}

type memoryKey struct{ s *token.Signer }

func (k memoryKey) Kind() string                    { return challenge.Key }
func (k memoryKey) PublicKey() []byte               { return k.s.Key().MarshalCOSE() }
func (k memoryKey) Prove(in []byte) ([]byte, error) { return k.s.Sign(in) }

var (
	_ agent.State  = (*memoryState)(nil)
	_ agent.Prover = memoryKey{}
	_ agent.Link   = (*fakeBroker)(nil)
	_ agent.Bound  = (*fakeBroker)(nil)
)

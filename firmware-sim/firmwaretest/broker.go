// Package firmwaretest has a small broker in memory that tests of simulated
// devices dial. It speaks the protocol with real keys, and can be told to be bad.
//
// It is for tests only: it checks what a broker must check so that faults show, and keeps
// nothing safe.
package firmwaretest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

const issuer = "https://broker.example/pools/demo"

// A Broker admits devices with Token and authenticates them. Its exported fields
// are set before the first Dial.
type Broker struct {
	// Relays: grants do not say that the device was heard on its own connection, as if somebody stood in between.
	Relays atomic.Bool

	Token *protocol.EnrollToken
	// Refuse, if not nil, may refuse a device for no good reason.
	Refuse func(ident.Name) error
	// Login, if not nil, may fail a connection with a credential.
	Login func(*agent.Credential) error

	anchor, signer *token.Signer

	mu      sync.Mutex // protects the fields below
	devices map[ident.Name]*device
	talks   map[string]*talk // by session
	conns   []*conn
	dials   int
	open    int
	most    int // largest number of calls at the same time
	calls   int
	strays  int // logins that named another session than the device had last
}

type device struct {
	key     *token.Key
	last    []byte // the id of its newest session
	subject ident.UUID
	refresh []byte // SHA-256 of the token that is good
}

type talk struct {
	id     protocol.CallID
	wish   protocol.Request
	enroll *protocol.Enroll // nil for an authentication
	key    *token.Key
	said   protocol.Transcript
}

// NewBroker makes a broker with fresh keys.
func NewBroker() (*Broker, error) {
	b := &Broker{devices: map[ident.Name]*device{}, talks: map[string]*talk{}}
	for _, s := range []**token.Signer{&b.anchor, &b.signer} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if *s, err = token.NewSigner(key); err != nil {
			return nil, err
		}
	}
	thumb := b.anchor.Key().Thumbprint()
	t, err := protocol.NewEnrollToken(random(28), thumb[:])
	b.Token = &t
	return b, err
}

// Counts gives the number of connections made, of those open, and the largest
// number of calls that were under way at once.
func (b *Broker) Counts() (dials, open, most int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dials, b.open, b.most
}

// Strays is how many logins named another session than the one that their device had last.
func (b *Broker) Strays() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.strays
}

// Drop ends all connections.
func (b *Broker) Drop() {
	b.mu.Lock()
	conns := b.conns
	b.conns = nil
	b.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // it has no errors
	}
}

// Dial connects a device; it fits firmware.Dial.
func (b *Broker) Dial(*agent.Agent) agent.Dialer {
	return func(_ context.Context, c *agent.Credential) (agent.Connection, error) {
		if c != nil && b.Login != nil {
			if err := b.Login(c); err != nil {
				return nil, err
			}
		}
		time.Sleep(time.Millisecond)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.dials++
		b.open++
		made := &conn{broker: b, done: make(chan struct{})}
		b.conns = append(b.conns, made)
		return made, nil
	}
}

type conn struct {
	broker *Broker
	once   sync.Once
	done   chan struct{}
}

// End is the same for all: nobody here tells connections apart.
func (c *conn) End() agent.End {
	name := sha256.Sum256([]byte("connection"))
	return agent.End{Channel: name[:], Server: name[:]}
}

func (c *conn) Events() <-chan *protocol.Event { return nil }
func (c *conn) Done() <-chan struct{}          { return c.done }

func (c *conn) Close() error {
	c.once.Do(func() {
		c.broker.mu.Lock()
		defer c.broker.mu.Unlock()
		c.broker.open--
		close(c.done)
	})
	return nil
}

// RoundTrip answers after a moment, so that calls overlap.
func (c *conn) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	select {
	case <-c.done:
		return nil, errors.New("connection lost")
	case <-ctx.Done():
		return nil, ctx.Err()
	default:
	}
	b := c.broker
	b.mu.Lock()
	b.calls++
	b.most = max(b.most, b.calls)
	b.mu.Unlock()
	time.Sleep(time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls--
	return b.answer(request)
}

func (b *Broker) answer(request []byte) ([]byte, error) {
	id := protocol.CallID(request[7:23])
	var reply protocol.Message
	m, err := protocol.Decode(request)
	if err == nil {
		reply, err = b.respond(m)
	} else {
		err = protocol.CodeMalformed
	}
	if err != nil {
		code := protocol.CodeInternal
		errors.As(err, &code)
		reply = protocol.Refuse(id, protocol.ProblemDetail{Code: code})
	}
	return protocol.Encode(reply)
}

func (b *Broker) respond(m protocol.Message) (protocol.Message, error) {
	switch m := m.(type) {
	case *protocol.Enroll:
		key, err := token.ParseCOSEKey(m.Key)
		if err != nil {
			return nil, protocol.CodeMalformed
		}
		t := &talk{id: m.ID, wish: m.Request, enroll: m, key: key}
		t.said = t.said.Add(m.Bytes())
		return b.challenge(t, challenge.Enroll)
	case *protocol.Start:
		t := &talk{id: m.ID, wish: m.Request}
		if d := b.devices[m.Name]; d != nil {
			t.key = d.key
			if !bytes.Equal(m.Last, d.last) {
				b.strays++
			}
		}
		t.said = t.said.Add(m.Bytes())
		return b.challenge(t, challenge.Key)
	case *protocol.Answer:
		return b.answered(m)
	case *protocol.Refresh:
		return b.refreshed(m)
	}
	return nil, protocol.CodeMalformed
}

func (b *Broker) challenge(t *talk, kind string) (protocol.Message, error) {
	body, err := detcbor.Marshal(protocol.ChallengeBody{Kind: kind, Nonce: random(32), Issuer: issuer})
	if err != nil {
		return nil, err
	}
	t.said = t.said.Add(body)
	session := random(16)
	b.talks[string(session)] = t
	return &protocol.Challenge{Head: protocol.Head{ID: t.id}, Session: session, Body: body}, nil
}

func (b *Broker) answered(m *protocol.Answer) (protocol.Message, error) {
	t := b.talks[string(m.Session)]
	if t == nil {
		return nil, protocol.CodeReplayed
	}
	if !b.right(t, m) && t.enroll == nil {
		return nil, protocol.CodeDenied
	}
	if !b.right(t, m) {
		return protocol.Refuse(m.ID, protocol.ProblemDetail{Code: protocol.CodeWrongAnswer, TriesLeft: 2}), nil
	}
	delete(b.talks, string(m.Session))
	t.said = t.said.Add(m.Bytes())
	if t.enroll != nil {
		if err := b.admit(t); err != nil {
			return nil, err
		}
	}
	return b.grant(t)
}

func (b *Broker) admit(t *talk) error {
	d := b.devices[t.wish.Name]
	if d == nil {
		b.devices[t.wish.Name] = &device{key: t.key, subject: ident.UUID(random(16))}
		return nil
	}
	if d.key.Thumbprint() != t.key.Thumbprint() {
		return protocol.CodeExists
	}
	return nil
}

func (b *Broker) right(t *talk, m *protocol.Answer) bool {
	if t.enroll == nil {
		return t.key != nil && t.key.Verify(protocol.ProofInput(challenge.Key, t.said), m.Proof) == nil
	}
	private, err := b.Token.Key()
	if err != nil || string(t.enroll.TokenID) != string(b.Token.ID()) {
		return false
	}
	public, err := token.NewKey(private.Public())
	return err == nil && public.Verify(protocol.ProofInput(protocol.PurposeEnrollToken, t.said), m.TokenProof) == nil &&
		t.key.Verify(protocol.ProofInput(protocol.PurposeEnroll, t.said), m.Proof) == nil
}

func (b *Broker) refreshed(m *protocol.Refresh) (protocol.Message, error) {
	body, err := protocol.DecodeRefreshBody(m.Body)
	if err != nil {
		return nil, protocol.CodeMalformed
	}
	d := b.devices[body.Name]
	t := &talk{id: m.ID, wish: body.Request}
	t.said = t.said.Add(m.Body)
	if d == nil || d.key.Verify(protocol.ProofInput(protocol.PurposeRefresh, t.said), m.Proof) != nil || string(body.Handle) != string(d.refresh) {
		return nil, protocol.CodeDenied
	}
	return b.grant(t)
}

func (b *Broker) grant(t *talk) (protocol.Message, error) {
	if b.Refuse != nil {
		if err := b.Refuse(t.wish.Name); err != nil {
			return nil, err
		}
	}
	d, now := b.devices[t.wish.Name], time.Now()
	claims := token.Claims{
		Issuer: issuer, Subject: d.subject, Audience: "demo", IssuedAt: now, Expires: now.Add(time.Hour),
		Nonce: t.wish.Nonce, ID: random(8), Confirmation: token.Confirm(d.key),
	}
	id, err := token.SignCWT(token.ID, &claims, b.signer)
	if err != nil {
		return nil, err
	}
	access, err := token.SignCWT(token.Access, claims.Compact(), b.signer)
	if err != nil {
		return nil, err
	}
	body := protocol.GrantBody{
		Direct: !b.Relays.Load(), Access: access, ID: id, Refresh: random(32), Session: ident.UUID(random(16)), Life: 3600, Subject: d.subject, Issuer: issuer,
		Publish: []string{"devices/#"}, Subscribe: []string{"devices/#"}, PoolKeys: protocol.PoolKeys{Anchor: b.anchor.Key().MarshalCOSE()},
	}
	if body.Statement, err = b.statement(); err != nil {
		return nil, err
	}
	hash := sha256.Sum256(body.Refresh)
	d.refresh, d.last = hash[:], body.Session[:]
	raw, err := detcbor.Marshal(body)
	if err != nil {
		return nil, err
	}
	sealed, err := protocol.SealGrant(t.wish.SealTo, t.said, raw)
	return &protocol.Grant{Head: protocol.Head{ID: t.id}, Sealed: sealed}, err
}

func (b *Broker) statement() ([]byte, error) {
	return protocol.EncodeStatement(&protocol.Statement{
		Issuer: issuer, Keys: []*token.Key{b.signer.Key()}, SealTo: make([]byte, 32), Issued: time.Unix(1_780_000_000, 0),
	}, b.anchor)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

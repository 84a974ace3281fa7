package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"golang.org/x/sync/singleflight"
)

// Reads is what authentication reads and counts.
type Reads interface {
	Pool(ctx context.Context, name ident.Pool) (broker.Pool, error)
	Client(ctx context.Context, pool ident.Pool, id string) (broker.Client, error)
	Flow(ctx context.Context, pool ident.Pool, name string) (broker.Flow, error)
	Device(ctx context.Context, id ident.Device) (broker.Device, error)
	EnrolToken(ctx context.Context, pool ident.Pool, id string) (broker.EnrolToken, error)
	CountTry(ctx context.Context, by broker.By, exchange ident.UUID, until time.Time) (int, error)
}

// Opener opens secrets that the directory holds sealed.
type Opener interface {
	Open(purpose string, sealed []byte) ([]byte, error)
}

// Config is what New needs. Now and Random default to the real ones.
type Config struct {
	Reads   Reads
	Secrets Opener
	Hooks   Hooks // may be nil: then flows with hooks are refused
	// SessionKey is the cluster's secret for sealed sessions, at least 32 bytes.
	SessionKey []byte
	Now        func() time.Time
	Random     io.Reader
}

// An Authenticator runs exchanges. It is safe for concurrent use.
type Authenticator struct {
	dir     Reads
	secrets Opener
	hooks   Hooks
	sealer  *sealer
	decoys  decoys
	keys    *keyCache
	now     func() time.Time
	random  io.Reader
	trying  singleflight.Group // custom answers being looked at
}

// New checks c.
func New(c Config) (*Authenticator, error) {
	if c.Reads == nil || c.Secrets == nil {
		return nil, errors.New("auth: directory and secrets are required")
	}
	if len(c.SessionKey) < 32 {
		return nil, fmt.Errorf("auth: session key has %d bytes, want at least 32", len(c.SessionKey))
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	d, err := newDecoys(c.SessionKey)
	if err != nil {
		return nil, err
	}
	return &Authenticator{
		dir: c.Reads, secrets: c.Secrets, hooks: c.Hooks, decoys: d, keys: new(keyCache),
		sealer: newSealer(c.SessionKey, c.Random), now: c.Now, random: c.Random,
	}, nil
}

// Proven is the evidence that a device answered its challenges, in this exchange,
// now. Only this package makes one; its zero value proves nothing.
type Proven struct {
	exchange   ident.UUID
	request    protocol.Request
	transcript protocol.Transcript
	device     broker.Device
	by         broker.Authenticator
	confirms   token.Confirmation
	at         time.Time
	call       protocol.CallID
	enrolment  *broker.Enrolment
}

// Valid reports whether p was made by an Authenticator.
func (p *Proven) Valid() bool { return p != nil && !p.exchange.IsZero() }

// Exchange is the exchange's id, which succeeds once.
func (p *Proven) Exchange() ident.UUID { return p.exchange }

// Request is what the device asked for.
func (p *Proven) Request() *protocol.Request { return &p.request }

// Transcript covers all that was said, the last answer included.
func (p *Proven) Transcript() protocol.Transcript { return p.transcript }

// Device is the device as it was when its answer was checked.
func (p *Proven) Device() *broker.Device { return &p.device }

// Confirmation binds a token to what the device proved itself with.
func (p *Proven) Confirmation() token.Confirmation { return p.confirms }

// At is when; it dates the tokens.
func (p *Proven) At() time.Time { return p.at }

// Call is the logical call of the device.
func (p *Proven) Call() protocol.CallID { return p.call }

// Enrolment is what an enrolment must write, nil for an ordinary authentication.
func (p *Proven) Enrolment() *broker.Enrolment { return p.enrolment }

// Start opens an authentication. It does not look the device up: an unknown device
// gets a challenge like anyone else.
func (a *Authenticator) Start(ctx context.Context, m *protocol.Start) (*protocol.Challenge, error) {
	s, err := a.begin(m)
	if err != nil {
		return nil, err
	}
	c, err := a.next(ctx, s)
	if err == nil && c == nil { // a define hook may want to issue tokens at once
		return nil, fmt.Errorf("the flow ended before it began: %w", protocol.CodeDenied)
	}
	return c, err
}

// Enrol opens an enrolment: the first challenge is proved by the new key and the
// token, and stands for the key challenge that the client's flow begins with; the
// flow's other challenges follow.
func (a *Authenticator) Enrol(ctx context.Context, m *protocol.Enrol) (*protocol.Challenge, error) {
	s, err := a.begin(m)
	if err != nil {
		return nil, err
	}
	pool, err := a.dir.Pool(ctx, m.Pool)
	if err != nil {
		return nil, fmt.Errorf("pool %s: %w", m.Pool, deny(err))
	}
	return a.challenge(s, &protocol.ChallengeBody{Kind: protocol.KindEnrol, Issuer: pool.Issuer})
}

func (a *Authenticator) begin(m protocol.Message) (*pending, error) {
	repeated, err := protocol.Repeated(m)
	if err != nil {
		return nil, err
	}
	id, err := ident.NewUUID(a.now(), a.random)
	if err != nil {
		return nil, fmt.Errorf("exchange id: %w", err)
	}
	s := &pending{Exchange: id, Opening: sha256.Sum256(repeated), Call: m.Call()}
	s.Transcript = s.Transcript.Add(m.Bytes())
	return s, s.repeat(m)
}

// challenge makes the message that asks body, with the session that waits for its answer.
func (a *Authenticator) challenge(s *pending, body *protocol.ChallengeBody) (*protocol.Challenge, error) {
	body.Nonce = make([]byte, protocol.ServerNonce)
	if _, err := io.ReadFull(a.random, body.Nonce); err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	raw, err := encodeBody(body)
	if err != nil {
		return nil, err
	}
	s.Kind, s.Issued = body.Kind, a.now().UnixMilli()
	s.Transcript = s.Transcript.Add(raw)
	sealed, err := a.sealer.seal(s)
	if err != nil {
		return nil, err
	}
	return &protocol.Challenge{Head: protocol.Head{ID: s.Call}, Session: sealed, Body: raw}, nil
}

// Answer checks an answer. It gives the evidence when that was the last one, or
// the next challenge. Errors wrap a protocol.Code for the device, and the cause.
func (a *Authenticator) Answer(ctx context.Context, m *protocol.Answer) (*Proven, *protocol.Challenge, error) {
	now := a.now()
	s, err := a.sealer.open(m.Session, now)
	if err != nil {
		return nil, nil, err
	}
	if s.Call != m.Call() {
		return nil, nil, fmt.Errorf("session of another call: %w", protocol.CodeDenied)
	}
	if s.Opening != sha256.Sum256(m.Opening) {
		return nil, nil, fmt.Errorf("answer repeats another opening message than the session's: %w", protocol.CodeDenied)
	}
	if err := s.repeat(m.Opened()); err != nil {
		return nil, nil, err
	}
	device, err := a.check(ctx, s, m)
	if err != nil {
		return nil, nil, err
	}
	s.Transcript = s.Transcript.Add(m.Bytes())
	next, err := a.next(ctx, s)
	if err != nil || next != nil {
		return nil, next, err
	}
	p := &Proven{exchange: s.Exchange, request: *s.request, transcript: s.Transcript, at: now, call: s.Call}
	if s.enrol != nil {
		return p, nil, a.enrolment(ctx, s, p)
	}
	by, err := provedBy(s, device)
	if err != nil {
		return nil, nil, err
	}
	p.device, p.by = *device, *by
	p.confirms, err = a.confirm(device.ID, by)
	return p, nil, err
}

// provedBy refuses a flow that ended without proof of the device's key, one whose
// key was replaced meanwhile, and a device that may not get anything.
func provedBy(s *pending, d *broker.Device) (*broker.Authenticator, error) {
	if d == nil || s.Prover == nil {
		return nil, fmt.Errorf("the flow ended without proof of a known device: %w", protocol.CodeDenied)
	}
	if err := active(d); err != nil {
		return nil, err
	}
	for i := range d.Authenticators {
		if by := &d.Authenticators[i]; bytes.Equal(by.ID[:], s.Prover) {
			return by, nil
		}
	}
	return nil, fmt.Errorf("the device's key was replaced during its exchange: %w", protocol.CodeDenied)
}

func active(d *broker.Device) error {
	switch d.Status {
	case broker.StatusActive:
		return nil
	case broker.StatusPending:
		return fmt.Errorf("device is pending: %w", protocol.CodePending)
	}
	return fmt.Errorf("device is %s: %w", d.Status, protocol.CodeDisabled)
}

// deny keeps what is missing from a stranger: he learns "denied".
func deny(err error) error {
	if errors.Is(err, broker.ErrNotFound) {
		return fmt.Errorf("%w: %w", err, protocol.CodeDenied)
	}
	return err
}

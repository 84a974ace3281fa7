package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"golang.org/x/sync/singleflight"
)

// Reads is the part of a store that authentication reads. What is missing is broker.ErrNotFound;
// settings are not to be changed (broker.Catalog).
type Reads interface {
	Pool(ctx context.Context, name ident.Pool) (*broker.Pool, error)
	Client(ctx context.Context, pool ident.Pool, id string) (*broker.Client, error)
	Flow(ctx context.Context, pool ident.Pool, name string) (*broker.Flow, error)
	Device(ctx context.Context, id ident.Device) (broker.Device, error)
	EnrollToken(ctx context.Context, pool ident.Pool, id string) (*broker.EnrollToken, error)
	// Newest is the journal's: see broker.Login.Seen and SeenSum.
	Newest(ctx context.Context) (last, sum uint64, err error)
}

// Opener opens secrets that the store holds sealed.
type Opener interface {
	// Open gives the secret, if it was sealed for that purpose.
	Open(purpose broker.Purpose, sealed []byte) ([]byte, error)
}

// AnswerKeys has the keys of pools that devices seal secret answers to.
type AnswerKeys interface {
	// AnswerKey gives the X25519 key of the pool that q names, and what its device lacks
	// to believe that it is that pool's.
	AnswerKey(ctx context.Context, q *protocol.Request, enrolling bool) ([]byte, protocol.PoolKeys, error)
	// OpenAnswer opens an answer that was sealed to it with that transcript; CodeMalformed
	// if it does not open.
	OpenAnswer(ctx context.Context, pool ident.Pool, t protocol.Transcript, sealed []byte) ([]byte, error)
}

// Config is what New needs. Now and Random default to the real ones.
type Config struct {
	Reads   Reads
	Tries   broker.Tries
	Secrets Opener
	Answers AnswerKeys
	Methods []Method   // the challenges that flows may name; at least one of them is a Possession
	Custom  Method     // asks every other challenge; nil: flows with hooks are refused
	Hooks   HookCaller // decides flows that have a define hook; nil: such flows are refused
	// SessionKey is the cluster's secret for sealed sessions, at least 32 bytes.
	SessionKey []byte
	Now        func() time.Time
	Random     io.Reader
}

// Flows leads devices through the challenges of their flows. It is safe for concurrent use.
type Flows struct {
	reads   Reads
	tries   broker.Tries
	secrets Opener
	answers AnswerKeys
	methods methods
	hooks   HookCaller
	sealer  *sealer
	now     func() time.Time
	random  io.Reader
	checks  singleflight.Group // checks of guessable answers that are under way
}

// New makes Flows. It refuses a Config that lacks something, has a short
// SessionKey, or has two methods of one name.
func New(c Config) (*Flows, error) {
	if c.Reads == nil || c.Tries == nil || c.Secrets == nil || c.Answers == nil {
		return nil, errors.New("auth: reads, tries, secrets and answer keys are required")
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
	ms, err := newMethods(c.Methods, c.Custom)
	if err != nil {
		return nil, err
	}
	return &Flows{
		reads: c.Reads, tries: c.Tries, secrets: c.Secrets, answers: c.Answers, methods: ms, hooks: c.Hooks,
		sealer: newSealer(c.SessionKey, c.Random), now: c.Now, random: c.Random,
	}, nil
}

// Start answers the message that opens an authentication with the flow's first
// challenge. It does not look the device up: an unknown device is asked like any other. from
// is the address that m came from, zero if that is unknown.
func (f *Flows) Start(ctx context.Context, from netip.Addr, m *protocol.Start) (*protocol.Challenge, error) {
	t, err := f.open(ctx, from, m)
	if err != nil {
		return nil, err
	}
	c, err := f.next(ctx, t)
	if err == nil && c == nil { // a define hook may want to issue tokens at once
		return nil, fmt.Errorf("the flow ended before it began: %w", protocol.CodeDenied)
	}
	return c, err
}

// Enroll answers the message that opens an enrollment. Its challenge asks for proofs of
// the new key and of the enrollment token. It takes the place of the key challenge that
// the client's flow begins with; the flow's other challenges follow. Attributes that
// operators could not say of a device are CodeMalformed. from is as in Start.
func (f *Flows) Enroll(ctx context.Context, from netip.Addr, m *protocol.Enroll) (*protocol.Challenge, error) {
	t, err := f.open(ctx, from, m)
	if err != nil {
		return nil, err
	}
	if err := broker.CheckLabels(nil, m.Attributes); err != nil {
		return nil, fmt.Errorf("attributes that the device states: %w: %w", err, protocol.CodeMalformed)
	}
	return f.ask(ctx, t, enrollment{}, challenge.Enroll, "")
}

// open begins an exchange: m, a *Start or *Enroll, is its first message.
func (f *Flows) open(ctx context.Context, from netip.Addr, m protocol.Message) (*Turn, error) {
	repeated, err := protocol.Repeated(m)
	if err != nil {
		return nil, err
	}
	now := f.now()
	id, err := ident.NewUUID(now, f.random)
	if err != nil {
		return nil, fmt.Errorf("exchange id: %w", err)
	}
	seen, sum, err := f.reads.Newest(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin an exchange: %w", err)
	}
	s := &pending{SeenSum: sum, Exchange: id, Opening: sha256.Sum256(repeated), Call: m.Call(), Seen: seen}
	if err := s.takeOpening(m); err != nil {
		return nil, err
	}
	s.Transcript = s.Transcript.Add(m.Bytes())
	t := f.turn(s, s.Transcript, now)
	t.from = from
	return t, nil
}

// turn makes the Turn of one message. withMessage is the transcript up to and with it.
func (f *Flows) turn(s *pending, withMessage protocol.Transcript, now time.Time) *Turn {
	return &Turn{reads: f.reads, secrets: f.secrets, answers: f.answers, now: now, pending: s, withMessage: withMessage, enroll: s.enroll}
}

// challengeMessage makes the message that asks body. The sealed session in it holds
// all that is needed to check the answer.
func (f *Flows) challengeMessage(s *pending, body *protocol.ChallengeBody) (*protocol.Challenge, error) {
	body.Nonce = make([]byte, protocol.ServerNonce)
	if _, err := io.ReadFull(f.random, body.Nonce); err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	raw := body.Encode()
	s.Issued = f.now().UnixMilli()
	s.Transcript = s.Transcript.Add(raw)
	sealed, err := f.sealer.seal(s)
	if err != nil {
		return nil, err
	}
	return &protocol.Challenge{Head: protocol.Head{ID: s.Call}, Session: sealed, Body: raw}, nil
}

// Answer checks an answer. It gives the evidence if that was the flow's last challenge,
// and otherwise the next challenge. from is the address that it came from, zero if that is
// unknown. Errors wrap a protocol.Code for the device, and the cause.
func (f *Flows) Answer(ctx context.Context, from netip.Addr, m *protocol.Answer) (*Proven, *protocol.Challenge, error) {
	t, err := f.resume(m)
	if err != nil {
		return nil, nil, err
	}
	t.from = from
	if err := f.check(ctx, t, m); err != nil {
		return nil, nil, err
	}
	if err := t.mayGoOn(ctx); err != nil {
		return nil, nil, err
	}
	t.pending.Transcript = t.withMessage
	next, err := f.next(ctx, t)
	if err != nil || next != nil {
		return nil, next, err
	}
	p, err := f.conclude(ctx, t)
	return p, nil, err
}

// resume opens the sealed session that an answer brings back, and refuses one of
// another call or another opening message.
func (f *Flows) resume(m *protocol.Answer) (*Turn, error) {
	now := f.now()
	s, err := f.sealer.open(m.Session, now)
	if err != nil {
		return nil, err
	}
	if s.Call != m.Call() {
		return nil, fmt.Errorf("session of another call: %w", protocol.CodeDenied)
	}
	if s.Opening != sha256.Sum256(m.Opening) {
		return nil, fmt.Errorf("answer repeats another opening message than the session's: %w", protocol.CodeDenied)
	}
	if err := s.takeOpening(m.Opened()); err != nil {
		return nil, err
	}
	return f.turn(s, s.Transcript.Add(m.Bytes()), now), nil
}

// check has the answer judged by the challenge's method and adds the result.
func (f *Flows) check(ctx context.Context, t *Turn, m *protocol.Answer) error {
	if t.pending.Kind == challenge.Enroll && t.pending.enroll != nil && len(t.pending.Results) == 0 {
		return t.add(enrollment{}.Check(ctx, t, m))
	}
	method, err := f.methods.of(t.pending.Kind, t.pending.Hook)
	if err != nil {
		return err
	}
	if method.Guessable() {
		return t.add(f.checkGuess(ctx, t, method, m))
	}
	return t.add(method.Check(ctx, t, m))
}

// add appends a result to those of the exchange, unless err says that there is none.
func (t *Turn) add(r Result, err error) error {
	if err != nil {
		return err
	}
	if r.Prover != nil {
		t.pending.Prover = bytes.Clone(r.Prover.ID[:])
	}
	r.Meta, r.Hook = t.pending.Meta, t.pending.Hook
	results := append(t.pending.Results, r)
	if n := detailLen(results); n > MaxDetail {
		return fmt.Errorf("challenge %q: details of %d bytes with the challenges before, at most %d: %w", r.Name, n, MaxDetail, protocol.CodeInternal)
	}
	t.pending.Results = results
	return nil
}

// conclude makes the evidence when the flow is done, if the device is active.
func (f *Flows) conclude(ctx context.Context, t *Turn) (*Proven, error) {
	client, err := t.Client(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := t.Pool(ctx)
	if err != nil {
		return nil, err
	}
	p := &Proven{
		exchange: t.pending.Exchange, request: t.pending.request, transcript: t.pending.Transcript, at: t.now, call: t.pending.Call,
		client: client, results: t.pending.Results, seen: t.pending.Seen, seenSum: t.pending.SeenSum, clones: pool.Clones,
	}
	if t.enroll != nil {
		if err := f.enrolled(ctx, t, p); err != nil {
			return nil, err
		}
		return p, f.settle(ctx, t)
	}
	d, err := t.Device(ctx)
	if err != nil {
		return nil, err
	}
	prover, err := provedBefore(t.pending, d)
	if err != nil {
		return nil, err
	}
	if err := checkActive(d); err != nil {
		return nil, err
	}
	p.device = d
	if p.confirms, err = f.confirmation(d, prover); err != nil {
		return nil, err
	}
	return p, f.settle(ctx, t)
}

// confirmation is how tokens name the key that the device must have (cnf, RFC 7800).
func (f *Flows) confirmation(d *broker.Device, prover *broker.Authenticator) (token.Confirmation, error) {
	p, err := f.methods.possession(prover.Kind)
	if err != nil {
		return token.Confirmation{}, err
	}
	return p.Confirmation(d.ID, prover)
}

// provedBefore gives the authenticator of d that was proved earlier in this exchange. It
// refuses when none was, and when that authenticator was replaced meanwhile.
func provedBefore(s *pending, d *broker.Device) (*broker.Authenticator, error) {
	if d == nil || s.Prover == nil {
		return nil, fmt.Errorf("the flow ended without proof of a known device: %w", protocol.CodeDenied)
	}
	for i := range d.Authenticators {
		if held := &d.Authenticators[i]; bytes.Equal(held.ID[:], s.Prover) {
			return held, nil
		}
	}
	return nil, fmt.Errorf("the device's key was replaced during its exchange: %w", protocol.CodeDenied)
}

// mayGoOn refuses whoever has proved the key of a device that is not active, before any
// further challenge is asked and before any guess is counted or judged: it gets the same
// code whatever it would answer, and no hook hears of it. Whoever has proved nothing goes
// on, for it must not learn the device's status.
func (t *Turn) mayGoOn(ctx context.Context) error {
	if !t.Proven() {
		return nil
	}
	d, err := t.Device(ctx)
	if err != nil || d == nil || d.Status == broker.StatusActive {
		return err
	}
	if t.enrollTokenID() != "" {
		if err := t.mayEnroll(ctx, d); err == nil || !errors.Is(err, broker.ErrInactive) {
			return err
		}
	}
	return checkActive(d)
}

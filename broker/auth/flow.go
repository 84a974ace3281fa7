package auth

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
)

// MaxTries is how often one exchange may try a guessable answer, right ones not
// counted; MaxRounds how many challenges it may have.
const (
	MaxTries  = 3
	MaxRounds = 10
)

// Hooks runs custom challenges, with the semantics of Cognito's define, create and
// verify triggers. Whatever goes wrong is an error, and an error is never a yes.
type Hooks interface {
	Define(ctx context.Context, hook broker.Hook, c HookCall) (Decision, error)
	Create(ctx context.Context, hook broker.Hook, c HookCall) (Created, error)
	Verify(ctx context.Context, hook broker.Hook, c HookCall, answer string) (bool, error)
	Hook(ctx context.Context, pool string, name string) (broker.Hook, error)
}

// A HookCall is what every hook is told.
type HookCall struct {
	// ID names the logical call. It is derived from all that was said before, so it
	// is the same whenever a message is sent again, and another for another answer.
	ID        string
	Pool      string
	Name      string
	Client    string
	Challenge string            // its name; not in define
	Results   []Result          // of the challenges so far
	Private   map[string]string // what create made; in verify only
	Metadata  map[string]string // the device's, in every call of the exchange
	Device    *broker.Device    // nil: unknown
}

// A Decision is a define hook's: another challenge, tokens, or failure.
type Decision struct {
	Challenge string // name of the next challenge: "key", "psk" or the hook's own
	Issue     bool
	Fail      bool
}

// Created is a create hook's challenge.
type Created struct {
	Public  map[string]string
	Private map[string]string
	Meta    string
}

// next decides what follows: a challenge, or nil when the flow is done.
func (a *Authenticator) next(ctx context.Context, s *pending) (*protocol.Challenge, error) {
	pool, err := a.dir.Pool(ctx, s.request.Pool)
	if err != nil {
		return nil, fmt.Errorf("pool %s: %w", s.request.Pool, deny(err))
	}
	flow, err := a.flow(ctx, &pool, s.request.Client)
	if err != nil {
		return nil, err
	}
	if len(s.Results) >= MaxRounds {
		return nil, fmt.Errorf("%d challenges and no end: %w", len(s.Results), protocol.CodeDenied)
	}
	step, hook, err := a.decide(ctx, s, &flow)
	if err != nil || step == "" {
		return nil, err
	}
	body := &protocol.ChallengeBody{Kind: step, Issuer: pool.Issuer}
	s.Private, s.Meta, s.Hook = nil, "", hook
	if hook != "" {
		if err := a.create(ctx, s, &pool, hook, body); err != nil {
			return nil, err
		}
	}
	return a.challenge(s, body)
}

func (a *Authenticator) flow(ctx context.Context, pool *broker.Pool, client string) (broker.Flow, error) {
	c, err := a.dir.Client(ctx, pool.Name, client)
	if err != nil {
		return broker.Flow{}, fmt.Errorf("client %q: %w", client, deny(err))
	}
	name := c.Flow
	if name == "" {
		name = pool.Flow
	}
	flow, err := a.dir.Flow(ctx, pool.Name, name)
	if err != nil {
		return broker.Flow{}, fmt.Errorf("flow %q of client %q: %w", name, client, err)
	}
	return flow, nil
}

// decide gives the next step's challenge name, and its hook if it is custom; "" when done.
func (a *Authenticator) decide(ctx context.Context, s *pending, flow *broker.Flow) (step, hook string, err error) {
	if flow.Define == "" {
		return nextStep(s, flow)
	}
	h, err := a.hook(ctx, s, flow.Define)
	if err != nil {
		return "", "", err
	}
	call, err := a.call(ctx, s, "define", s.Transcript)
	if err != nil {
		return "", "", err
	}
	d, err := a.hooks.Define(ctx, h, call)
	switch {
	case err != nil:
		return "", "", fmt.Errorf("define hook %s: %w: %w", h.Name, err, protocol.CodeDenied)
	case d.Fail:
		return "", "", fmt.Errorf("define hook %s: authentication failed: %w", h.Name, protocol.CodeDenied)
	case d.Issue:
		return "", "", nil
	case d.Challenge == protocol.KindKey || d.Challenge == protocol.KindPSK:
		return d.Challenge, "", nil
	case d.Challenge == protocol.KindEnrol || !challengeName(d.Challenge):
		return "", "", fmt.Errorf("define hook %s named no usable challenge: %w", h.Name, protocol.CodeInternal)
	}
	return d.Challenge, flow.Define, nil
}

// nextStep gives the step that follows the results so far. An operator may have
// changed the flow since the exchange began: then it begins anew.
func nextStep(s *pending, flow *broker.Flow) (step, hook string, err error) {
	if s.enrol != nil && flow.Steps[0] != protocol.KindKey {
		return "", "", fmt.Errorf("flow %q does not begin with the key challenge that an enrolment answers: %w", flow.Name, protocol.CodeDenied)
	}
	for i, r := range s.Results {
		if i >= len(flow.Steps) || !r.OK || r.Name != stepName(flow.Steps[i]) {
			return "", "", fmt.Errorf("flow %q was changed meanwhile: %w", flow.Name, protocol.CodeExpired)
		}
	}
	if len(s.Results) == len(flow.Steps) {
		return "", "", nil
	}
	step = flow.Steps[len(s.Results)]
	name, ok := broker.HookStep(step)
	switch {
	case !ok:
		return step, "", nil
	case name == protocol.KindKey || name == protocol.KindPSK || name == protocol.KindEnrol:
		return "", "", fmt.Errorf("flow %q: hook %q has the name of a challenge that is not its own: %w", flow.Name, name, protocol.CodeInternal)
	}
	return name, name, nil
}

// stepName is what a step's challenge is called.
func stepName(step string) string {
	if name, ok := broker.HookStep(step); ok {
		return name
	}
	return step
}

// challengeName tells what may name a custom challenge: 1 to broker.MaxChallengeName printable ASCII characters.
func challengeName(s string) bool {
	return s != "" && len(s) <= broker.MaxChallengeName && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func (a *Authenticator) create(ctx context.Context, s *pending, pool *broker.Pool, name string, body *protocol.ChallengeBody) error {
	h, err := a.hook(ctx, s, name)
	if err != nil {
		return err
	}
	s.Kind = body.Kind
	call, err := a.call(ctx, s, "create", s.Transcript)
	if err != nil {
		return err
	}
	made, err := a.hooks.Create(ctx, h, call)
	if err != nil {
		return fmt.Errorf("create hook %s: %w: %w", h.Name, err, protocol.CodeDenied)
	}
	if err := made.fits(s.Results); err != nil {
		return fmt.Errorf("create hook %s: %w: %w", h.Name, err, protocol.CodeDenied)
	}
	key, err := a.answerKey(pool)
	if err != nil {
		return err
	}
	body.Params, body.SealTo = made.Public, key.PublicKey().Bytes()
	s.Private, s.Meta = made.Private, made.Meta
	return nil
}

func (a *Authenticator) hook(ctx context.Context, s *pending, name string) (broker.Hook, error) {
	if a.hooks == nil {
		return broker.Hook{}, fmt.Errorf("hook %s: no hooks are set up: %w", name, protocol.CodeInternal)
	}
	h, err := a.hooks.Hook(ctx, s.request.Pool.String(), name)
	if err != nil {
		return broker.Hook{}, fmt.Errorf("hook %s: %w", name, err)
	}
	return h, nil
}

// call tells a hook what it may know; said is all that led to the call.
func (a *Authenticator) call(ctx context.Context, s *pending, phase string, said protocol.Transcript) (HookCall, error) {
	d, err := a.known(ctx, s)
	if err != nil {
		return HookCall{}, err
	}
	c := HookCall{
		ID:   fmt.Sprintf("%x-%d-%s", said[:16], len(s.Results), phase),
		Pool: s.request.Pool.String(), Name: s.request.Name.String(), Client: s.request.Client,
		Results: s.Results, Metadata: s.request.Metadata, Device: d,
	}
	if phase != "define" {
		c.Challenge = s.Kind
	}
	if phase == "verify" {
		c.Private = s.Private
	}
	return c, nil
}

// known gives the device, nil if there is none.
func (a *Authenticator) known(ctx context.Context, s *pending) (*broker.Device, error) {
	d, err := a.dir.Device(ctx, s.request.Device())
	if errors.Is(err, broker.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", s.request.Device(), err)
	}
	return &d, nil
}

func (a *Authenticator) answerKey(pool *broker.Pool) (*ecdh.PrivateKey, error) {
	raw, err := a.secrets.Open(broker.AnswerPurpose(pool.Name), pool.AnswerSealed)
	if err != nil {
		return nil, fmt.Errorf("pool %s: answer key: %w", pool.Name, err)
	}
	return ecdh.X25519().NewPrivateKey(raw)
}

// check checks the answer to s's challenge and adds its result. A device that is
// nil is unknown.
func (a *Authenticator) check(ctx context.Context, s *pending, m *protocol.Answer) (*broker.Device, error) {
	d, err := a.known(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.Kind == protocol.KindEnrol {
		return d, a.checkEnrol(ctx, s, m)
	}
	if s.Kind == protocol.KindKey || s.Kind == protocol.KindPSK {
		by, err := a.checkProof(d, s.request.Device(), s.Kind, protocol.ProofInput(s.Kind, s.Transcript), m.Proof)
		if err != nil {
			return nil, err
		}
		s.Prover = bytes.Clone(by.ID[:])
		s.Results = append(s.Results, Result{Name: s.Kind, OK: true, AMR: "pop"})
		return d, nil
	}
	return d, a.checkCustom(ctx, s, m)
}

// checkCustom asks the hook, after the try is counted: a session can be sent again.
// A device that waits long repeats its answer; while the first copy is being looked
// at, the others wait for the same verdict and are no further tries.
func (a *Authenticator) checkCustom(ctx context.Context, s *pending, m *protocol.Answer) error {
	said := s.Transcript.Add(m.Bytes())
	v, err, _ := a.trying.Do(string(s.Exchange[:])+string(said[:]), func() (any, error) {
		// The others' answer too: it is not for the first caller to call off. Hooks have deadlines.
		return a.try(context.WithoutCancel(ctx), s, m, said)
	})
	if err != nil {
		return err
	}
	s.Results = append(s.Results, Result{Name: s.Kind, OK: v.(bool), Meta: s.Meta})
	return nil
}

// try counts one try and gives the hook's verdict. Where the flow is a list, a wrong
// answer is an error; a define hook decides on it itself.
func (a *Authenticator) try(ctx context.Context, s *pending, m *protocol.Answer, said protocol.Transcript) (bool, error) {
	n, err := a.dir.CountTry(ctx, broker.By{Actor: broker.ActorBroker}, s.Exchange, time.UnixMilli(s.Issued).Add(2*SessionLife))
	if err != nil {
		return false, fmt.Errorf("count try: %w", err)
	}
	allowed := MaxTries + right(s.Results)
	if n > allowed {
		return false, fmt.Errorf("try %d of %d: %w", n, allowed, protocol.CodeDenied)
	}
	pool, err := a.dir.Pool(ctx, s.request.Pool)
	if err != nil {
		return false, fmt.Errorf("pool %s: %w", s.request.Pool, deny(err))
	}
	key, err := a.answerKey(&pool)
	if err != nil {
		return false, err
	}
	answer, err := protocol.OpenAnswer(key, s.Transcript, m.Secret)
	if err != nil {
		return false, fmt.Errorf("%w: %w", err, protocol.CodeMalformed)
	}
	flow, err := a.flow(ctx, &pool, s.request.Client)
	if err != nil {
		return false, err
	}
	ok, err := a.verify(ctx, s, s.Hook, string(answer), said)
	if err == nil && !ok && flow.Define == "" {
		err = &WrongAnswer{TriesLeft: allowed - n}
	}
	return ok, err
}

// right counts the custom challenges that were answered rightly: their tries are not held against the next.
func right(results []Result) int {
	n := 0
	for _, r := range results {
		if r.OK && r.Name != protocol.KindKey && r.Name != protocol.KindPSK {
			n++
		}
	}
	return n
}

func (a *Authenticator) verify(ctx context.Context, s *pending, name, answer string, said protocol.Transcript) (bool, error) {
	h, err := a.hook(ctx, s, name)
	if err != nil {
		return false, err
	}
	call, err := a.call(ctx, s, "verify", said)
	if err != nil {
		return false, err
	}
	ok, err := a.hooks.Verify(ctx, h, call, answer)
	if err != nil {
		return false, fmt.Errorf("verify hook %s: %w: %w", h.Name, err, protocol.CodeDenied)
	}
	return ok, nil
}

// WrongAnswer refuses a custom answer; while tries are left, the same session may
// be answered again.
type WrongAnswer struct{ TriesLeft int }

func (e *WrongAnswer) Error() string { return fmt.Sprintf("wrong answer, %d tries left", e.TriesLeft) }

// Unwrap gives the code for the device.
func (e *WrongAnswer) Unwrap() error {
	if e.TriesLeft <= 0 {
		return protocol.CodeDenied
	}
	return protocol.CodeWrongAnswer
}

func encodeBody(b *protocol.ChallengeBody) ([]byte, error) {
	raw, err := detcbor.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	return raw, nil
}

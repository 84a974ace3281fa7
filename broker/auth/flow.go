package auth

import (
	"context"
	"fmt"
	"strings"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
)

// MaxTries is how often one exchange may try a guessable answer before anything is
// proven, right ones not counted; MaxRounds how many challenges it may have.
const (
	MaxTries  = broker.FreeTries
	MaxRounds = 10
)

// next asks what follows, or gives nil when the flow is done.
func (a *Authenticator) next(ctx context.Context, t *Turn) (*protocol.Challenge, error) {
	flow, err := t.Flow(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(t.s.Results); n >= MaxRounds {
		return nil, fmt.Errorf("%d challenges and no end: %w", n, protocol.CodeDenied)
	}
	var challenge, hook string
	if flow.Define != "" {
		challenge, hook, err = a.define(ctx, t, flow.Define)
	} else {
		challenge, hook, err = a.nextStep(t.s, flow)
	}
	if err != nil || challenge == "" {
		return nil, err
	}
	method, err := a.methods.of(challenge, hook)
	if err != nil {
		return nil, err
	}
	return a.ask(ctx, t, method, challenge, hook)
}

// ask makes the message that asks a challenge, with the session that waits for its answer.
func (a *Authenticator) ask(ctx context.Context, t *Turn, method Method, challenge, hook string) (*protocol.Challenge, error) {
	pool, err := t.Pool(ctx)
	if err != nil {
		return nil, err
	}
	t.s.Kind, t.s.Hook, t.s.Private, t.s.Meta = challenge, hook, nil, ""
	p, err := method.Ask(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := p.fit(t.s.Results); err != nil {
		return nil, fmt.Errorf("challenge %q: %w: %w", challenge, err, protocol.CodeDenied)
	}
	body := &protocol.ChallengeBody{Kind: challenge, Issuer: pool.Issuer, Params: p.Public}
	if p.Seals {
		key, err := t.AnswerKey(ctx)
		if err != nil {
			return nil, err
		}
		body.SealTo = key.PublicKey().Bytes()
	}
	t.s.Private, t.s.Meta = p.Private, p.Meta
	return a.challenge(t.s, body)
}

// nextStep gives the step that follows the results so far, and its hook if it is
// custom. An operator may have changed the flow since the exchange began: then it
// begins anew.
func (a *Authenticator) nextStep(s *pending, flow *broker.Flow) (challenge, hook string, err error) {
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
	step := flow.Steps[len(s.Results)]
	name, custom := broker.HookStep(step)
	if !custom {
		return step, "", nil
	}
	if a.methods.named[name] != nil || name == protocol.KindEnrol {
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

func encodeBody(b *protocol.ChallengeBody) ([]byte, error) {
	raw, err := detcbor.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	return raw, nil
}

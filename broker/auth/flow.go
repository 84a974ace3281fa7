package auth

import (
	"context"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
)

// Bounds on one exchange.
const (
	// MaxTries is how many wrong guessable answers it may give while nothing is proven.
	MaxTries = broker.FreeTries
	// MaxRounds is how many challenges it may have.
	MaxRounds = 10
)

// next makes the flow's next challenge, or gives nil when the flow is done.
func (a *Authenticator) next(ctx context.Context, t *Turn) (*protocol.Challenge, error) {
	flow, err := t.Flow(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(t.pending.Results); n >= MaxRounds {
		return nil, fmt.Errorf("%d challenges and no end: %w", n, protocol.CodeDenied)
	}
	var kind, hook string
	if flow.Define != "" {
		kind, hook, err = a.define(ctx, t, flow.Define)
	} else {
		kind, hook, err = a.nextStep(t.pending, flow)
	}
	if err != nil || kind == "" {
		return nil, err
	}
	method, err := a.methods.of(kind, hook)
	if err != nil {
		return nil, err
	}
	return a.ask(ctx, t, method, kind, hook)
}

// ask has method make a challenge, and gives the message that asks it.
func (a *Authenticator) ask(ctx context.Context, t *Turn, method Method, kind, hook string) (*protocol.Challenge, error) {
	pool, err := t.Pool(ctx)
	if err != nil {
		return nil, err
	}
	t.pending.Kind, t.pending.Hook, t.pending.Private, t.pending.Meta = kind, hook, nil, ""
	p, err := method.Ask(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := p.checkFit(t.pending.Results, kind, hook); err != nil {
		return nil, fmt.Errorf("challenge %q: %w: %w", kind, err, protocol.CodeDenied)
	}
	body := &protocol.ChallengeBody{Kind: kind, Issuer: pool.Issuer, Params: p.Public}
	if p.Seals {
		body.SealTo, body.PoolKeys, err = t.answers.AnswerKey(ctx, t.pending.request, t.enroll != nil)
		if err != nil {
			return nil, err
		}
	}
	t.pending.Private, t.pending.Meta = p.Private, p.Meta
	return a.challengeMessage(t.pending, body)
}

// nextStep gives the challenge that a flow with a list of steps asks after the results
// so far, and the hook that asks it if it is custom; "" when the list is done. If an
// operator changed the flow since the exchange began, that is CodeExpired, and the
// device begins anew.
func (a *Authenticator) nextStep(s *pending, flow *broker.Flow) (kind, hook string, err error) {
	if s.enroll != nil && flow.Steps[0] != challenge.Key {
		return "", "", fmt.Errorf("flow %q does not begin with the key challenge that an enrollment answers: %w", flow.Name, protocol.CodeFlow)
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
	if _, own := challenge.Of(name); own {
		return "", "", fmt.Errorf("flow %q: hook %q has the name of a challenge that is not its own: %w", flow.Name, name, protocol.CodeInternal)
	}
	return name, name, nil
}

// stepName is the name of the challenge that a step asks.
func stepName(step string) string {
	if name, ok := broker.HookStep(step); ok {
		return name
	}
	return step
}

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
func (f *Flows) next(ctx context.Context, t *Turn) (*protocol.Challenge, error) {
	flow, err := t.Flow(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(t.pending.Results); n >= MaxRounds {
		return nil, fmt.Errorf("%d challenges and no end: %w", n, protocol.CodeDenied)
	}
	if err := t.pending.follows(flow); err != nil {
		return nil, err
	}
	var kind, hook string
	if step, decided := flow.After(len(t.pending.Results)); decided {
		kind, hook, err = f.define(ctx, t, flow.Define)
	} else if step != "" {
		kind, hook, err = asked(flow, step)
	}
	if err != nil || kind == "" {
		return nil, err
	}
	method, err := f.methods.of(kind, hook)
	if err != nil {
		return nil, err
	}
	return f.ask(ctx, t, method, kind, hook)
}

// ask has method make a challenge, and gives the message that asks it.
func (f *Flows) ask(ctx context.Context, t *Turn, method Method, kind, hook string) (*protocol.Challenge, error) {
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
	return f.challengeMessage(t.pending, body)
}

// follows refuses an exchange whose results are not those of the flow's steps. If an operator
// changed the flow since the exchange began, that is CodeExpired, and the device begins anew.
func (s *pending) follows(flow *broker.Flow) error {
	if s.enroll != nil && len(flow.Steps) > 0 && flow.Steps[0] != challenge.Key {
		return fmt.Errorf("flow %q does not begin with the key challenge that an enrollment answers: %w", flow.Name, protocol.CodeFlow)
	}
	for i, r := range s.Results {
		step, decided := flow.After(i)
		if !decided && (!r.OK || r.Name != stepName(step)) {
			return fmt.Errorf("flow %q was changed meanwhile: %w", flow.Name, protocol.CodeExpired)
		}
	}
	return nil
}

// asked gives the challenge of a flow's step, and the hook that asks it if it is custom.
func asked(flow *broker.Flow, step string) (kind, hook string, err error) {
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

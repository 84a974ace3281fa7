package proof

import (
	"context"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol"
)

// custom is the method of all challenges that operators' hooks ask: the create hook makes
// the challenge, the verify hook checks the answer.
type custom struct{ hooks auth.HookCaller }

// Name is for logs only: each custom challenge has a name of its own.
func (custom) Name() string { return "hook" }

// Guessable is true: a hook may ask for something as short as a PIN.
func (custom) Guessable() bool { return true }

// Ask has the hook make the challenge.
func (c custom) Ask(ctx context.Context, t *auth.Turn) (auth.Params, error) {
	h, err := c.hook(ctx, t)
	if err != nil {
		return auth.Params{}, err
	}
	call, err := t.HookCall(ctx, "create")
	if err != nil {
		return auth.Params{}, err
	}
	made, err := c.hooks.Create(ctx, *h, call)
	if err != nil {
		return auth.Params{}, fmt.Errorf("create hook %s: %w: %w", h.Name, err, protocol.CodeDenied)
	}
	return auth.Params{Public: made.Public, Private: made.Private, Meta: made.Meta, Seals: true}, nil
}

// Check has the hook check the answer.
func (c custom) Check(ctx context.Context, t *auth.Turn, m *protocol.Answer) (auth.Result, error) {
	answer, err := t.Secret(ctx, m)
	if err != nil {
		return auth.Result{}, err
	}
	h, err := c.hook(ctx, t)
	if err != nil {
		return auth.Result{}, err
	}
	call, err := t.HookCall(ctx, "verify")
	if err != nil {
		return auth.Result{}, err
	}
	ok, err := c.hooks.Verify(ctx, *h, call, string(answer))
	if err != nil {
		return auth.Result{}, fmt.Errorf("verify hook %s: %w: %w", h.Name, err, protocol.CodeDenied)
	}
	return auth.Result{Name: t.Challenge(), OK: ok, AMR: auth.AMRCustom}, nil
}

// hook finds the hook that asks the challenge, as it is stored now.
func (c custom) hook(ctx context.Context, t *auth.Turn) (*broker.Hook, error) {
	h, err := c.hooks.Hook(ctx, t.Claimed().Pool.String(), t.HookName())
	if err != nil {
		return nil, fmt.Errorf("hook %s: %w", t.HookName(), err)
	}
	return h, nil
}

package auth

import (
	"context"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
)

// Hooks decides and asks custom challenges, with the semantics of Cognito's define,
// create and verify triggers. Whatever goes wrong is an error, and an error is never a yes.
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
	Challenge string // name of the next challenge: a method's or the hook's own
	Issue     bool
	Fail      bool
}

// Created is a create hook's challenge.
type Created struct {
	Public  map[string]string
	Private map[string]string
	Meta    string
}

// HookCall tells a hook what it may know in a phase of its work: "define", "create"
// or "verify".
func (t *Turn) HookCall(ctx context.Context, phase string) (HookCall, error) {
	d, err := t.Device(ctx)
	if err != nil {
		return HookCall{}, err
	}
	c := HookCall{
		ID:   fmt.Sprintf("%x-%d-%s", t.said[:16], len(t.s.Results), phase),
		Pool: t.s.request.Pool.String(), Name: t.s.request.Name.String(), Client: t.s.request.Client,
		Results: t.s.Results, Metadata: t.s.request.Metadata, Device: d,
	}
	if phase != "define" {
		c.Challenge = t.s.Kind
	}
	if phase == "verify" {
		c.Private = t.s.Private
	}
	return c, nil
}

// define asks the flow's hook what follows: the challenge's name and the hook that
// asks it, "" if that is a method of our own. All is empty when the flow is done.
func (a *Authenticator) define(ctx context.Context, t *Turn, name string) (challenge, hook string, err error) {
	if a.hooks == nil {
		return "", "", fmt.Errorf("hook %s: no hooks are set up: %w", name, protocol.CodeInternal)
	}
	h, err := a.hooks.Hook(ctx, t.s.request.Pool.String(), name)
	if err != nil {
		return "", "", fmt.Errorf("hook %s: %w", name, err)
	}
	call, err := t.HookCall(ctx, "define")
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
	case a.methods.named[d.Challenge] != nil:
		return d.Challenge, "", nil
	case d.Challenge == protocol.KindEnrol || !challengeName(d.Challenge):
		return "", "", fmt.Errorf("define hook %s named no usable challenge: %w", h.Name, protocol.CodeInternal)
	}
	return d.Challenge, name, nil
}

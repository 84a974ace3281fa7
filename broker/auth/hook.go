package auth

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
)

// A HookCaller calls operators' webhooks, with the semantics of Cognito's define, create and
// verify triggers. Whatever goes wrong is an error, and an error is never a yes.
type HookCaller interface {
	// Define asks what comes next in a flow.
	Define(ctx context.Context, hook broker.Hook, c HookCall) (Decision, error)
	// Create asks for the parameters of a custom challenge.
	Create(ctx context.Context, hook broker.Hook, c HookCall) (Created, error)
	// Verify asks whether the answer to a custom challenge is right.
	Verify(ctx context.Context, hook broker.Hook, c HookCall, answer string) (bool, error)
	// Hook finds a hook by its name; broker.ErrNotFound.
	Hook(ctx context.Context, pool string, name string) (*broker.Hook, error)
}

// A HookCall is what every hook is told.
type HookCall struct {
	// ID names the logical call. It is derived from the transcript and the phase: the
	// same when a message is sent again, and another for another answer.
	ID        string
	Pool      string
	Name      string
	Client    string
	Challenge string            // the challenge's name; empty in define
	Results   []Result          // of the challenges so far
	Private   map[string]string // what create gave as private; in verify only
	Metadata  map[string]string // the device's, in every call of the exchange
	Device    *broker.Device    // nil: unknown
	// Caller is the device's subject if it has proved its key in this exchange, and zero while
	// anybody may be asking, or whoever enrolls. Hooks are not told.
	Caller ident.UUID
	// From is the address that the message came from, zero if that is unknown. Hooks are
	// not told.
	From netip.Addr
}

// A Decision is a define hook's: another challenge, tokens, or failure.
type Decision struct {
	Challenge string // name of the next challenge: a method's or the hook's own
	Issue     bool
	Fail      bool
}

// Created is the challenge that a create hook made. The fields mean what those of
// Params do.
type Created struct {
	Public  map[string]string
	Private map[string]string
	Meta    string
}

// HookCall gives what a hook is told in a phase of its work: "define", "create" or
// "verify".
func (t *Turn) HookCall(ctx context.Context, phase string) (HookCall, error) {
	d, err := t.Device(ctx)
	if err != nil {
		return HookCall{}, err
	}
	c := HookCall{
		ID:   fmt.Sprintf("%x-%d-%s", t.withMessage[:16], len(t.pending.Results), phase),
		Pool: t.pending.request.Pool.String(), Name: t.pending.request.Name.String(), Client: t.clientID(),
		Results: t.pending.Results, Metadata: t.pending.request.Metadata, Device: d, From: t.from,
	}
	if t.pending.Prover != nil && t.enroll == nil && d != nil {
		c.Caller = d.Subject
	}
	if phase != "define" {
		c.Challenge = t.pending.Kind
	}
	if phase == "verify" {
		c.Private = t.pending.Private
	}
	return c, nil
}

// define asks the flow's define hook what comes next. It gives the challenge's name, and
// the hook that asks it, "" if one of the methods does. Both are "" when the flow is done.
func (f *Flows) define(ctx context.Context, t *Turn, name string) (kind, hook string, err error) {
	if f.hooks == nil {
		return "", "", fmt.Errorf("hook %s: no hooks are set up: %w", name, protocol.CodeInternal)
	}
	h, err := f.hooks.Hook(ctx, t.pending.request.Pool.String(), name)
	if err != nil {
		return "", "", fmt.Errorf("hook %s: %w", name, err)
	}
	call, err := t.HookCall(ctx, "define")
	if err != nil {
		return "", "", err
	}
	d, err := f.hooks.Define(ctx, *h, call)
	_, own := challenge.Of(d.Challenge)
	switch {
	case err != nil:
		return "", "", fmt.Errorf("define hook %s: %w: %w", h.Name, err, protocol.CodeDenied)
	case d.Fail:
		return "", "", fmt.Errorf("define hook %s: authentication failed: %w", h.Name, protocol.CodeDenied)
	case d.Issue:
		return "", "", nil
	case f.methods.named[d.Challenge] != nil:
		return d.Challenge, "", nil
	case own || !broker.ValidChallengeName(d.Challenge):
		return "", "", fmt.Errorf("define hook %s named no usable challenge: %w", h.Name, protocol.CodeInternal)
	}
	return d.Challenge, name, nil
}

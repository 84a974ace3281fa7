package auth

import (
	"context"
	"fmt"
	"slices"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// Refresh checks a refresh's proof: one round trip, because what it asks for works
// once and comes back sealed, so a replay gains nothing. It gives the evidence and
// the body; whether the refresh token is good is the session's to say.
func (a *Authenticator) Refresh(ctx context.Context, m *protocol.Refresh) (*Proven, *protocol.RefreshBody, error) {
	now := a.now()
	body, err := protocol.DecodeRefreshBody(m.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, protocol.CodeMalformed)
	}
	if body.Client == "" {
		body.Client = broker.DefaultClient
	}
	said := protocol.Transcript{}.Add(m.Body)
	t := a.turn(&pending{request: &body.Request, Call: m.Call()}, said, now)
	d, err := t.Device(ctx)
	if err != nil {
		return nil, nil, err
	}
	by, err := a.proverOf(d, t.Claimed(), protocol.ProofInput(protocol.PurposeRefresh, said), m.Proof)
	if err != nil {
		return nil, nil, err
	}
	if err := active(d); err != nil {
		return nil, nil, err
	}
	confirms, err := a.confirmation(d, by)
	if err != nil {
		return nil, nil, err
	}
	client, err := t.Client(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &Proven{
		exchange: body.Session, request: body.Request, transcript: said, device: *d, by: *by, confirms: confirms, at: now, call: m.Call(), client: *client,
	}, body, nil
}

// proverOf gives the authenticator of the device, nil if it is unknown, that a proof
// is by, whichever of the methods proves it.
func (a *Authenticator) proverOf(d *broker.Device, claimed ident.Device, input, proof []byte) (*broker.Authenticator, error) {
	has := func(kind string) bool {
		return d != nil && slices.ContainsFunc(d.Authenticators, func(by broker.Authenticator) bool { return by.Kind == kind })
	}
	tried := false
	for _, p := range a.methods.possessions {
		if !has(p.Name()) {
			continue
		}
		tried = true
		if by, err := p.Prover(d, claimed, input, proof); err == nil {
			return by, nil
		}
	}
	if !tried { // as long as for a device that has a key
		return a.methods.possessions[0].Prover(nil, claimed, input, proof)
	}
	return nil, ErrProof
}

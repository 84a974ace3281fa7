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
	var t protocol.Transcript
	t = t.Add(m.Body)
	d, err := a.known(ctx, &pending{request: &body.Request})
	if err != nil {
		return nil, nil, err
	}
	by, err := a.checkAny(d, body.Request.Device(), protocol.ProofInput(protocol.PurposeRefresh, t), m.Proof)
	if err != nil {
		return nil, nil, err
	}
	if err := active(d); err != nil {
		return nil, nil, err
	}
	confirms, err := a.confirm(d.ID, by)
	if err != nil {
		return nil, nil, err
	}
	return &Proven{
		exchange: body.Session, request: body.Request, transcript: t, device: *d, by: *by, confirms: confirms, at: now, call: m.Call(),
	}, body, nil
}

// checkAny accepts a proof by any authenticator of the device, nil if it is unknown.
func (a *Authenticator) checkAny(d *broker.Device, claimed ident.Device, input, proof []byte) (*broker.Authenticator, error) {
	if d == nil || len(d.Authenticators) == 0 {
		a.decoy(claimed, protocol.KindKey, input, proof)
		return nil, ErrProof
	}
	for _, kind := range []string{protocol.KindKey, protocol.KindPSK} {
		if !slices.ContainsFunc(d.Authenticators, func(by broker.Authenticator) bool { return by.Kind == kind }) {
			continue
		}
		if by, err := a.checkProof(d, claimed, kind, input, proof); err == nil {
			return by, nil
		}
	}
	return nil, ErrProof
}

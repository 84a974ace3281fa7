package auth

import (
	"context"
	"fmt"
	"slices"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// Refresh checks the proof of a refresh. There is no challenge: its refresh
// token works once, and the answer comes sealed, so whoever sends it again gains nothing. It
// gives the evidence and the decoded body; it does not look at the refresh token.
func (f *Flows) Refresh(ctx context.Context, m *protocol.Refresh) (*Proven, *protocol.RefreshBody, error) {
	now := f.now()
	body, err := protocol.DecodeRefreshBody(m.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, protocol.CodeMalformed)
	}
	transcript := protocol.Transcript{}.Add(m.Body)
	t := f.turn(&pending{request: &body.Request, Call: m.Call()}, transcript, now)
	d, err := t.Device(ctx)
	if err != nil {
		return nil, nil, err
	}
	prover, err := f.proverOf(d, t.Claimed(), protocol.ProofInput(protocol.PurposeRefresh, transcript), m.Proof)
	if err != nil {
		return nil, nil, err
	}
	if err := checkActive(d); err != nil {
		return nil, nil, err
	}
	confirms, err := f.confirmation(d, prover)
	if err != nil {
		return nil, nil, err
	}
	client, err := t.Client(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &Proven{
		exchange: body.Session, request: &body.Request, transcript: transcript, device: d, confirms: confirms, at: now, call: m.Call(), client: client,
	}, body, nil
}

// proverOf gives the authenticator of d that made a proof, by whichever method. d is nil
// for an unknown device, which is refused after as much work.
func (f *Flows) proverOf(d *broker.Device, claimed ident.Device, input, proof []byte) (*broker.Authenticator, error) {
	has := func(kind string) bool {
		return d != nil && slices.ContainsFunc(d.Authenticators, func(held broker.Authenticator) bool { return held.Kind == kind })
	}
	tried := false
	for _, p := range f.methods.possessions {
		if !has(p.Name()) {
			continue
		}
		tried = true
		if prover, err := p.Prover(d, claimed, input, proof); err == nil {
			return prover, nil
		}
	}
	if tried {
		return nil, ErrProof
	}
	_, err := f.methods.possessions[0].Prover(nil, claimed, input, proof) // let the refusal take as long
	if d != nil {
		err = ErrNoSecret
	}
	return nil, err
}

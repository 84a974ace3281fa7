package auth

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// checkEnrol checks an enrolment's proofs: possession of the new key, and of the
// enrolment token or, without one, that an operator registered the key before.
func (a *Authenticator) checkEnrol(ctx context.Context, s *pending, m *protocol.Answer) error {
	key, err := token.ParseCOSEKey(s.enrol.Key)
	if err == nil {
		err = key.CheckDevice()
	}
	if err != nil {
		return fmt.Errorf("new key: %w: %w", err, protocol.CodeMalformed)
	}
	if err := key.Verify(protocol.ProofInput(protocol.PurposeEnrol, s.Transcript), m.Proof); err != nil {
		return fmt.Errorf("proof of possession: %w: %w", err, protocol.CodeDenied)
	}
	if s.enrol.TokenID == nil {
		_, err = a.registered(ctx, s, key)
	} else {
		err = a.admitted(ctx, s, m)
	}
	if err != nil {
		return err
	}
	s.Results = append(s.Results, Result{Name: protocol.KindKey, OK: true})
	return nil
}

// registered gives the device whose key an operator registered before. That there
// is no such device, and that it has another key, is one answer: ErrProof.
func (a *Authenticator) registered(ctx context.Context, s *pending, key *token.Key) (*broker.Device, error) {
	d, err := a.known(ctx, s)
	if err != nil {
		return nil, err
	}
	if d != nil && d.Has(key.Thumbprint()) {
		return d, active(d)
	}
	return nil, fmt.Errorf("key is not registered and no enrolment token was given: %w", ErrProof)
}

// admitted checks the proof of the enrolment token. Whether the token has a use
// left is the store's to say, in the writing transaction.
func (a *Authenticator) admitted(ctx context.Context, s *pending, m *protocol.Answer) error {
	id := hex.EncodeToString(s.enrol.TokenID)
	t, err := a.dir.EnrolToken(ctx, s.request.Pool, id)
	if errors.Is(err, broker.ErrNotFound) {
		return fmt.Errorf("enrolment token %s: %w: %w", id, err, ErrProof)
	}
	if err != nil {
		return fmt.Errorf("enrolment token %s: %w", id, err)
	}
	key, err := token.NewKey(ed25519.PublicKey(t.Key))
	if err != nil {
		return fmt.Errorf("enrolment token %s: %w", id, err)
	}
	if err := key.Verify(protocol.ProofInput(protocol.PurposeEnrolToken, s.Transcript), m.TokenProof); err != nil {
		return fmt.Errorf("enrolment token %s: %w: %w", id, err, ErrProof)
	}
	return nil
}

// enrolment completes p with what an enrolment, its flow done, will write.
func (a *Authenticator) enrolment(ctx context.Context, s *pending, p *Proven) error {
	key, err := token.ParseCOSEKey(s.enrol.Key)
	if err != nil {
		return fmt.Errorf("new key: %w: %w", err, protocol.CodeMalformed)
	}
	p.by, p.confirms = broker.Authenticator{ID: key.Thumbprint(), Kind: broker.KindKey, Key: key.MarshalCOSE(), Added: p.at}, token.Confirm(key)
	p.enrolment = &broker.Enrolment{Now: p.at}
	if s.enrol.TokenID == nil {
		d, err := a.registered(ctx, s, key)
		if err != nil {
			return err
		}
		p.device = *d
	} else if err := a.admission(ctx, s, p); err != nil {
		return err
	}
	p.enrolment.Device = p.device
	return nil
}

// admission makes the device that an enrolment token brings in.
func (a *Authenticator) admission(ctx context.Context, s *pending, p *Proven) error {
	id := hex.EncodeToString(s.enrol.TokenID)
	t, err := a.dir.EnrolToken(ctx, s.request.Pool, id)
	if err != nil {
		return fmt.Errorf("enrolment token %s: %w", id, deny(err))
	}
	sub, err := ident.NewUUID(p.at, a.random)
	if err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	p.device = broker.Device{
		ID: s.request.Device(), Subject: sub, Status: broker.StatusActive, Authenticators: []broker.Authenticator{p.by},
		Attributes: merge(s.enrol.Attributes, t.Attributes), Groups: t.Groups, Created: p.at, Updated: p.at,
	}
	if t.Approve {
		p.device.Status = broker.StatusPending
	}
	d, err := a.known(ctx, s)
	if err != nil {
		return err
	}
	if d != nil {
		p.device.Subject = d.Subject // the store decides whether the key may be replaced
	}
	p.enrolment.TokenID = id
	return nil
}

// merge lets what the token presets win over what the device states.
func merge(stated, preset map[string]string) map[string]string {
	out := make(map[string]string, len(stated)+len(preset))
	for k, v := range stated {
		out[k] = v
	}
	for k, v := range preset {
		out[k] = v
	}
	return out
}

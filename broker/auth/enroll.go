package auth

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// enrollment is the Method of the challenge that opens an enrollment. It is no step of a
// flow. The device proves that it has its new key and the enrollment token; without a
// token, an operator must have registered the key before.
type enrollment struct{}

// Name is that of the challenge.
func (enrollment) Name() string { return challenge.Enroll }

// Guessable is false: both proofs are signatures.
func (enrollment) Guessable() bool { return false }

// Ask has no parameters to give: the challenge asks for the two proofs.
func (enrollment) Ask(context.Context, *Turn) (Params, error) { return Params{}, nil }

// Check verifies the proofs. The result is one of the key challenge, whose place this takes.
func (enrollment) Check(ctx context.Context, t *Turn, m *protocol.Answer) (Result, error) {
	key, err := t.NewKey()
	if err != nil {
		return Result{}, err
	}
	if err := key.Verify(protocol.ProofInput(protocol.PurposeEnroll, t.Transcript()), m.Proof); err != nil {
		return Result{}, fmt.Errorf("proof of possession: %w: %w", err, protocol.CodeDenied)
	}
	if t.enroll.TokenID == nil {
		_, err = registeredDevice(ctx, t, key)
	} else {
		err = checkToken(ctx, t, m)
	}
	return Result{Name: challenge.Key, OK: true, AMR: AMRPossession}, err
}

// registeredDevice gives the device whose key an operator registered before. No such
// device, and a device with another key, are the same answer: ErrProof.
func registeredDevice(ctx context.Context, t *Turn, key *token.Key) (*broker.Device, error) {
	d, err := t.Device(ctx)
	if err != nil {
		return nil, err
	}
	if d != nil && d.Has(key.Thumbprint()) {
		return d, checkActive(d)
	}
	err = ErrProof
	if d == nil {
		err = ErrNoDevice
	}
	return nil, fmt.Errorf("key is not registered and no enrollment token was given: %w", err)
}

// checkToken checks the proof of the enrollment token. Whether the token may still be
// used is decided when the enrollment is written, in the store's transaction; but no hook
// hears of a device that it is not for.
func checkToken(ctx context.Context, t *Turn, m *protocol.Answer) error {
	stored, err := t.EnrollToken(ctx)
	if errors.Is(err, broker.ErrNotFound) {
		return fmt.Errorf("%w: %w", err, ErrProof)
	}
	if err != nil {
		return err
	}
	key, err := token.NewKey(ed25519.PublicKey(stored.Key))
	if err != nil {
		return fmt.Errorf("enrollment token %s: %w", stored.ID, err)
	}
	if err := key.Verify(protocol.ProofInput(protocol.PurposeEnrollToken, t.Transcript()), m.TokenProof); err != nil {
		return fmt.Errorf("enrollment token %s: %w: %w", stored.ID, err, ErrProof)
	}
	if err := stored.For(t.Claimed().Name, t.from); err != nil {
		return fmt.Errorf("%w: %w", err, ErrProof)
	}
	return nil
}

// mayEnroll asks ahead what the store will decide of an enrollment by token of a device that
// is there: broker.ErrInactive if only the device's status is in its way; CodeDenied if
// something else is.
func (t *Turn) mayEnroll(ctx context.Context, d *broker.Device) error {
	key, err := t.NewKey()
	if err != nil {
		return err
	}
	stored, err := t.EnrollToken(ctx)
	if err != nil {
		return concealed(err)
	}
	come := broker.Device{ID: d.ID, Authenticators: []broker.Authenticator{{ID: key.Thumbprint(), Kind: challenge.Key}}}
	_, err = broker.Admit(d, &broker.Login{Enroll: &broker.Enrollment{Device: come, TokenID: stored.ID, Now: t.now, From: t.from}}, stored, stored.Used)
	if err != nil && !errors.Is(err, broker.ErrInactive) {
		err = fmt.Errorf("%w: %w", err, protocol.CodeDenied)
	}
	return err
}

// enrolled completes p with what an enrollment, its flow done, will write.
func (f *Flows) enrolled(ctx context.Context, t *Turn, p *Proven) error {
	key, err := t.NewKey()
	if err != nil {
		return err
	}
	p.confirms = token.Confirm(key)
	p.enrollment = &broker.Enrollment{Now: p.at, From: t.from}
	if t.enroll.TokenID == nil {
		d, err := registeredDevice(ctx, t, key)
		if err != nil {
			return err
		}
		p.device = d
	} else if err := f.newDevice(ctx, t, key, p); err != nil {
		return err
	}
	p.enrollment.Device = *p.device
	return nil
}

// newDevice fills p with the device as an enrollment token makes it.
func (f *Flows) newDevice(ctx context.Context, t *Turn, key *token.Key, p *Proven) error {
	stored, err := t.EnrollToken(ctx)
	if err != nil {
		return concealed(err)
	}
	sub, err := ident.NewUUID(p.at, f.random)
	if err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	newKey := broker.Authenticator{ID: key.Thumbprint(), Kind: challenge.Key, Key: key.MarshalCOSE(), Added: p.at}
	p.device = &broker.Device{
		ID: t.Claimed(), Subject: sub, Status: broker.StatusActive, Authenticators: []broker.Authenticator{newKey},
		Attributes: overlay(t.enroll.Attributes, stored.Attributes), Groups: stored.Groups, Created: p.at, Updated: p.at,
	}
	if err := broker.CheckLabels(p.device.Groups, p.device.Attributes); err != nil { // each may be right, and all too many
		return fmt.Errorf("attributes that the device states and its token presets: %w: %w", err, protocol.CodeTooLarge)
	}
	if stored.Approve {
		p.device.Status = broker.StatusPending
	}
	d, err := t.Device(ctx)
	if err != nil {
		return err
	}
	if d != nil {
		p.device.Subject = d.Subject // the store decides whether the key may be replaced
	}
	p.enrollment.TokenID = stored.ID
	return nil
}

// overlay joins attributes: what the token presets wins over what the device states.
func overlay(stated, preset map[string]string) map[string]string {
	out := make(map[string]string, len(stated)+len(preset))
	for k, v := range stated {
		out[k] = v
	}
	for k, v := range preset {
		out[k] = v
	}
	return out
}

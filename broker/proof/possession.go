package proof

import (
	"context"
	"errors"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A possession is the method of a proof that the device has the secret behind one of its
// authenticators. K is the broker's half of such a secret. What differs from one kind to
// another is in its fields.
type possession[K interface {
	Verify(input, proof []byte) error
}] struct {
	name string
	// half reads the broker's half from an authenticator of d.
	half func(d ident.Device, held *broker.Authenticator) (K, error)
	// decoy gives a half that nobody has the other one of, for a name that is unknown. It
	// takes as long to verify as a real one.
	decoy func(claimed ident.Device) K
	// confirm is how tokens name a half.
	confirm func(K) token.Confirmation
}

// Name is that of the challenge, and of the authenticators that answer it.
func (p *possession[K]) Name() string { return p.name }

// Guessable is false: nobody guesses a key of 32 random bytes or more, nor what it makes.
func (*possession[K]) Guessable() bool { return false }

// Ask has no parameters to give.
func (*possession[K]) Ask(context.Context, *auth.Turn) (auth.Params, error) {
	return auth.Params{}, nil
}

// Check checks the proof, which must be over the whole exchange so far.
func (p *possession[K]) Check(ctx context.Context, t *auth.Turn, m *protocol.Answer) (auth.Result, error) {
	d, err := t.Device(ctx)
	if err != nil {
		return auth.Result{}, err
	}
	prover, err := p.Prover(d, t.Claimed(), protocol.ProofInput(p.name, t.Transcript()), m.Proof)
	if err != nil {
		return auth.Result{}, err
	}
	return auth.Result{Name: p.name, OK: true, AMR: auth.AMRPossession, Prover: prover}, nil
}

// Prover finds the first authenticator of d, of this kind, whose secret made proof over
// input. If d has none of this kind, or is nil, the proof is checked against the decoy.
func (p *possession[K]) Prover(d *broker.Device, claimed ident.Device, input, proof []byte) (*broker.Authenticator, error) {
	checked := false
	if d != nil {
		for i := range d.Authenticators {
			held := &d.Authenticators[i]
			if held.Kind != p.name {
				continue
			}
			checked = true
			half, err := p.half(d.ID, held)
			if err == nil {
				err = half.Verify(input, proof)
			}
			if err == nil {
				return held, nil
			}
			if !errors.Is(err, token.ErrSignature) {
				return nil, err
			}
		}
	}
	if checked {
		return nil, auth.ErrProof
	}
	_ = p.decoy(claimed).Verify(input, proof) // refused whatever comes of it
	if d != nil {
		return nil, auth.ErrNoSecret
	}
	return nil, auth.ErrNoDevice
}

// Confirmation is by the key's thumbprint, or by an HMAC that reveals nothing of a secret.
func (p *possession[K]) Confirmation(d ident.Device, prover *broker.Authenticator) (token.Confirmation, error) {
	half, err := p.half(d, prover)
	if err != nil {
		return token.Confirmation{}, err
	}
	return p.confirm(half), nil
}

package proof

import (
	"context"
	"crypto/ed25519"
	"fmt"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
)

// possession answers by the device's own key, or the one that it shares.
type possession struct{ own Prover }

// Guessable is false: the same key gives the same wrong proof.
func (possession) Guessable() bool { return false }

// Answer proves that the device has the secret of the kind that is asked for. The
// kind is also the proof's purpose.
func (p possession) Answer(_ context.Context, t *Turn, m *protocol.Answer) (err error) {
	if own := p.own.Kind(); t.Kind != own {
		return &FlowError{Asks: t.Kind, Has: own}
	}
	m.Proof, err = prove(p.own, protocol.ProofInput(t.Kind, t.Transcript))
	return err
}

// newcomer answers by the key that an enrollment brings, and by its token.
type newcomer struct{ possession }

// Answer proves possession of both.
func (n newcomer) Answer(_ context.Context, t *Turn, m *protocol.Answer) (err error) {
	if n.own.Kind() != challenge.Key || !t.Enrolling {
		return fmt.Errorf("%w: an enrollment challenge in an authentication", ErrUnexpected)
	}
	if m.Proof, err = prove(n.own, protocol.ProofInput(protocol.PurposeEnroll, t.Transcript)); err != nil || t.Token == nil {
		return err
	}
	key, err := t.Token.Key()
	if err != nil {
		return err
	}
	m.TokenProof = ed25519.Sign(key, protocol.ProofInput(protocol.PurposeEnrollToken, t.Transcript))
	return nil
}

func prove(own Prover, input []byte) ([]byte, error) {
	proof, err := own.Prove(input)
	if err != nil {
		return nil, fmt.Errorf("prove possession of the key: %w", err)
	}
	return proof, nil
}

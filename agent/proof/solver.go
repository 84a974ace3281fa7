package proof

import (
	"context"
	"fmt"

	"github.com/signetd/signet/protocol"
)

// solver answers by what somebody or something knows: a one-time code, a PIN, the
// answer to whatever an operator's hook asks.
type solver struct {
	own   Prover
	solve Solver
}

// Guessable is true.
func (solver) Guessable() bool { return true }

// Answer seals the answer, and proves that it is the device's own: nobody in between
// can guess in its name.
func (s solver) Answer(ctx context.Context, t *Turn, m *protocol.Answer) error {
	if s.solve == nil {
		return fmt.Errorf("%w %q", ErrNoSolver, t.Kind)
	}
	if t.SealTo == nil { // the broker reads sealed answers only
		return fmt.Errorf("%w: challenge %q has no key to seal its answer to", ErrUnexpected, t.Kind)
	}
	answer, err := s.solve(ctx, t.Kind, t.Params)
	if err != nil {
		return fmt.Errorf("answer challenge %q: %w", t.Kind, err)
	}
	if m.Secret, err = protocol.SealAnswer(t.SealTo, t.Transcript, answer); err != nil {
		return err
	}
	m.Proof, err = prove(s.own, protocol.SecretInput(t.Transcript, m.Secret))
	return err
}

package control

import (
	"errors"
	"fmt"

	"github.com/signetd/signet/broker"
)

// A refusal is a broken rule in words for an operator: what, and what to do first.
// It wraps the kind of error it is without repeating that kind's own text.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }

func (r *refusal) Unwrap() error { return r.kind }

// invalid is an error that wraps broker.ErrInvalid.
func invalid(format string, args ...any) error {
	return &refusal{broker.ErrInvalid, fmt.Sprintf(format, args...)}
}

// conflict is an error that wraps broker.ErrConflict.
func conflict(format string, args ...any) error {
	return &refusal{broker.ErrConflict, fmt.Sprintf(format, args...)}
}

// about says what was being done, once. A store wraps its errors with the same, in
// its own words, which are dropped where the kind of error says it all.
func about(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	var r *refusal
	if errors.As(err, &r) {
		return fmt.Errorf("%s: %w", what, r)
	}
	for _, plain := range []error{broker.ErrNotFound, broker.ErrExists} {
		if errors.Is(err, plain) {
			return fmt.Errorf("%s: %w", what, plain)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

package control

import (
	"errors"
	"fmt"

	"github.com/signetd/signet/broker"
)

// invalid is an error that wraps broker.ErrInvalid.
func invalid(format string, args ...any) error { return broker.Invalid("", format, args...) }

// conflict is an error that wraps broker.ErrConflict.
func conflict(format string, args ...any) error { return broker.Conflict(format, args...) }

// about wraps err with what was being done, for an operator. A store's error says the same
// in its own words; these are dropped where the kind of the error says it all.
func about(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if broken := broker.ViolationsOf(err); broken != nil {
		return fmt.Errorf("%s: %w", what, broken)
	}
	for _, plain := range []error{broker.ErrNotFound, broker.ErrExists, broker.ErrStale} {
		if errors.Is(err, plain) {
			return fmt.Errorf("%s: %w", what, plain)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

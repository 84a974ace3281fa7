package exchange

import (
	"errors"
	"fmt"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
)

// TestRecordErrorSaysWhatBecameOfTheDevice: a login or an enrollment whose device is found
// not to be active only when it is written hears the same as one that is refused before.
func TestRecordErrorSaysWhatBecameOfTheDevice(t *testing.T) {
	for _, status := range []broker.Status{broker.StatusPending, broker.StatusDisabled, broker.StatusQuarantined} {
		err := recordError(fmt.Errorf("lamp-1: %w", broker.ErrInactive), status)
		if !errors.Is(err, auth.CodeOf(status)) || !errors.Is(err, broker.ErrInactive) {
			t.Errorf("%s: %v, want %v", status, err, auth.CodeOf(status))
		}
	}
}

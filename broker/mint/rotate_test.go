package mint_test

import (
	"errors"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/protocol"
)

// TestRotateSaysWhatBecameOfTheDevice: a refresh whose device is found not to be active
// only in the store's transaction hears the same as one that is refused before.
func TestRotateSaysWhatBecameOfTheDevice(t *testing.T) {
	for _, status := range []broker.Status{broker.StatusPending, broker.StatusDisabled, broker.StatusQuarantined} {
		rotated, err := new(mint.Minter).Rotate(&auth.Proven{}, &protocol.RefreshBody{}, &broker.Client{}, &broker.Session{}, &broker.Device{Status: status})
		if rotated.Reuse || !errors.Is(err, auth.CodeOf(status)) {
			t.Errorf("%s: %v, want %v", status, err, auth.CodeOf(status))
		}
	}
}

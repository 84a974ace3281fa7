package auth

import (
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
)

// CodeOf gives what a device hears when it is refused because of its status, which is
// not broker.StatusActive. Only whoever proved the device's key may learn that.
func CodeOf(s broker.Status) protocol.Code {
	if s == broker.StatusPending {
		return protocol.CodePending
	}
	return protocol.CodeDisabled
}

// checkActive refuses a device that is not active, with the code that says why.
func checkActive(d *broker.Device) error {
	if d.Status == broker.StatusActive {
		return nil
	}
	return fmt.Errorf("device is %s: %w", d.Status, CodeOf(d.Status))
}

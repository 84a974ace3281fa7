package auth

import (
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// TestOnlyAProofTakesADevicesCalls: before a proof of the device's key, and in an enrollment, a
// hook is called on a stranger's account, whatever the status of the device that is named, so
// that nobody without that key takes the calls that hooks have for the device.
func TestOnlyAProofTakesADevicesCalls(t *testing.T) {
	for _, status := range []broker.Status{broker.StatusActive, broker.StatusDisabled, broker.StatusQuarantined, broker.StatusPending} {
		d := &broker.Device{Subject: ident.UUID{1}, Status: status}
		for name, c := range map[string]struct {
			pending pending
			enroll  *protocol.Enroll
			want    ident.UUID
		}{
			"before a proof":              {pending: pending{}},
			"after a hook's own question": {pending: pending{Results: []Result{{Name: "door", OK: true, Hook: "door"}}}},
			"in an enrollment":            {pending: pending{Prover: []byte{1}, Results: []Result{{Name: "key", OK: true}}}, enroll: &protocol.Enroll{}},
			"after a proof":               {pending: pending{Prover: []byte{1}, Results: []Result{{Name: "key", OK: true}}}, want: d.Subject},
		} {
			c.pending.request = &protocol.Request{}
			turn := &Turn{pending: &c.pending, enroll: c.enroll, device: d, deviceRead: true}
			for _, phase := range []string{"define", "create", "verify"} {
				call, err := turn.HookCall(t.Context(), phase)
				if err != nil || call.Caller != c.want {
					t.Errorf("%s, %s, %s: on the account of %v, %v; want %v", status, name, phase, call.Caller, err, c.want)
				}
			}
		}
	}
}

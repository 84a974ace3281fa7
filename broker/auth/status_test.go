package auth

import (
	"errors"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
)

func TestCodeOfEachStatus(t *testing.T) {
	for status, want := range map[broker.Status]protocol.Code{
		broker.StatusPending: protocol.CodePending, broker.StatusDisabled: protocol.CodeDisabled,
		broker.StatusQuarantined: protocol.CodeDisabled, "": protocol.CodeDisabled, "unheard of": protocol.CodeDisabled,
	} {
		if got := CodeOf(status); got != want {
			t.Errorf("%q: %v, want %v", status, got, want)
		}
		if err := checkActive(&broker.Device{Status: status}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", status, err, want)
		}
	}
	if err := checkActive(&broker.Device{Status: broker.StatusActive}); err != nil {
		t.Error(err)
	}
}

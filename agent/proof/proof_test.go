package proof_test

import (
	"testing"

	"github.com/signetd/signet/agent/proof"
	"github.com/signetd/signet/protocol/challenge"
)

// TestAnswersAreWhatTheProtocolSays: a device tries again exactly where the broker counts
// tries, and takes every other name for a custom challenge.
func TestAnswersAreWhatTheProtocolSays(t *testing.T) {
	methods := proof.New(nil, nil)
	for _, k := range challenge.Kinds() {
		if got := methods.For(k.Name).Guessable(); got != k.Guessable {
			t.Errorf("%s: guessable %v", k.Name, got)
		}
	}
	if !methods.For("door").Guessable() {
		t.Error("the answer to a custom challenge cannot be wrong")
	}
}

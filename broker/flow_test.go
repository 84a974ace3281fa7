package broker_test

import (
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
)

// TestFlowsTakeTheProtocolsChallenges: a flow has each challenge where the protocol lets
// it be asked, and a hook has the name of none.
func TestFlowsTakeTheProtocolsChallenges(t *testing.T) {
	valid := func(steps ...string) bool {
		f := broker.Flow{Name: "f", Steps: steps}
		return f.Validate() == nil
	}
	for _, k := range challenge.Kinds() {
		if got, want := valid(k.Name), k.Step && !k.AfterKey; got != want {
			t.Errorf("%s alone: %v", k.Name, got)
		}
		for _, first := range []string{challenge.Key, challenge.PSK} {
			if got := valid(first, k.Name); got != k.Step {
				t.Errorf("%s after %s: %v", k.Name, first, got)
			}
		}
		if got := valid("hook:door", k.Name); got != (k.Step && !k.AfterKey) {
			t.Errorf("%s after a hook: %v", k.Name, got)
		}
		if valid(challenge.Key, "hook:"+k.Name) {
			t.Errorf("a hook took the name %s", k.Name)
		}
		a := broker.Authenticator{Kind: k.Name}
		if a.Possession() != k.Possession {
			t.Errorf("an authenticator of kind %s: possession %v", k.Name, a.Possession())
		}
	}
	if !valid(challenge.Key, "hook:door") {
		t.Error("a hook's own name was refused")
	}
}

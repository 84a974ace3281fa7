package broker_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
)

// TestFlowsTakeTheProtocolsChallenges: a flow has each challenge where the protocol lets
// it be asked, and a hook has the name of none.
func TestFlowsTakeTheProtocolsChallenges(t *testing.T) {
	valid := func(steps ...string) bool {
		_, hook := broker.HookStep(steps[0])
		f := broker.Flow{Name: "f", Steps: steps, HookFirst: hook}
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

// TestFlowsSayThatTheyBeginWithAHook: and only those that do.
func TestFlowsSayThatTheyBeginWithAHook(t *testing.T) {
	for what, c := range map[string]struct {
		flow broker.Flow
		at   string // the field of the refusal
	}{
		"steps":  {broker.Flow{Steps: []string{"hook:door", challenge.Key}}, "steps[0]"},
		"define": {broker.Flow{Define: "door"}, "define"},
	} {
		c.flow.Name = "f"
		err := c.flow.Validate()
		if err == nil || !strings.Contains(err.Error(), "anybody") || !strings.Contains(err.Error(), "hookFirst") {
			t.Errorf("%s: %v", what, err)
		}
		if r, ok := errors.AsType[*broker.Violation](err); !ok || r.Field != c.at || !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%s: at another place: %+v", what, r)
		}
		c.flow.HookFirst = true
		if err := c.flow.Validate(); err != nil {
			t.Errorf("%s, as wanted: %v", what, err)
		}
	}
	for _, f := range []broker.Flow{{Steps: []string{challenge.Key, "hook:door"}}, {Steps: []string{challenge.Key}, Define: "door"}} {
		f.Name = "f"
		if err := f.Validate(); err != nil {
			t.Errorf("%v, then %q: %v", f.Steps, f.Define, err)
		}
		if f.HookFirst = true; f.Validate() == nil {
			t.Error("a flow that begins with a key says that it begins with a hook")
		}
	}
	if f := (broker.Flow{Name: "f", Steps: []string{"hook:pin"}, Define: "door"}); f.Validate() == nil {
		t.Error("a flow begins with a hook and does not say so")
	}
	if f := (broker.Flow{Name: "f"}); f.Validate() == nil {
		t.Error("a flow asks nothing")
	}
}

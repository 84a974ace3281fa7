package challenge_test

import (
	"testing"

	"github.com/signetd/signet/protocol/challenge"
)

// TestKinds: each name has one kind, and what can be guessed is asked only of devices
// that have proved a key.
func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range challenge.Kinds() {
		if got, ok := challenge.Of(k.Name); !ok || got != k || seen[k.Name] {
			t.Errorf("%s: %+v, %v", k.Name, got, ok)
		}
		seen[k.Name] = true
		if k.Guessable && !k.AfterKey || k.AfterKey && k.Possession || k.AfterKey && !k.Step || k.PublicKey && k.Secret || (k.PublicKey || k.Secret) && !k.Step {
			t.Errorf("%+v contradicts itself", k)
		}
	}
	for _, name := range []string{challenge.Key, challenge.PSK, challenge.TOTP, challenge.Enroll} {
		if !seen[name] {
			t.Errorf("%s has no kind", name)
		}
	}
	for _, name := range []string{"", "door", "KEY", "hook:key"} {
		if k, ok := challenge.Of(name); ok {
			t.Errorf("%q is %+v", name, k)
		}
	}
}

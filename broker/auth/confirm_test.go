package auth

import (
	"errors"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// counting is a Possession that counts the authenticators that it checks a proof with. A
// proof fits whose bytes are an authenticator's key.
type counting struct {
	named
	checked *int
}

func (c counting) Prover(d *broker.Device, _ ident.Device, _, proof []byte) (*broker.Authenticator, error) {
	for i := range d.Authenticators {
		if *c.checked++; string(d.Authenticators[i].Key) == string(proof) {
			return &d.Authenticators[i], nil
		}
	}
	return nil, ErrProof
}

func (counting) Confirmation(_ ident.Device, by *broker.Authenticator) (token.Confirmation, error) {
	return token.Confirmation{Thumbprint: by.Key, JKT: by.Key}, nil
}

// TestConfirmsChecksOneProof: of however many keys a device has, the one that the token is
// bound to is asked, and no other; one that is gone is asked nothing.
func TestConfirmsChecksOneProof(t *testing.T) {
	checked := 0
	ms, err := newMethods([]Method{counting{named{challenge.Key, false}, &checked}, named{challenge.TOTP, true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &Flows{methods: ms}
	d := &broker.Device{Authenticators: []broker.Authenticator{
		{Kind: challenge.TOTP, Key: []byte("two")}, {Kind: challenge.Key, Key: []byte("one")}, {Kind: challenge.Key, Key: []byte("two")}, {Kind: challenge.Key, Key: []byte("three")},
	}}
	for name, c := range map[string]struct {
		cnf, proof string
		want       error
		checked    int
	}{
		"its own":            {"two", "two", nil, 1},
		"another's proof":    {"two", "three", ErrProof, 1},
		"no proof":           {"two", "", ErrProof, 1},
		"a key that is gone": {"four", "four", ErrKeyGone, 0},
		"bound to nothing":   {"", "two", ErrKeyGone, 0},
	} {
		checked = 0
		for _, cnf := range []token.Confirmation{{Thumbprint: []byte(c.cnf)}, {JKT: []byte(c.cnf)}} {
			if err := a.Confirms(d, cnf, nil, []byte(c.proof)); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		if checked != 2*c.checked {
			t.Errorf("%s: %d proofs were checked for two connects", name, checked)
		}
	}
}

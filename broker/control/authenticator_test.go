package control_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// TestMadeAuthenticators: whatever kind is to be made, its secret is sealed for that kind
// and device, shown once, and neither replaced unasked nor in the way of others; what
// nobody makes is not taken away, either.
func TestMadeAuthenticators(t *testing.T) {
	w, lamp, ctx := world(t), device(t, "demo:lamp-1"), t.Context()
	made := 0
	w.Makers = map[string]broker.Maker{challenge.PSK: func(id ident.Device, params map[string]string, random io.Reader) (n broker.NewAuthenticator, err error) {
		if params["fault"] != "" {
			return n, fmt.Errorf("%w: a fault", broker.ErrInvalid)
		}
		made++
		_, err = io.ReadFull(random, n.ID[:])
		n.Secret, n.Shown = []byte(id.String()+params["length"]), fmt.Sprint("number ", made)
		return n, err
	}}
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	want(t, err, nil)
	key, err := token.NewKey(pub)
	want(t, err, nil)
	_, err = w.CreateDevice(ctx, by(), control.NewDevice{ID: lamp, Key: hex.EncodeToString(key.MarshalCOSE())})
	want(t, err, nil)
	first, shown, err := w.MakeAuthenticator(ctx, by(), lamp, challenge.PSK, map[string]string{"length": "9"}, false)
	want(t, err, nil)
	if shown != "number 1" || first.Kind != challenge.PSK {
		t.Errorf("%q, %+v", shown, first)
	}
	is := func(when string, kinds ...string) (last broker.Authenticator) {
		t.Helper()
		d, err := w.Device(ctx, lamp)
		want(t, err, nil)
		var got []string
		for _, a := range d.Authenticators {
			got, last = append(got, a.Kind), a
		}
		if fmt.Sprint(got) != fmt.Sprint(kinds) {
			t.Errorf("%s: authenticators %v, want %v", when, got, kinds)
		}
		return last
	}
	kept := is("made", challenge.Key, challenge.PSK)
	raw, err := w.Sealer.Open(broker.AuthenticatorPurpose(challenge.PSK, lamp), kept.Sealed)
	if err != nil || string(raw) != "demo:lamp-19" || kept.ID != first.ID {
		t.Errorf("kept as %q, %v", raw, err)
	}
	for _, other := range []broker.Purpose{broker.AuthenticatorPurpose(challenge.TOTP, lamp), broker.AuthenticatorPurpose(challenge.PSK, device(t, "demo:lamp-2"))} {
		if _, err := w.Sealer.Open(other, kept.Sealed); err == nil {
			t.Errorf("opened for %s", other)
		}
	}

	_, shown, err = w.MakeAuthenticator(ctx, by(), lamp, challenge.PSK, nil, false)
	want(t, err, broker.ErrConflict)
	if shown != "" {
		t.Errorf("shown although not kept: %q", shown)
	}
	_, _, err = w.MakeAuthenticator(ctx, by(), lamp, challenge.PSK, map[string]string{"fault": "yes"}, true)
	want(t, err, broker.ErrInvalid)
	_, _, err = w.MakeAuthenticator(ctx, by(), device(t, "demo:nobody"), challenge.PSK, nil, false)
	want(t, err, broker.ErrNotFound)
	if got := is("refused", challenge.Key, challenge.PSK); got.ID != first.ID {
		t.Error("a refusal replaced it")
	}
	second, _, err := w.MakeAuthenticator(ctx, by(), lamp, challenge.PSK, nil, true)
	want(t, err, nil)
	if got := is("replaced", challenge.Key, challenge.PSK); got.ID != second.ID || second.ID == first.ID {
		t.Error("it was not replaced")
	}

	for _, kind := range []string{challenge.Key, challenge.TOTP, challenge.Enroll, "door", ""} {
		_, _, err = w.MakeAuthenticator(ctx, by(), lamp, kind, nil, true)
		want(t, err, broker.ErrInvalid)
		want(t, w.RemoveAuthenticator(ctx, by(), lamp, kind), broker.ErrInvalid)
	}
	want(t, w.RemoveAuthenticator(ctx, by(), lamp, challenge.PSK), nil)
	is("removed", challenge.Key)
	want(t, w.RemoveAuthenticator(ctx, by(), lamp, challenge.PSK), broker.ErrConflict)
}

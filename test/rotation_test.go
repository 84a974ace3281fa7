package test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
)

// TestDevicesFollowTheirPoolsKeys: a device that remembers a key statement goes on
// through everything that an operator may do to keys, one taken back included.
func TestDevicesFollowTheirPoolsKeys(t *testing.T) {
	s := harness.New(t)
	a := enrolled(t, s, "lamp-1", harness.NewP256(t))
	works := func(after string) {
		t.Helper()
		s.Offset += 2 * time.Second // statements are dated by the second; replicas look once a second
		if _, err := a.Authenticate(t.Context(), s, agent.Ask{}); err != nil {
			t.Errorf("after %s: %v", after, err)
		}
		if _, err := a.Refresh(t.Context(), s, agent.Ask{}); err != nil {
			t.Errorf("refresh after %s: %v", after, err)
		}
	}
	for range 2 {
		k, err := s.Control.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, s.Pool, token.EdDSA, false)
		if err != nil {
			t.Fatal(err)
		}
		works("announcing a key")
		if _, err := s.Control.RetireKey(t.Context(), broker.By{Actor: broker.ActorLocal}, s.Pool, k.ID, false); err != nil {
			t.Fatal(err)
		}
		works("taking it back")
	}
	keys, err := s.Control.ListKeys(t.Context(), s.Pool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Control.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, s.Pool, token.ES256, true); err != nil {
		t.Fatal(err)
	}
	works("rotating at once")
	if _, err := s.Control.RetireKey(t.Context(), broker.By{Actor: broker.ActorLocal}, s.Pool, keys[0].ID, true); err != nil {
		t.Fatal(err)
	}
	works("retiring by force")
}

// TestDevicesFollowTheirPoolsAnchor: devices that stood at any of a pool's anchors, with a
// key of their own or a shared one, and tokens that pin any of them, come to the newest, on
// whatever replica. Nothing of it needs anybody at the device.
func TestDevicesFollowTheirPoolsAnchor(t *testing.T) {
	s := harness.New(t)
	local := broker.By{Actor: broker.ActorLocal}
	var asleep []*agent.Agent
	var tokens []*protocol.EnrollToken
	for i := range 3 {
		asleep = append(asleep, enrolled(t, s, fmt.Sprintf("lamp-%d", i), harness.NewP256(t)))
		tokens = append(tokens, s.Token(t, 1))
		if _, err := s.Control.RotateAnchor(t.Context(), local, s.Pool, nil); err != nil {
			t.Fatal(err)
		}
		s.Offset += 2 * time.Second // replicas look once a second
	}
	for i, a := range asleep {
		if _, err := a.Refresh(t.Context(), s, agent.Ask{}); err != nil {
			t.Errorf("the device that slept since anchor %d: %v", i, err)
		}
		if _, err := a.Authenticate(t.Context(), s, agent.Ask{}); err != nil {
			t.Errorf("and once more: %v", err)
		}
	}
	for i, tok := range tokens {
		state := &agent.Memory{}
		a, err := agent.New(t.Context(), agent.Config{Device: s.Name(t, fmt.Sprintf("new-%d", i)), Prover: harness.NewEd25519(t), State: state})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: tok}); err != nil {
			t.Errorf("the token that pins anchor %d: %v", i, err)
		}
		if r, err := state.Load(t.Context()); err != nil || !bytes.HasPrefix(s.Pin(t), r.Pin) || len(r.Pin) == 0 {
			t.Errorf("it pins %x, the pool's is %x (%v)", r.Pin, s.Pin(t), err)
		}
	}
}

// TestTokenOfASharedKeyDevice: a device with a shared key is enrolled again with a token from
// before the pool's anchor was replaced, and with none of another anchor's.
func TestTokenOfASharedKeyDevice(t *testing.T) {
	s, local := harness.New(t), broker.By{Actor: broker.ActorLocal}
	if _, err := controltest.PutFlow(t.Context(), s.Control, local, broker.Flow{Pool: s.Pool, Name: "shared", Steps: []string{"psk"}}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Control.ChangePool(t.Context(), local, s.Pool, control.PoolChange{Flow: new("shared")}, nil); err != nil {
		t.Fatal(err)
	}
	psk := harness.Shared("0123456789abcdef0123456789abcdef")
	if _, err := s.Control.CreateDevice(t.Context(), local, control.NewDevice{ID: s.Name(t, "meter-1"), PSK: hex.EncodeToString(psk)}); err != nil {
		t.Fatal(err)
	}
	a, early := newAgent(t, s, "meter-1", psk, nil), s.Token(t, 1)
	if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: early}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Control.RotateAnchor(t.Context(), local, s.Pool, nil); err != nil {
		t.Fatal(err)
	}
	s.Offset += 2 * time.Second
	for i := range 2 {
		if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: early}); err != nil {
			t.Errorf("with the early token, time %d: %v", i, err)
		}
	}
	other, err := protocol.NewEnrollToken(make([]byte, 28), make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: &other}); !errors.Is(err, agent.ErrAnchor) {
		t.Errorf("with another anchor's token: %v, want ErrAnchor", err)
	}
	if _, err := a.Authenticate(t.Context(), s, agent.Ask{}); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// TestAnchorIsRevoked: after a theft nobody follows, tokens that pin what was stolen are
// gone, and a device is in again by its own key and the new pin.
func TestAnchorIsRevoked(t *testing.T) {
	s := harness.New(t)
	local := broker.By{Actor: broker.ActorLocal}
	a := enrolled(t, s, "lamp-1", harness.NewP256(t))
	tok := s.Token(t, 1)
	if _, err := s.Control.RevokeAnchor(t.Context(), local, s.Pool, nil, true); err != nil {
		t.Fatal(err)
	}
	s.Offset += 2 * time.Second
	if _, err := a.Renew(t.Context(), s, agent.Ask{}); !errors.Is(err, agent.ErrAnchor) {
		t.Errorf("a device goes on: %v, want ErrAnchor", err)
	}
	b, err := agent.New(t.Context(), agent.Config{Device: s.Name(t, "lamp-2"), Prover: harness.NewP256(t), State: &agent.Memory{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Enroll(t.Context(), s, agent.Admission{Token: tok}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("a token from before: %v, want denied", err)
	}
	if _, err := a.Enroll(t.Context(), s, agent.Admission{Pin: s.Pin(t)}); err != nil {
		t.Errorf("its own key and the new pin: %v", err)
	}
	if _, err := a.Authenticate(t.Context(), s, agent.Ask{}); err != nil {
		t.Errorf("after that: %v", err)
	}
}

package test

import (
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
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

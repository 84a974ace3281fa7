package mint_test

import (
	"errors"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

func demo(t *testing.T) (*controltest.World, ident.Pool) {
	t.Helper()
	w := controltest.New(t)
	p := identtest.Pool(t, "demo")
	if _, err := w.CreatePool(t.Context(), broker.By{Actor: broker.ActorLocal}, p); err != nil {
		t.Fatal(err)
	}
	return w, p
}

// TestNothingWithoutEvidence: what auth did not make brings no token.
func TestNothingWithoutEvidence(t *testing.T) {
	w, _ := demo(t)
	m, err := mint.New(mint.Config{Rings: keyring.New(w.Store, w.Sealer, nil), RefreshKey: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*auth.Proven{nil, {}} {
		if got, err := m.Login(t.Context(), p); got.Body.Access != nil || !errors.Is(err, mint.ErrNoEvidence) {
			t.Errorf("login: %v, %v", got, err)
		}
		if got, err := m.Refreshed(t.Context(), p, broker.Session{}, &mint.Rotation{}); got.Body.Access != nil || !errors.Is(err, mint.ErrNoEvidence) {
			t.Errorf("refresh: %v, %v", got, err)
		}
	}
	if _, err := mint.New(mint.Config{Rings: keyring.New(w.Store, w.Sealer, nil), RefreshKey: make([]byte, 31)}); err == nil {
		t.Error("a refresh key of 31 bytes was taken")
	}
}

package agent_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
)

// elsewhere is a link on whose end somebody else shows a certificate.
type elsewhere struct {
	*fakeBroker
	server string
}

func (l elsewhere) End() agent.End {
	return agent.End{Channel: l.fakeBroker.End().Channel, Server: fakeName(l.server)}
}

// TestCredentialIsForTheBrokerAlone: a device shows its token to nobody at whose end it has
// not heard the broker itself, and to nobody at all once a grant says that it is relayed.
func TestCredentialIsForTheBrokerAlone(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	cred := a.Credential()
	if cred == nil || a.Status().Relayed {
		t.Fatalf("credential %v after a direct grant, %+v", cred, a.Status())
	}
	raw, err := cred.Password(b.End(), "demo:lamp-1/2")
	if err != nil {
		t.Fatal(err)
	}
	p, err := protocol.DecodeConnectProof(raw)
	if err != nil || !bytes.Equal(p.Access, a.Current().Access) || !bytes.Equal(p.Channel, b.End().Channel) {
		t.Fatalf("%+v, %v", p, err)
	}
	key, err := token.ParseCOSEKey(cfg.Prover.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if key.Verify(p.Input("demo:lamp-1/2"), p.Proof) != nil || key.Verify(p.Input("demo:lamp-1"), p.Proof) == nil {
		t.Error("the proof is not for the client id")
	}
	good := b.End()
	for name, end := range map[string]agent.End{
		"nobody": {}, "no name": {Server: good.Server}, "no certificate": {Channel: good.Channel}, "another": {Channel: good.Channel, Server: fakeName("another")},
	} {
		if raw, err := cred.Password(end, "demo:lamp-1"); !errors.Is(err, agent.ErrCredential) || raw != nil {
			t.Errorf("%s: %x, %v", name, raw, err)
		}
	}
	b.relayed = true
	if _, err := a.Refresh(t.Context(), b, agent.Ask{}); err != nil || a.Credential() != nil || !a.Status().Relayed {
		t.Errorf("relayed: %v, credential %v, %+v", err, a.Credential(), a.Status())
	}
	b.relayed = false
	for _, server := range []string{"1", "2", "3", "4", "5"} { // replicas, with a key each
		if _, err := a.Refresh(t.Context(), elsewhere{b, server}, agent.Ask{}); err != nil || a.Status().Relayed {
			t.Fatalf("%v, %+v", err, a.Status())
		}
	}
	for server, want := range map[string]bool{"1": false, "2": true, "5": true, "broker": false} {
		_, err := a.Credential().Password(elsewhere{b, server}.End(), "demo:lamp-1")
		if (err == nil) != want {
			t.Errorf("end %s: %v", server, err)
		}
	}
}

package agent

import (
	"context"
	"crypto/ecdh"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/vectors"
)

// TestGrantVectors: the agent believes the grants that protocol/vectors says a
// device believes, and no others.
func TestGrantVectors(t *testing.T) {
	raw, err := fs.ReadFile(vectors.Files(), "grants.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Nonce, Transcript, Issuer, Pin string
		Ephemeral                      string `json:"ephemeral_private"`
		Grants                         []struct {
			Name, Hex, Failure string
			StoredPin          string `json:"stored_pin"`
			Anchor             string `json:"stored_anchor"`
			Statement          string `json:"stored_statement"`
			Subject            string `json:"stored_subject"`
		}
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	bytesOf := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			return nil
		}
		return b
	}
	key, err := ecdh.X25519().NewPrivateKey(bytesOf(f.Ephemeral))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range f.Grants {
		c := &call{nonce: bytesOf(f.Nonce), ephemeral: key, transcript: protocol.Transcript(bytesOf(f.Transcript)), issuer: f.Issuer, pin: bytesOf(f.Pin)}
		if v.StoredPin != "" {
			c.pin = bytesOf(v.StoredPin)
		}
		c.record.Anchor, c.record.Statement = bytesOf(v.Anchor), bytesOf(v.Statement)
		copy(c.record.Subject[:], bytesOf(v.Subject))
		m, err := protocol.Decode(bytesOf(v.Hex))
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		kept := &keptRecord{}
		a := &Agent{cfg: Config{State: kept, Clock: time.Now}}
		_, err = a.accept(t.Context(), c, m.(*protocol.Grant))
		if (err == nil) != (v.Failure == "") || err != nil && !errors.Is(err, ErrGrant) {
			t.Errorf("%s: %v, want failure %q", v.Name, err, v.Failure)
		}
		if kept.saved != (err == nil) {
			t.Errorf("%s: saved is %v", v.Name, kept.saved)
		}
	}
}

// keptRecord is a State that notes whether anything was saved.
type keptRecord struct{ saved bool }

func (k *keptRecord) Load(context.Context) (Record, error) { return Record{}, nil }
func (k *keptRecord) Save(context.Context, Record) error   { k.saved = true; return nil }

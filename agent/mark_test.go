package agent

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/signetd/signet/protocol"
)

// TestSharedSecretsDiffer: a record tells shared keys apart and does not hold what proves one.
func TestSharedSecretsDiffer(t *testing.T) {
	one, other := shared("one"), shared("other")
	r := Record{Secret: secretMark(one)}
	if !r.Fits(one) || r.Fits(other) || !new(Record).Fits(other) {
		t.Error("the record does not tell them apart")
	}
	for _, purpose := range []string{"psk", "refresh", "connect", "answer", "kept"} {
		if p, err := one.Prove(protocol.ProofInput(purpose, protocol.Transcript{})); err != nil || bytes.HasPrefix(p, r.Secret) {
			t.Errorf("the mark is a part of a proof for %s", purpose)
		}
	}
}

// shared proves as keyfile.SharedKey does.
type shared string

func (shared) Kind() string      { return "psk" }
func (shared) PublicKey() []byte { return nil }

func (s shared) Prove(input []byte) ([]byte, error) {
	m := hmac.New(sha256.New, []byte(s))
	m.Write(input)
	return m.Sum(nil), nil
}

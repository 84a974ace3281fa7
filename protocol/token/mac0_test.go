package token_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/signetd/signet/protocol/token"
)

// TestSecretID: a shared key's id is its owner's and the key's alone, the same each
// time, and nothing that the key is used for elsewhere.
func TestSecretID(t *testing.T) {
	raw := bytes.Repeat([]byte{7}, 32)
	secret := func(b []byte) token.Secret {
		s, err := token.NewSecret(b)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	id := secret(raw).ID("demo:lamp-1")
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte("signet key id v1\x00demo:lamp-1"))
	if !bytes.Equal(id[:], mac.Sum(nil)) || id != secret(raw).ID("demo:lamp-1") {
		t.Errorf("id %x", id)
	}
	if other := secret(raw).ID("demo:lamp-2"); other == id {
		t.Error("two owners of one key have one id")
	}
	if other := secret(append([]byte{8}, raw[1:]...)).ID("demo:lamp-1"); other == id {
		t.Error("two keys have one id")
	}
	if cnf := token.ConfirmSecret(secret(raw)); bytes.Equal(cnf.JKT, id[:]) {
		t.Error("tokens show the id")
	}
}

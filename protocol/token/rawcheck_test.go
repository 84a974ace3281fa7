package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/signetd/signet/protocol/token"
)

// rawCheck is the standard library alone: hash and check, all else prepared.
func rawCheck(b *testing.B, key *token.Key, msg, sig []byte) func() bool {
	b.Helper()
	switch pub := key.Public().(type) {
	case *ecdsa.PublicKey:
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
		if err != nil {
			b.Fatal(err)
		}
		return func() bool {
			digest := sha256.Sum256(msg)
			return ecdsa.VerifyASN1(pub, digest[:], der)
		}
	case ed25519.PublicKey:
		return func() bool { return ed25519.Verify(pub, msg, sig) }
	}
	b.Fatal("no raw check for this key")
	return nil
}

package vectors_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"os"
	"testing"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// fixed gives n bytes, at most 32, that depend on label alone.
func fixed(label string, n int) []byte {
	sum := sha256.Sum256([]byte("signet vectors: " + label))
	return sum[:n]
}

// A keyPair is a fixed key and its private half as vectors show it.
type keyPair struct {
	name    string
	private string // hex: P-256 scalar or Ed25519 seed; RSA: PKCS #8
	signer  *token.Signer
}

// steady makes ECDSA signatures depend on key and message alone (RFC 6979).
type steady struct{ *ecdsa.PrivateKey }

func (s steady) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.PrivateKey.Sign(nil, digest, opts)
}

func newPair(t *testing.T, name, private string, key crypto.Signer) keyPair {
	t.Helper()
	s, err := token.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{name, private, s}
}

func p256(t *testing.T, name string) keyPair {
	t.Helper()
	scalar := fixed(name, 32)
	scalar[0] &= 0x7f
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		t.Fatal(err)
	}
	return newPair(t, name, hexOf(scalar), steady{key})
}

func ed(t *testing.T, name string) keyPair {
	t.Helper()
	seed := fixed(name, 32)
	return newPair(t, name, hexOf(seed), ed25519.NewKeyFromSeed(seed))
}

func rsa2048(t *testing.T, name string) keyPair {
	t.Helper()
	raw, err := os.ReadFile("testdata/rsa.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return newPair(t, name, hexOf(block.Bytes), key.(crypto.Signer))
}

func x25519(t *testing.T, name string) *ecdh.PrivateKey {
	t.Helper()
	key, err := ecdh.X25519().NewPrivateKey(fixed(name, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (k keyPair) sign(t *testing.T, msg []byte) []byte {
	t.Helper()
	sig, err := k.signer.Sign(msg)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func device(t *testing.T) ident.Device {
	t.Helper()
	return identtest.Device(t, "demo:lamp-1")
}

package keyfile

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/signetd/signet/protocol/token"
)

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func makeKeys(t testing.TB) map[Kind]crypto.Signer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[Kind]crypto.Signer{P256: ec, Ed25519: ed}
}

func TestParseKey(t *testing.T) {
	for kind, key := range makeKeys(t) {
		k, err := parseKey(pemOf(pkcs8(t, key)))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		want, err := token.NewKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if k.Algorithm() != kind || !k.signer.Key().Equal(want) {
			t.Errorf("%s: came back as another key", kind)
		}
	}
}

// TestParseKeyOfOthers: what OpenSSL 3 writes (openssl genpkey -algorithm ed25519, and
// -algorithm EC -pkeyopt ec_paramgen_curve:P-256), and what others do: a P-256 key
// without its public half, one that names its curve twice (RFC 5915, 3), and an
// Ed25519 key with its public half, as version 2 has it (RFC 8410, 10.3).
func TestParseKeyOfOthers(t *testing.T) {
	for name, text := range map[string]string{
		"OpenSSL Ed25519": opensslEd25519, "OpenSSL P-256": opensslP256,
		"P-256 without point": bareP256, "P-256 with parameters": namedP256, "Ed25519, version 2": versionTwo,
	} {
		if _, err := parseKey([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []any{p384, rsaKey, x25519} {
		if _, err := parseKey(pemOf(pkcs8(t, key))); !errors.Is(err, token.ErrKey) && !errors.Is(err, ErrKeyDamaged) {
			t.Errorf("%T: %v", key, err)
		}
	}
	for kind, key := range makeKeys(t) {
		whole := pkcs8(t, key)
		for n := range whole {
			if _, err := parseKey(pemOf(whole[:n])); !errors.Is(err, ErrKeyDamaged) {
				t.Errorf("%s cut to %d bytes: %v", kind, n, err)
			}
		}
		if _, err := parseKey(pemOf(append(bytes.Clone(whole), 0))); !errors.Is(err, ErrKeyDamaged) {
			t.Errorf("%s with a byte more: %v", kind, err)
		}
		if _, err := parseKey(append(pemOf(whole), pemOf(whole)...)); !errors.Is(err, ErrKeyDamaged) {
			t.Errorf("%s twice: %v", kind, err)
		}
	}
	der := pkcs8(t, makeKeys(t)[P256])
	for i := 36; i < len(der); i++ { // the scalar no longer fits the point, or the other way round
		der[i] ^= 1
		if _, err := parseKey(pemOf(der)); !errors.Is(err, ErrKeyDamaged) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		der[i] ^= 1
	}
}

// FuzzParseKey: whatever a file holds, a key comes out that works, or an error.
func FuzzParseKey(f *testing.F) {
	for _, key := range makeKeys(f) {
		f.Add(pkcs8(f, key))
	}
	f.Add([]byte{0x30, 0x2e, 0x02, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		k, err := parseKey(pemOf(der))
		if err != nil {
			return
		}
		proof, err := k.Prove([]byte("input"))
		if err != nil {
			t.Fatalf("a key that was read cannot sign: %v", err)
		}
		pub, err := token.ParseCOSEKey(k.PublicKey())
		if err != nil || pub.Verify([]byte("input"), proof) != nil {
			t.Errorf("its proof does not verify under its public key: %v", err)
		}
	})
}

const (
	opensslEd25519 = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIB+TuN6FFhHUKGVHRFZNVe11FFTySOpCjo5M9NfXLtyH
-----END PRIVATE KEY-----
`
	opensslP256 = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFNA3bgipTf3tsBMs
fzj/MJfs8BzfFNBiADXYV+qrbh2hRANCAAQXkNx0/mUYYVU6CExRu0eBv1WELgsS
yjLVYp+ZWlSHY0kvO/0OQMbxsomWQc5dzq1jqN4x2NR0peEWbYlCgJpI
-----END PRIVATE KEY-----
`
	bareP256 = `-----BEGIN PRIVATE KEY-----
MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCAU0DduCKlN/e2wEyx/
OP8wl+zwHN8U0GIANdhX6qtuHQ==
-----END PRIVATE KEY-----
`
	namedP256 = `-----BEGIN PRIVATE KEY-----
MIGTAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBHkwdwIBAQQgFNA3bgipTf3tsBMs
fzj/MJfs8BzfFNBiADXYV+qrbh2gCgYIKoZIzj0DAQehRANCAAQXkNx0/mUYYVU6
CExRu0eBv1WELgsSyjLVYp+ZWlSHY0kvO/0OQMbxsomWQc5dzq1jqN4x2NR0peEW
bYlCgJpI
-----END PRIVATE KEY-----
`
	versionTwo = `-----BEGIN PRIVATE KEY-----
MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB
Z9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PRIVATE KEY-----
`
)

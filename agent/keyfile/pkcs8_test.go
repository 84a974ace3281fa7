package keyfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"
)

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

// Ours are the standard library's bytes, both ways.
func TestPKCS8(t *testing.T) {
	for range 50 {
		for kind, key := range makeKeys(t) {
			want, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			got, err := marshalPKCS8(key)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %x, %v, want %x", kind, got, err, want)
			}
			back, err := parsePKCS8(want)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if k, ok := back.(interface{ Equal(crypto.PrivateKey) bool }); !ok || !k.Equal(key) {
				t.Errorf("%s: came back as another key", kind)
			}
		}
	}
}

// What OpenSSL 3 writes: openssl genpkey -algorithm ed25519, and
// -algorithm EC -pkeyopt ec_paramgen_curve:P-256.
func TestPKCS8OfOpenSSL(t *testing.T) {
	for kind, text := range map[Kind]string{
		Ed25519: opensslEd25519,
		P256:    opensslP256,
	} {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			t.Fatal("no PEM")
		}
		if _, err := parsePKCS8(block.Bytes); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestPKCS8Refuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{p384, rsaKey} {
		if _, err := marshalPKCS8(key); err == nil {
			t.Errorf("%T was encoded", key)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parsePKCS8(der); err == nil {
			t.Errorf("%T: %v", key, err)
		}
	}
	for kind, key := range makeKeys(t) {
		whole, err := marshalPKCS8(key)
		if err != nil {
			t.Fatal(err)
		}
		for n := range whole {
			if _, err := parsePKCS8(whole[:n]); err == nil {
				t.Errorf("%s cut to %d bytes: %v", kind, n, err)
			}
		}
		if _, err := parsePKCS8(append(bytes.Clone(whole), 0)); err == nil {
			t.Errorf("%s with a byte more: %v", kind, err)
		}
	}
	der, err := marshalPKCS8(makeKeys(t)[P256])
	if err != nil {
		t.Fatal(err)
	}
	for i := len(p256Head); i < len(der); i++ { // the scalar no longer fits the point, or the other way round
		der[i] ^= 1
		if _, err := parsePKCS8(der); err == nil {
			t.Errorf("byte %d changed: %v", i, err)
		}
		der[i] ^= 1
	}
	clear(der[len(p256Head) : len(p256Head)+scalarLen])
	if _, err := parsePKCS8(der); err == nil {
		t.Errorf("zero scalar: %v", err)
	}
}

// FuzzPKCS8 holds parsePKCS8 to the standard library: what it takes, that takes
// for the same key, and encodes to the same bytes.
func FuzzPKCS8(f *testing.F) {
	for _, key := range makeKeys(f) {
		der, err := marshalPKCS8(key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Add([]byte(ed25519Head))
	f.Add([]byte(p256Head))
	f.Fuzz(func(t *testing.T, der []byte) {
		key, err := parsePKCS8(der)
		if err != nil {
			return
		}
		want, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			t.Fatalf("accepted %x, crypto/x509 says %v", der, err)
		}
		if !key.(interface{ Equal(crypto.PrivateKey) bool }).Equal(want) {
			t.Errorf("%x is another key", der)
		}
		if again, err := marshalPKCS8(key); err != nil || !bytes.Equal(again, der) {
			t.Errorf("%x comes back as %x, %v", der, again, err)
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
)

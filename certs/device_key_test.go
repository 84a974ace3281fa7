package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRequestKeyRefuses(t *testing.T) {
	good, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	forged := append([]byte(nil), good...)
	forged[len(forged)-1] ^= 1
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, small)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		der  []byte
		want error
	}{
		"empty":           {nil, ErrRequest},
		"garbage":         {[]byte("-----BEGIN"), ErrRequest},
		"cut":             {good[:len(good)-3], ErrRequest},
		"trailing":        {append(append([]byte(nil), good...), 0), ErrRequest},
		"forged":          {forged, ErrRequest},
		"oversized":       {make([]byte, maxCSR+1), ErrRequest},
		"RSA of 1024":     {weak, ErrWeakKey},
		"PEM, not DER":    {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good}), ErrRequest},
		"signed by other": {swapKey(t, good), ErrRequest},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := RequestKey(tc.der); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	if _, err := RequestKey(good); err != nil {
		t.Errorf("a good request: %v", err)
	}
}

// swapKey puts another public key into a P-256 request, keeping the signature.
func swapKey(t *testing.T, der []byte) []byte {
	t.Helper()
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKIXPublicKey(newKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.Replace(string(der), string(csr.RawSubjectPublicKeyInfo), string(other), 1))
}

func FuzzRequestKey(f *testing.F) {
	for range 2 {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"evil.example"}}, newKey(f))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
		f.Add(der[:40])
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		key, err := RequestKey(der)
		if (err == nil) == (key == nil) {
			t.Errorf("key %v, error %v", key, err)
		}
		if err != nil && !errors.Is(err, ErrRequest) && !errors.Is(err, ErrWeakKey) {
			t.Errorf("untyped error %v", err)
		}
	})
}

func TestIssueDeviceTakesKindsOfKeys(t *testing.T) {
	a := newTestAuthority(t, newClock())
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	three := rsaKey.PublicKey
	three.E = 3
	for name, tc := range map[string]struct {
		key  crypto.PublicKey
		want error
	}{
		"P-256":            {newKey(t).Public(), nil},
		"P-384":            {p384.Public(), nil},
		"Ed25519":          {edKey, nil},
		"RSA 2048":         {rsaKey.Public(), nil},
		"P-224":            {p224.Public(), ErrWeakKey},
		"RSA, exponent 3":  {&three, ErrWeakKey},
		"nil":              {nil, ErrWeakKey},
		"nil ECDSA":        {(*ecdsa.PublicKey)(nil), ErrWeakKey},
		"empty ECDSA":      {&ecdsa.PublicKey{Curve: elliptic.P256()}, ErrWeakKey},
		"nil RSA":          {(*rsa.PublicKey)(nil), ErrWeakKey},
		"empty RSA":        {&rsa.PublicKey{}, ErrWeakKey},
		"short Ed25519":    {ed25519.PublicKey(edKey[:31]), ErrWeakKey},
		"identity Ed25519": {ed25519.PublicKey(append([]byte{1}, make([]byte, 31)...)), ErrWeakKey},
		"private key":      {rsaKey, ErrWeakKey},
	} {
		t.Run(name, func(t *testing.T) {
			chain, err := a.IssueDevice(t.Context(), tc.key, device(t, "lab:pump-1"), subject(t), time.Hour)
			if !errors.Is(err, tc.want) || tc.want == nil && !samePublic(chain[0].PublicKey, tc.key) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

// Each refused Ed25519 point is refused for cause: it accepts a signature made
// of nothing (R the identity, S zero) over one message in eight or more.
func TestSmallOrderPointsForge(t *testing.T) {
	identity := append([]byte{1}, make([]byte, 63)...)
	count := 0
	for _, y := range smallOrderPoints(t) {
		for _, sign := range []byte{0, 0x80} {
			key := append(ed25519.PublicKey(nil), y...)
			key[31] |= sign
			if !smallOrder(key) {
				t.Errorf("%x passes", key)
			}
			for i := range 1000 {
				if ed25519.Verify(key, fmt.Append(nil, i), identity) {
					count++
					break
				}
			}
		}
	}
	if count < 10 { // the rest are encodings that Go's decoder refuses by itself
		t.Errorf("only %d of the points let forged signatures pass: is the list right?", count)
	}
}

func smallOrderPoints(t *testing.T) [][]byte {
	t.Helper()
	edge := func(first, rest, last byte) []byte {
		b := make([]byte, 32)
		for i := range b {
			b[i] = rest
		}
		b[0], b[31] = first, last
		return b
	}
	var eights [][]byte
	for _, s := range []string{"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"} {
		var b []byte
		if _, err := fmt.Sscanf(s, "%x", &b); err != nil {
			t.Fatal(err)
		}
		eights = append(eights, b)
	}
	return append(eights, edge(1, 0, 0), edge(0, 0, 0), edge(0xec, 0xff, 0x7f), edge(0xed, 0xff, 0x7f), edge(0xee, 0xff, 0x7f))
}

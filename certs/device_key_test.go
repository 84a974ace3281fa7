package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
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
		"P-384":            {p384.Public(), ErrWeakKey},
		"Ed25519":          {edKey, nil},
		"RSA 2048":         {rsaKey.Public(), ErrWeakKey}, // sound, but no device proves itself with RSA
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

// TestDoorsAgree: what no token accepts gets no certificate, by whichever door it
// comes: as a key, in a request, as PEM, JWK or COSE key.
func TestDoorsAgree(t *testing.T) {
	a := newTestAuthority(t, newClock())
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range hostileKeys(t) {
		t.Run(name, func(t *testing.T) {
			refused := func(door string, err error) {
				if err == nil {
					t.Errorf("%s let it pass", door)
				}
			}
			_, err := token.NewKey(key)
			refused("token.NewKey", err)
			_, err = a.IssueDevice(t.Context(), key, device(t, "lab:pump-1"), subject(t), time.Hour)
			refused("IssueDevice", err)
			if !errors.Is(err, ErrWeakKey) {
				t.Errorf("IssueDevice: %v, want ErrWeakKey", err)
			}
			if ed, ok := key.(ed25519.PublicKey); ok && len(ed) == 32 {
				_, err = token.ParseCOSEKey(append([]byte{0xa3, 1, 1, 0x20, 6, 0x21, 0x58, 32}, ed...))
				refused("token.ParseCOSEKey", err)
				_, err = verify.ParseJWKS(fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":%q}]}`, base64.RawURLEncoding.EncodeToString(ed)))
				refused("verify.ParseJWKS", err)
			}
			if spki := marshalPKIX(key); spki != nil {
				_, err = verify.ParsePEM(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
				refused("verify.ParsePEM", err)
				_, err = RequestKey(withKey(t, csr, spki))
				refused("RequestKey", err)
			}
		})
	}
}

// hostileKeys are keys that say who they are, and prove nothing, or too little.
func hostileKeys(t *testing.T) map[string]crypto.PublicKey {
	t.Helper()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bits := func(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }
	odd := func(n *big.Int) *big.Int { return new(big.Int).SetBit(n, 0, 1) }
	primes := big.NewInt(1)
	for p := int64(2); p <= 167; p++ {
		if big.NewInt(p).ProbablyPrime(10) {
			primes.Mul(primes, big.NewInt(p))
		}
	}
	roca := new(big.Int).Mul(primes, new(big.Int).Div(bits(2048), primes))
	keys := map[string]crypto.PublicKey{
		"P-384":               &p384.PublicKey, // sound, but no token is bound to one
		"RSA of 1024 bits":    &rsa.PublicKey{N: odd(bits(1023)), E: 65537},
		"RSA of 4097 bits":    &rsa.PublicKey{N: odd(bits(4096)), E: 65537},
		"RSA with exponent 3": &rsa.PublicKey{N: odd(bits(2047)), E: 3},
		"RSA, even exponent":  &rsa.PublicKey{N: odd(bits(2047)), E: 65538},
		"RSA, even modulus":   &rsa.PublicKey{N: bits(2047), E: 65537},
		"RSA as Infineon's":   &rsa.PublicKey{N: roca.Add(roca, big.NewInt(1)), E: 65537},
		"Ed25519, 31 bytes":   ed25519.PublicKey(make([]byte, 31)),
		"Ed25519, off curve":  ed25519.PublicKey(append([]byte{2}, make([]byte, 31)...)),
		"Ed25519, y over p":   ed25519.PublicKey(append([]byte{0xf0}, append(bytes.Repeat([]byte{0xff}, 30), 0x7f)...)),
		"P-256 without point": &ecdsa.PublicKey{Curve: elliptic.P256()},
		"Ed25519, no bytes":   ed25519.PublicKey(nil),
		"P-256 nil":           (*ecdsa.PublicKey)(nil),
		"RSA nil":             (*rsa.PublicKey)(nil),
		"P-256 off the curve": offCurve(),
		"a symmetric secret":  []byte("secret"),
	}
	for _, y := range smallOrderPoints(t) {
		for _, sign := range []byte{0, 0x80} {
			key := append(ed25519.PublicKey(nil), y...)
			key[31] |= sign
			keys[fmt.Sprintf("Ed25519 small order %x", []byte(key))] = key
		}
	}
	return keys
}

func offCurve() *ecdsa.PublicKey {
	pub := &ecdsa.PublicKey{Curve: elliptic.P256()}
	//lint:ignore SA1019 a caller can do this, so the test does
	pub.X, pub.Y = big.NewInt(1), big.NewInt(1)
	return pub
}

// marshalPKIX gives nil for keys that the library cannot write.
func marshalPKIX(key crypto.PublicKey) []byte {
	ec, ok := key.(*ecdsa.PublicKey)
	//lint:ignore SA1019 only compared with nil, on which the library would panic
	if ok && (ec == nil || ec.X == nil) {
		return nil
	}
	if r, ok := key.(*rsa.PublicKey); ok && r == nil {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil
	}
	return der
}

// withKey puts a public key in the place of a request's own.
func withKey(t *testing.T, der, spki []byte) []byte {
	t.Helper()
	var csr struct {
		Info struct {
			Version    int
			Subject    asn1.RawValue
			Key        asn1.RawValue
			Attributes asn1.RawValue `asn1:"optional,tag:0"`
		}
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &csr); err != nil {
		t.Fatal(err)
	}
	csr.Info.Key = asn1.RawValue{FullBytes: spki}
	out, err := asn1.Marshal(csr)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Each Ed25519 point of small order is refused for cause: it accepts a signature
// made of nothing (R the identity, S zero) over one message in eight or more.
func TestSmallOrderPointsForge(t *testing.T) {
	identity := append([]byte{1}, make([]byte, 63)...)
	count := 0
	for _, y := range smallOrderPoints(t) {
		for _, sign := range []byte{0, 0x80} {
			key := append(ed25519.PublicKey(nil), y...)
			key[31] |= sign
			if checkPublicKey(key) == nil {
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

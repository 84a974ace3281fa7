package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
)

// Bounds on RSA moduli, in bits. Below, they are weak; above, each verification
// costs more than it is worth.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

// maxCSR bounds a certificate request, in bytes: one message of the protocol.
const maxCSR = 8 << 10

// RequestKey takes the one thing that Signet wants from a PKCS #10 request in DER
// (RFC 2986): the public key, once the request's own signature shows that the
// sender has the private half. Names, extensions and attributes are dropped here.
// A request is at most 8 KiB. Errors wrap ErrRequest or ErrWeakKey.
func RequestKey(der []byte) (crypto.PublicKey, error) {
	if len(der) > maxCSR {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrRequest, len(der), maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrRequest, err)
	}
	if !bytes.Equal(csr.Raw, der) {
		return nil, fmt.Errorf("%w: bytes after its end", ErrRequest)
	}
	if err := checkPublicKey(csr.PublicKey); err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: not signed by its own key: %v", ErrRequest, err)
	}
	return csr.PublicKey, nil
}

// checkPublicKey lets pass P-256, P-384, P-521, Ed25519 and RSA of 2048 to 4096 bits.
func checkPublicKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return checkECDSA(k)
	case ed25519.PublicKey:
		return checkEd25519(k)
	case *rsa.PublicKey:
		return checkRSA(k)
	}
	return fmt.Errorf("%w: kind %T; want ECDSA, Ed25519 or RSA", ErrWeakKey, key)
}

func checkECDSA(k *ecdsa.PublicKey) error {
	//lint:ignore SA1019 a key without a point makes every other way to ask panic
	if k == nil || k.X == nil || k.Y == nil {
		return fmt.Errorf("%w: no key", ErrWeakKey)
	}
	switch k.Curve {
	case elliptic.P256(), elliptic.P384(), elliptic.P521():
	default:
		return fmt.Errorf("%w: ECDSA curve; want P-256, P-384 or P-521", ErrWeakKey)
	}
	if _, err := k.ECDH(); err != nil { // refuses points off the curve
		return fmt.Errorf("%w: ECDSA: %v", ErrWeakKey, err)
	}
	return nil
}

func checkRSA(k *rsa.PublicKey) error {
	if k == nil || k.N == nil {
		return fmt.Errorf("%w: no key", ErrWeakKey)
	}
	if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
		return fmt.Errorf("%w: RSA of %d bits; want %d to %d", ErrWeakKey, n, minRSABits, maxRSABits)
	}
	if k.N.Bit(0) == 0 {
		return fmt.Errorf("%w: RSA with an even modulus", ErrWeakKey)
	}
	if k.E < 65537 || k.E%2 == 0 {
		return fmt.Errorf("%w: RSA exponent %d; want an odd one from 65537", ErrWeakKey, k.E)
	}
	return nil
}

func checkEd25519(k ed25519.PublicKey) error {
	if len(k) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: Ed25519 of %d bytes", ErrWeakKey, len(k))
	}
	if smallOrder(k) {
		return fmt.Errorf("%w: Ed25519 point of small order", ErrWeakKey)
	}
	return nil
}

// smallOrder knows every encoding, canonical or not, of the eight points of
// order 1, 2, 4 and 8. Under such a key, signatures are made without a private one.
func smallOrder(k ed25519.PublicKey) bool {
	y := bytes.Clone(k)
	y[31] &= 0x7f // the sign of x
	switch hex.EncodeToString(y) {
	case "0100000000000000000000000000000000000000000000000000000000000000", // y = 1
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+1
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // -1
		"0000000000000000000000000000000000000000000000000000000000000000", // 0
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a": // order 8
		return true
	}
	return false
}

// keyID is RFC 7093's first method: the leading 160 bits of the SHA-256 of the
// key's bit string.
func keyID(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrWeakKey, err)
	}
	var spki struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &spki); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrWeakKey, err)
	}
	sum := sha256.Sum256(spki.Key.Bytes)
	return sum[:20], nil
}

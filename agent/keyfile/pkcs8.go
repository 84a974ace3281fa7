package keyfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
)

// The PKCS #8 forms (RFC 5958) of the two kinds of key that a device may have, as
// Go, OpenSSL and others write them: all but the key itself is always the same.
// crypto/x509 reads these and every other, and with it come RSA, encoding/asn1 and
// more: some 400 kB that an agent needs for nothing else.
const (
	// SEQUENCE { 0, SEQUENCE { 1.3.101.112 }, OCTET STRING { OCTET STRING (RFC 8410, 7) } }: a seed follows.
	ed25519Head = "\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"
	// SEQUENCE { 0, SEQUENCE { id-ecPublicKey, prime256v1 },
	// OCTET STRING { SEQUENCE { 1, OCTET STRING (RFC 5915, 3) } } }: the scalar follows,
	p256Head = "\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07" +
		"\x04\x6d\x30\x6b\x02\x01\x01\x04\x20"
	// and [1] { BIT STRING }: the point, not compressed.
	p256Point = "\xa1\x44\x03\x42\x00"

	scalarLen = 32
	pointLen  = 65
)

// marshalPKCS8 encodes an Ed25519 or P-256 key.
func marshalPKCS8(private crypto.Signer) ([]byte, error) {
	switch k := private.(type) {
	case ed25519.PrivateKey:
		return append([]byte(ed25519Head), k.Seed()...), nil
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() {
			break
		}
		scalar, err := k.Bytes()
		if err != nil {
			return nil, err
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return nil, err
		}
		return append(append(append([]byte(p256Head), scalar...), p256Point...), point...), nil
	}
	return nil, fmt.Errorf("a %T is no device's key", private)
}

// parsePKCS8 decodes what marshalPKCS8 encodes, and nothing else.
func parsePKCS8(der []byte) (crypto.Signer, error) {
	if seed, ok := bytes.CutPrefix(der, []byte(ed25519Head)); ok && len(seed) == ed25519.SeedSize {
		return ed25519.NewKeyFromSeed(seed), nil
	}
	rest, ok := bytes.CutPrefix(der, []byte(p256Head))
	if !ok || len(rest) != scalarLen+len(p256Point)+pointLen || string(rest[scalarLen:scalarLen+len(p256Point)]) != p256Point {
		return nil, errors.New("not an Ed25519 or P-256 key in PKCS #8")
	}
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), rest[:scalarLen])
	if err != nil {
		return nil, errors.New("no scalar of P-256")
	}
	if point, err := k.PublicKey.Bytes(); err != nil || !bytes.Equal(point, rest[scalarLen+len(p256Point):]) {
		return nil, errors.New("its public half is another key's")
	}
	return k, nil
}

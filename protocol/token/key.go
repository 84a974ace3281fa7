package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
)

// A Key checks signatures of one algorithm. NewKey and the parsers that end in
// it are the only ways to make one, so a Key that exists is sound: its point is
// on its curve and not of small order, its modulus is large enough. The zero
// value verifies nothing. A Key never changes and may be shared.
type Key struct {
	alg   Alg
	ec    *ecdsa.PublicKey
	point []byte // 4, x, y
	ed    ed25519.PublicKey
	rsa   *rsa.PublicKey
	cose  []byte   // COSE_Key with the required members only (RFC 9679, 4)
	thumb [32]byte // SHA-256 of cose
	jkt   [32]byte // RFC 7638
	kid   string   // jkt in base64url
}

// NewKey takes pub, an *ecdsa.PublicKey on P-256, an ed25519.PublicKey or an
// *rsa.PublicKey, and copies it, once CheckSound has passed it. Errors wrap ErrKey.
func NewKey(pub crypto.PublicKey) (*Key, error) {
	if err := CheckSound(pub); err != nil {
		return nil, err
	}
	k := new(Key)
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if err := k.setEC(pub); err != nil {
			return nil, err
		}
	case ed25519.PublicKey:
		k.alg, k.ed = EdDSA, append(ed25519.PublicKey(nil), pub...)
	case *rsa.PublicKey:
		k.alg, k.rsa = RS256, &rsa.PublicKey{N: new(big.Int).Set(pub.N), E: pub.E}
	}
	k.cose = k.appendCOSE(nil, nil)
	k.thumb = sha256.Sum256(k.cose)
	k.jkt = sha256.Sum256(k.jwkMembers())
	k.kid = base64.RawURLEncoding.EncodeToString(k.jkt[:])
	return k, nil
}

func (k *Key) setEC(pub *ecdsa.PublicKey) error {
	if pub.Curve != elliptic.P256() {
		return fmt.Errorf("%w: ECDSA key is not on P-256", ErrKey)
	}
	point, err := pub.Bytes()
	if err != nil {
		return fmt.Errorf("%w: P-256 point: %w", ErrKey, err)
	}
	own, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return fmt.Errorf("%w: P-256 point: %w", ErrKey, err)
	}
	k.alg, k.ec, k.point = ES256, own, point
	return nil
}

// CheckDevice refuses keys with which no device may prove itself: RSA, which signs
// slowly on small boards and makes every message of an exchange larger. Errors
// wrap ErrKey.
func (k *Key) CheckDevice() error {
	if k == nil || k.alg != EdDSA && k.alg != ES256 {
		return fmt.Errorf("%w: devices prove themselves with Ed25519 or ECDSA P-256", ErrKey)
	}
	return nil
}

// Alg gives the one algorithm that the key verifies.
func (k *Key) Alg() Alg { return k.alg }

// Public gives the key as the standard library knows it. Do not change it.
func (k *Key) Public() crypto.PublicKey {
	switch k.alg {
	case ES256:
		return k.ec
	case EdDSA:
		return k.ed
	case RS256:
		return k.rsa
	}
	return nil
}

// Thumbprint gives the SHA-256 COSE key thumbprint (RFC 9679).
func (k *Key) Thumbprint() [32]byte { return k.thumb }

// JWKThumbprint gives the SHA-256 JWK thumbprint (RFC 7638).
func (k *Key) JWKThumbprint() [32]byte { return k.jkt }

// KID gives the key's id in a JWT: the JWK thumbprint in base64url.
func (k *Key) KID() string { return k.kid }

// COSEKID gives the key's id in a CWT: the first four bytes of its thumbprint.
// Who signs with several keys makes sure that theirs differ.
func (k *Key) COSEKID() []byte { return append([]byte(nil), k.thumb[:coseKIDLen]...) }

const coseKIDLen = 4

// Equal reports whether both are the same public key.
func (k *Key) Equal(other *Key) bool {
	return k != nil && other != nil && k.alg != 0 && k.thumb == other.thumb
}

// Verify checks sig over msg: r and s of 32 bytes each for ES256 (RFC 9053, 2.1),
// PKCS #1 v1.5 with SHA-256 for RS256. Errors wrap ErrSignature, or ErrKey for a
// key that NewKey did not make.
func (k *Key) Verify(msg, sig []byte) error {
	if k == nil {
		return fmt.Errorf("%w: none given", ErrKey)
	}
	var ok bool
	switch k.alg {
	case ES256:
		ok = verifyES256(k.ec, msg, sig)
	case EdDSA:
		ok = len(sig) == ed25519.SignatureSize && ed25519.Verify(k.ed, msg, sig)
	case RS256:
		digest := sha256.Sum256(msg)
		ok = rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, digest[:], sig) == nil
	default:
		return fmt.Errorf("%w: not made by NewKey", ErrKey)
	}
	if !ok {
		return ErrSignature
	}
	return nil
}

func verifyES256(pub *ecdsa.PublicKey, msg, sig []byte) bool {
	if len(sig) != 64 {
		return false
	}
	digest := sha256.Sum256(msg)
	var buf [72]byte
	der := append(buf[:0], 0x30, 0)
	der = appendDERInteger(der, sig[:32])
	der = appendDERInteger(der, sig[32:])
	der[1] = byte(len(der) - 2)
	return ecdsa.VerifyASN1(pub, digest[:], der)
}

// appendDERInteger writes an unsigned big-endian integer of at most 32 bytes.
func appendDERInteger(der, n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	if n[0]&0x80 != 0 {
		der = append(der, 2, byte(len(n)+1), 0)
	} else {
		der = append(der, 2, byte(len(n)))
	}
	return append(der, n...)
}

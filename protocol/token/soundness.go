package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"math/big"

	"filippo.io/edwards25519"
)

// Bounds on RSA keys, in bits. Below, they are weak; above, each verification
// costs more than it is worth.
const (
	MinRSABits = 2048
	MaxRSABits = 4096
)

// CheckSound refuses public keys under which a signature proves nothing, or less
// than it seems to: ECDSA points off P-256, P-384 or P-521, Ed25519 points that
// checkEdwardsPoint refuses, RSA of a size, exponent or make that is weak. It is
// the one place that decides this, for tokens and for certificates. Not every
// sound key makes a Key: see NewKey. Errors wrap ErrKey.
func CheckSound(pub crypto.PublicKey) error {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return checkECDSAPoint(pub)
	case ed25519.PublicKey:
		return checkEdwardsPoint(pub)
	case *rsa.PublicKey:
		return checkRSA(pub)
	}
	return fmt.Errorf("%w: a %T is none of ECDSA, Ed25519, RSA", ErrKey, pub)
}

func checkECDSAPoint(pub *ecdsa.PublicKey) error {
	if pub == nil {
		return fmt.Errorf("%w: no ECDSA key", ErrKey)
	}
	//lint:ignore SA1019 only compared with nil, on which ECDH would panic
	if pub.X == nil || pub.Y == nil {
		return fmt.Errorf("%w: ECDSA key without point", ErrKey)
	}
	switch pub.Curve {
	case elliptic.P256(), elliptic.P384(), elliptic.P521():
	default:
		return fmt.Errorf("%w: ECDSA key is not on P-256, P-384 or P-521", ErrKey)
	}
	if _, err := pub.ECDH(); err != nil { // refuses points off the curve, and infinity
		return fmt.Errorf("%w: ECDSA point: %w", ErrKey, err)
	}
	return nil
}

// checkEdwardsPoint refuses what crypto/ed25519 would panic on (a wrong length),
// points that are not on the curve or not canonically encoded (RFC 8032, 5.1.3),
// and the eight points of small order, under which one signature fits many
// messages and none needs a private key.
func checkEdwardsPoint(pub []byte) error {
	if len(pub) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: Ed25519 key has %d bytes, want %d", ErrKey, len(pub), ed25519.PublicKeySize)
	}
	point, err := new(edwards25519.Point).SetBytes(pub)
	if err != nil {
		return fmt.Errorf("%w: Ed25519 point is not on the curve", ErrKey)
	}
	if !bytes.Equal(point.Bytes(), pub) { // SetBytes takes y from p upwards, and -0
		return fmt.Errorf("%w: Ed25519 key is not canonically encoded", ErrKey)
	}
	if point.MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return fmt.Errorf("%w: Ed25519 point has small order", ErrKey)
	}
	return nil
}

func checkRSA(pub *rsa.PublicKey) error {
	if pub == nil || pub.N == nil {
		return fmt.Errorf("%w: RSA key without modulus", ErrKey)
	}
	if bits := pub.N.BitLen(); pub.N.Sign() <= 0 || bits < MinRSABits || bits > MaxRSABits {
		return fmt.Errorf("%w: RSA modulus has %d bits, want %d to %d", ErrKey, bits, MinRSABits, MaxRSABits)
	}
	if pub.N.Bit(0) == 0 {
		return fmt.Errorf("%w: RSA modulus is even", ErrKey)
	}
	if pub.E < 65537 || pub.E > 1<<31-1 || pub.E&1 == 0 {
		return fmt.Errorf("%w: RSA exponent %d, want an odd one from 65537 to 2^31-1", ErrKey, pub.E)
	}
	if hasROCAFingerprint(pub.N) {
		return fmt.Errorf("%w: RSA modulus shows the ROCA weakness (CVE-2017-15361)", ErrKey)
	}
	return nil
}

// hasROCAFingerprint reports whether n, modulo each small prime, is a power of
// 65537: true of all keys made by the broken Infineon library, and of one sound
// key in 2^27 or so.
func hasROCAFingerprint(n *big.Int) bool {
	for _, p := range []int64{3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167} {
		rest := new(big.Int).Mod(n, big.NewInt(p)).Int64()
		power, found := int64(1), false
		for range p {
			if found = power == rest; found {
				break
			}
			power = power * 65537 % p
		}
		if !found {
			return false
		}
	}
	return true
}

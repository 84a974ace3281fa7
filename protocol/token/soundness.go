package token

import (
	"crypto/ed25519"
	"fmt"
	"math/big"
)

func cloneInt(n *big.Int) *big.Int { return new(big.Int).Set(n) }

// checkEdwardsPoint refuses what crypto/ed25519 would panic on (a wrong length),
// points that are not on the curve or not canonically encoded, and the eight
// points of small order, under which one signature fits many messages.
func checkEdwardsPoint(pub []byte) error {
	if len(pub) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: Ed25519 key has %d bytes, want %d", ErrKey, len(pub), ed25519.PublicKeySize)
	}
	big25519 := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	le := make([]byte, len(pub))
	for i, b := range pub {
		le[len(pub)-1-i] = b
	}
	le[0] &= 0x7f // the sign of x
	y := new(big.Int).SetBytes(le)
	if y.Cmp(big25519) >= 0 {
		return fmt.Errorf("%w: Ed25519 key is not canonically encoded", ErrKey)
	}
	// -x² + y² = 1 + d x² y²: x² = u/v with u = y²-1, v = d y²+1 (RFC 8032, 5.1.3).
	mod := func(n *big.Int) *big.Int { return n.Mod(n, big25519) }
	one := big.NewInt(1)
	d := mod(new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), big25519)))
	yy := mod(new(big.Int).Mul(y, y))
	u := mod(new(big.Int).Sub(yy, one))
	v := mod(new(big.Int).Add(new(big.Int).Mul(d, yy), one))
	if big.Jacobi(mod(new(big.Int).Mul(u, v)), big25519) < 0 {
		return fmt.Errorf("%w: Ed25519 point is not on the curve", ErrKey)
	}
	// Order 1 and 2: x = 0. Order 4: y = 0. Order 8: doubling gives y = 0, that is
	// x² + y² = 0, so u + v y² = 0.
	if u.Sign() == 0 || y.Sign() == 0 || mod(new(big.Int).Add(u, new(big.Int).Mul(v, yy))).Sign() == 0 {
		return fmt.Errorf("%w: Ed25519 point has small order", ErrKey)
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

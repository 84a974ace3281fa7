package token_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"math/big"
	"testing"

	"github.com/signetd/signet/protocol/token"
)

// soundPoint is the oracle: RFC 8032, 5.1.3, in plain arithmetic on integers, and
// the points of small order found by doubling.
func soundPoint(pub []byte) bool {
	if len(pub) != ed25519.PublicKeySize {
		return false
	}
	big25519 := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	le := make([]byte, len(pub))
	for i, b := range pub {
		le[len(pub)-1-i] = b
	}
	le[0] &= 0x7f // the sign of x
	y := new(big.Int).SetBytes(le)
	if y.Cmp(big25519) >= 0 {
		return false
	}
	// -x² + y² = 1 + d x² y²: x² = u/v with u = y²-1, v = d y²+1 (RFC 8032, 5.1.3).
	mod := func(n *big.Int) *big.Int { return n.Mod(n, big25519) }
	one := big.NewInt(1)
	d := mod(new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), big25519)))
	yy := mod(new(big.Int).Mul(y, y))
	u := mod(new(big.Int).Sub(yy, one))
	v := mod(new(big.Int).Add(new(big.Int).Mul(d, yy), one))
	if big.Jacobi(mod(new(big.Int).Mul(u, v)), big25519) < 0 {
		return false
	}
	// Order 1 and 2: x = 0. Order 4: y = 0. Order 8: doubling gives y = 0, that is
	// x² + y² = 0, so u + v y² = 0.
	if u.Sign() == 0 || y.Sign() == 0 || mod(new(big.Int).Add(u, new(big.Int).Mul(v, yy))).Sign() == 0 {
		return false
	}
	return true
}

func checkAgainstOracle(t *testing.T, pub []byte) {
	t.Helper()
	_, err := token.NewKey(ed25519.PublicKey(pub))
	if want := soundPoint(pub); (err == nil) != want {
		t.Errorf("key %x: error %v, by plain arithmetic it is sound: %v", pub, err, want)
	}
}

// TestEdwardsOracle compares the check of Ed25519 points with one that shares
// nothing with it, at the edges of the field and at random.
func TestEdwardsOracle(t *testing.T) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	for _, around := range []*big.Int{new(big.Int), p, new(big.Int).Rsh(p, 1)} {
		for d := int64(-40); d <= 40; d++ {
			y := new(big.Int).Add(around, big.NewInt(d))
			if y.Sign() < 0 || y.BitLen() > 255 {
				continue
			}
			b := make([]byte, 32)
			y.FillBytes(b)
			for i := range 16 {
				b[i], b[31-i] = b[31-i], b[i]
			}
			checkAgainstOracle(t, b)
			b[31] |= 0x80
			checkAgainstOracle(t, b)
		}
	}
	for range 500 {
		b := make([]byte, 32)
		rand.Read(b)
		checkAgainstOracle(t, b)
	}
}

func FuzzEdwardsPoint(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Add(append([]byte{1}, make([]byte, 31)...))
	f.Add([]byte("short"))
	f.Add([]byte(newSigner(f, token.EdDSA).Key().Public().(ed25519.PublicKey)))
	f.Fuzz(checkAgainstOracle)
}

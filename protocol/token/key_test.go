package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/big"
	"testing"

	"github.com/signetd/signet/protocol/token"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// point makes a P-256 key that the standard library would not.
func point(x, y *big.Int) *ecdsa.PublicKey {
	pub := &ecdsa.PublicKey{Curve: elliptic.P256()}
	//lint:ignore SA1019 callers of NewKey can do this, so the test does
	pub.X, pub.Y = x, y
	return pub
}

// TestKeyLengths: no length of key or signature panics, which go-cose 1.3.0 does.
func TestKeyLengths(t *testing.T) {
	for n := range 257 {
		b := make([]byte, n)
		rand.Read(b)
		if k, err := token.NewKey(ed25519.PublicKey(b)); err == nil {
			if n != 32 {
				t.Errorf("accepted an Ed25519 key of %d bytes", n)
			}
			if k.Verify([]byte("x"), b) == nil {
				t.Error("accepted chance as signature")
			}
		} else if !errors.Is(err, token.ErrKey) {
			t.Errorf("%d bytes: %v, want ErrKey", n, err)
		}
		x := new(big.Int).SetBytes(b)
		if _, err := token.NewKey(point(x, x)); err == nil {
			t.Errorf("accepted a P-256 point of %d chance bytes", n)
		}
		cose := encode(t, map[int64]any{1: 1, -1: 6, -2: b})
		if _, err := token.ParseCOSEKey(cose); err == nil && n != 32 {
			t.Errorf("accepted a COSE key of %d bytes", n)
		}
		for _, alg := range []token.Alg{token.ES256, token.EdDSA, token.RS256} {
			if newSigner(t, alg).Key().Verify([]byte("x"), b) == nil {
				t.Errorf("%s accepted %d chance bytes", alg, n)
			}
		}
	}
}

func TestNewKeyRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := newSigner(t, token.RS256).Key().Public().(*rsa.PublicKey)
	small := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 1023), big.NewInt(1))
	for name, pub := range map[string]any{
		"nil":           nil,
		"nil ECDSA":     (*ecdsa.PublicKey)(nil),
		"empty ECDSA":   &ecdsa.PublicKey{},
		"no point":      &ecdsa.PublicKey{Curve: elliptic.P256()},
		"infinity":      point(new(big.Int), new(big.Int)),
		"negative":      point(big.NewInt(-1), big.NewInt(1)),
		"P-384":         &p384.PublicKey,
		"nil RSA":       (*rsa.PublicKey)(nil),
		"empty RSA":     &rsa.PublicKey{},
		"1024 bits":     &rsa.PublicKey{N: small, E: 65537},
		"negative RSA":  &rsa.PublicKey{N: new(big.Int).Neg(good.N), E: 65537},
		"even RSA":      &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2048), E: 65537},
		"huge RSA":      &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 1<<16), big.NewInt(1)), E: 65537},
		"exponent 1":    &rsa.PublicKey{N: good.N, E: 1},
		"exponent 3":    &rsa.PublicKey{N: good.N, E: 3},
		"exponent even": &rsa.PublicKey{N: good.N, E: 65538},
		"RSA by value":  *good,
		"bytes":         []byte("key"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := token.NewKey(pub); !errors.Is(err, token.ErrKey) {
				t.Errorf("NewKey = %v, want ErrKey", err)
			}
		})
	}
}

// TestSmallOrder: the eight points of small order, with their other encodings.
func TestSmallOrder(t *testing.T) {
	for _, s := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p: 0 again
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+1: 1 again
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		for _, sign := range []byte{0, 0x80} {
			b := unhex(t, s)
			b[31] |= sign
			if _, err := token.NewKey(ed25519.PublicKey(b)); !errors.Is(err, token.ErrKey) {
				t.Errorf("accepted %x", b)
			}
		}
	}
}

// TestEdwardsPoints: all honest keys pass; about half of chance is off the curve.
func TestEdwardsPoints(t *testing.T) {
	refused := 0
	for range 200 {
		newSigner(t, token.EdDSA)
		b := make([]byte, 32)
		rand.Read(b)
		if _, err := token.NewKey(ed25519.PublicKey(b)); err != nil {
			refused++
		}
	}
	if refused < 50 || refused > 150 {
		t.Errorf("%d of 200 chance strings are refused, about 100 are off the curve", refused)
	}
}

// TestThumbprints uses the examples of RFC 7638, 3.1, RFC 8037, A.3 and RFC 9679, 6.
func TestThumbprints(t *testing.T) {
	n, err := base64.RawURLEncoding.DecodeString("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
	if err != nil {
		t.Fatal(err)
	}
	k, err := token.NewKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	if k.KID() != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("RFC 7638: %s", k.KID())
	}
	k, err = token.NewKey(ed25519.PublicKey(unhex(t, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")))
	if err != nil {
		t.Fatal(err)
	}
	if k.KID() != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("RFC 8037: %s", k.KID())
	}
	k, err = token.ParseCOSEKey(unhex(t, "a5010202423132"+"2001"+
		"21582065eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d"+
		"2258201e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c"))
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Thumbprint(); hex.EncodeToString(got[:]) != "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec" {
		t.Errorf("RFC 9679: %x", got)
	}
}

func TestCOSEKey(t *testing.T) {
	var keys []*token.Key
	for _, alg := range []token.Alg{token.ES256, token.EdDSA, token.RS256} {
		k := newSigner(t, alg).Key()
		again, err := token.ParseCOSEKey(k.MarshalCOSE())
		if err != nil {
			t.Fatal(err)
		}
		if !k.Equal(again) || again.KID() != k.KID() || again.Alg() != alg {
			t.Errorf("%s: key changed on the way", alg)
		}
		keys = append(keys, k)
	}
	got, err := token.ParseCOSEKeySet(token.MarshalCOSEKeySet(keys))
	if err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		if !keys[i].Equal(got[i]) {
			t.Errorf("key %d of the set changed on the way", i)
		}
	}
	if _, err := token.ParseCOSEKeySet(token.MarshalCOSEKeySet(append(keys, keys[0]))); !errors.Is(err, token.ErrKey) {
		t.Errorf("the same key twice: %v, want ErrKey", err)
	}
}

func TestParseCOSEKeyRefuses(t *testing.T) {
	x, y := make([]byte, 32), make([]byte, 32)
	pub, err := newSigner(t, token.ES256).Key().Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	copy(x, pub[1:33])
	copy(y, pub[33:])
	for name, m := range map[string]map[int64]any{
		"private":          {1: 2, -1: 1, -2: x, -3: y, -4: x},
		"no y":             {1: 2, -1: 1, -2: x},
		"sign bit y":       {1: 2, -1: 1, -2: x, -3: true},
		"long x":           {1: 2, -1: 1, -2: append([]byte{0}, x...), -3: y},
		"off curve":        {1: 2, -1: 1, -2: y, -3: x},
		"other curve":      {1: 2, -1: 2, -2: x, -3: y},
		"X25519":           {1: 1, -1: 4, -2: x},
		"symmetric":        {1: 4, -1: x},
		"other alg":        {1: 2, 3: -8, -1: 1, -2: x, -3: y},
		"key_ops sign":     {1: 2, 4: []int{1}, -1: 1, -2: x, -3: y},
		"key_ops empty":    {1: 2, 4: []int{}, -1: 1, -2: x, -3: y},
		"unknown negative": {1: 2, -1: 1, -2: x, -3: y, -9: 1},
		"long kid":         {1: 2, 2: make([]byte, 65), -1: 1, -2: x, -3: y},
		"empty":            {},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := token.ParseCOSEKey(encode(t, m)); !errors.Is(err, token.ErrKey) {
				t.Errorf("%v, want ErrKey", err)
			}
		})
	}
	ok := map[int64]any{1: 2, 2: []byte("k"), 3: -7, 4: []int{1, 2}, 99: "new", -1: 1, -2: x, -3: y}
	if _, err := token.ParseCOSEKey(encode(t, ok)); err != nil {
		t.Errorf("unknown optional members: %v", err)
	}
}

func TestSecretHides(t *testing.T) {
	if _, err := token.NewSecret(make([]byte, 31)); !errors.Is(err, token.ErrKey) {
		t.Errorf("31 bytes: %v, want ErrKey", err)
	}
	if err := (token.Secret{}).Verify(nil, (token.Secret{}).Sum(nil)); !errors.Is(err, token.ErrKey) {
		t.Errorf("zero secret: %v, want ErrKey", err)
	}
}

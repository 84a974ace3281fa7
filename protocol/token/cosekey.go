package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"github.com/signetd/signet/protocol/detcbor"
)

// Labels and values of COSE_Key (RFC 9052, 7.1; RFC 9053, 7; RFC 8230, 4).
const (
	keyType   = 1
	keyID     = 2
	keyAlg    = 3
	keyOps    = 4
	keyCurve  = -1 // RSA: n
	keyX      = -2 // RSA: e
	keyY      = -3 // RSA: d
	keyD      = -4
	typeOKP   = 1
	typeEC2   = 2
	typeRSA   = 3
	crvP256   = 1
	crvEd     = 6
	opsVerify = 2
)

// appendCOSE writes the key as a COSE_Key, with kid and alg if kid is given.
func (k *Key) appendCOSE(b, kid []byte) []byte {
	kty, members := k.coseType()
	if kid != nil {
		members += 2
	}
	b = detcbor.AppendHead(b, detcbor.Map, members)
	b = detcbor.AppendInt(detcbor.AppendInt(b, keyType), kty)
	if kid != nil {
		b = detcbor.AppendBytes(detcbor.AppendInt(b, keyID), kid)
		b = detcbor.AppendInt(detcbor.AppendInt(b, keyAlg), int64(k.alg))
	}
	switch kty {
	case typeEC2:
		x, y := k.coordinates()
		b = detcbor.AppendInt(detcbor.AppendInt(b, keyCurve), crvP256)
		b = detcbor.AppendBytes(detcbor.AppendInt(b, keyX), x)
		return detcbor.AppendBytes(detcbor.AppendInt(b, keyY), y)
	case typeOKP:
		b = detcbor.AppendInt(detcbor.AppendInt(b, keyCurve), crvEd)
		return detcbor.AppendBytes(detcbor.AppendInt(b, keyX), k.ed)
	}
	b = detcbor.AppendBytes(detcbor.AppendInt(b, keyCurve), k.rsa.N.Bytes())
	return detcbor.AppendBytes(detcbor.AppendInt(b, keyX), k.exponent())
}

func (k *Key) coseType() (kty int64, members uint64) {
	switch k.alg {
	case ES256:
		return typeEC2, 4
	case EdDSA:
		return typeOKP, 3
	}
	return typeRSA, 3
}

// MarshalCOSE gives the key as a COSE_Key with its required members only, in
// deterministic form: equal keys have equal bytes.
func (k *Key) MarshalCOSE() []byte { return append([]byte(nil), k.cose...) }

// ParseCOSEKey reads a public COSE_Key: P-256 with both coordinates, Ed25519 or
// RSA. Private members, an alg that is not the key's and key_ops without verify
// are refused. Errors wrap ErrKey.
func ParseCOSEKey(raw []byte) (*Key, error) {
	if len(raw) > MaxKeySize {
		return nil, fmt.Errorf("%w: COSE key has %d bytes, at most %d", ErrKey, len(raw), MaxKeySize)
	}
	r, err := detcbor.NewItems(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: COSE key: %w", ErrKey, err)
	}
	k, err := readCOSEKey(&r)
	if err != nil {
		return nil, fmt.Errorf("%w: COSE key: %w", ErrKey, err)
	}
	return k, nil
}

// A coseKey is a COSE_Key as it is written.
type coseKey struct {
	kty, crv   int64
	alg        int64
	n, x, y    []byte
	hasAlg     bool
	opsRefused bool
}

func readCOSEKey(r *detcbor.Items) (*Key, error) {
	var c coseKey
	if r.Each(func(label int64) { c.member(label, r) }); r.Err() != nil {
		return nil, r.Err()
	}
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	if c.hasAlg && Alg(c.alg) != k.alg {
		return nil, fmt.Errorf("alg is %d, the key's is %d", c.alg, k.alg)
	}
	if c.opsRefused {
		return nil, fmt.Errorf("key_ops does not allow to verify")
	}
	return k, nil
}

var errPrivate = errors.New("not a member of a public key")

func (c *coseKey) member(label int64, r *detcbor.Items) {
	switch label {
	case keyType:
		c.kty = r.Int()
	case keyID:
		if kid := r.Bytes(); len(kid) > MaxKID {
			r.Fail(fmt.Errorf("kid has %d bytes, at most %d", len(kid), MaxKID))
		}
	case keyAlg:
		c.hasAlg, c.alg = true, r.Int()
	case keyOps:
		c.operations(r)
	case keyCurve:
		if r.Next() == detcbor.Bytes {
			c.n = r.Bytes()
		} else {
			c.crv = r.Int()
		}
	case keyX:
		c.x = r.Bytes()
	case keyY:
		c.y = r.Bytes()
	default:
		if label < 0 {
			r.Fail(errPrivate)
		}
		r.Skip()
	}
}

func (c *coseKey) operations(r *detcbor.Items) {
	c.opsRefused = true
	for range r.Want(detcbor.Array) {
		if r.Next() != detcbor.Uint {
			r.Skip()
		} else if r.Uint() == opsVerify {
			c.opsRefused = false
		}
	}
}

func (c *coseKey) key() (*Key, error) {
	switch {
	case c.kty == typeEC2 && c.crv == crvP256 && c.n == nil:
		if len(c.x) != 32 || len(c.y) != 32 {
			return nil, fmt.Errorf("P-256 coordinates have %d and %d bytes, want 32 each", len(c.x), len(c.y))
		}
		point := append(append([]byte{4}, c.x...), c.y...)
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil {
			return nil, fmt.Errorf("P-256 point: %w", err)
		}
		return NewKey(pub)
	case c.kty == typeOKP && c.crv == crvEd && c.n == nil && c.y == nil:
		return NewKey(ed25519.PublicKey(c.x))
	case c.kty == typeRSA && c.n != nil && c.y == nil:
		if len(c.x) == 0 || len(c.x) > 4 || c.x[0] == 0 || len(c.n) == 0 || c.n[0] == 0 {
			return nil, fmt.Errorf("RSA exponent has %d bytes, want 1 to 4 without leading zeros", len(c.x))
		}
		e := new(big.Int).SetBytes(c.x).Int64()
		return NewKey(&rsa.PublicKey{N: new(big.Int).SetBytes(c.n), E: int(e)})
	}
	return nil, fmt.Errorf("kty %d with crv %d is none of P-256, Ed25519, RSA", c.kty, c.crv)
}

// MarshalCOSEKeySet gives a COSE_KeySet (RFC 9052, 7) in which each key has its
// kid and alg.
func MarshalCOSEKeySet(keys []*Key) []byte {
	b := detcbor.AppendHead(nil, detcbor.Array, uint64(len(keys)))
	for _, k := range keys {
		b = k.appendCOSE(b, k.thumb[:coseKIDLen])
	}
	return b
}

// ParseCOSEKeySet reads a COSE_KeySet of at most MaxKeys keys. A key that is not
// acceptable, one that occurs twice, or two with the same COSEKID spoil the set.
// Errors wrap ErrKey.
func ParseCOSEKeySet(raw []byte) ([]*Key, error) {
	if len(raw) > MaxKeys*MaxKeySize {
		return nil, fmt.Errorf("%w: COSE key set has %d bytes, at most %d", ErrKey, len(raw), MaxKeys*MaxKeySize)
	}
	r, err := detcbor.NewItems(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: COSE key set: %w", ErrKey, err)
	}
	n := r.Want(detcbor.Array)
	if r.Err() != nil || n > MaxKeys {
		return nil, fmt.Errorf("%w: COSE key set: want an array of at most %d keys", ErrKey, MaxKeys)
	}
	keys := make([]*Key, 0, n)
	seen := make(map[[coseKIDLen]byte]bool, n)
	for i := range n {
		k, err := readCOSEKey(&r)
		if err != nil {
			return nil, fmt.Errorf("%w: COSE key set: key %d: %w", ErrKey, i, err)
		}
		kid := [coseKIDLen]byte(k.thumb[:])
		if seen[kid] {
			return nil, fmt.Errorf("%w: COSE key set: two keys have kid %x", ErrKey, kid)
		}
		seen[kid] = true
		keys = append(keys, k)
	}
	return keys, nil
}

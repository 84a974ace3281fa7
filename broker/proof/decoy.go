package proof

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"math/big"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// decoys are keys that nobody has. The proof of an unknown device is checked against one
// of them, so that its refusal takes as long as that of a known device.
type decoys struct {
	keys   [2]*token.Key
	secret token.Secret
	choice []byte // key of the MAC that chooses one of keys for a name
}

// newDecoys derives the keys from a secret of the cluster: every replica has the same.
func newDecoys(secret []byte) (decoys, error) {
	seed, err := hkdf.Key(sha256.New, secret, nil, "signet decoy v1", 32)
	if err != nil {
		return decoys{}, fmt.Errorf("decoy keys: %w", err)
	}
	ed, err := token.NewKey(ed25519.NewKeyFromSeed(seed).Public())
	if err != nil {
		return decoys{}, fmt.Errorf("decoy keys: %w", err)
	}
	curve := elliptic.P256()
	priv, err := ecdsa.ParseRawPrivateKey(curve, new(big.Int).Mod(new(big.Int).SetBytes(seed), new(big.Int).Sub(curve.Params().N, big.NewInt(1))).FillBytes(make([]byte, 32)))
	if err != nil {
		return decoys{}, fmt.Errorf("decoy keys: %w", err)
	}
	ec, err := token.NewKey(&priv.PublicKey)
	if err != nil {
		return decoys{}, fmt.Errorf("decoy keys: %w", err)
	}
	psk, err := token.NewSecret(seed)
	if err != nil {
		return decoys{}, fmt.Errorf("decoy keys: %w", err)
	}
	return decoys{keys: [2]*token.Key{ed, ec}, secret: psk, choice: seed}, nil
}

// key chooses the decoy for a name. The choice depends on the name alone, so that a second
// proof takes as long as the first, as with a real key.
func (d *decoys) key(claimed ident.Device) *token.Key {
	mac := hmac.New(sha256.New, d.choice)
	mac.Write([]byte(claimed.String()))
	return d.keys[mac.Sum(nil)[0]&1]
}

// psk is the decoy of shared keys: an HMAC takes as long under one as under another.
func (d *decoys) psk(ident.Device) token.Secret { return d.secret }

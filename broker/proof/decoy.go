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

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// decoys are keys that nobody has: an unknown device's proof is checked against
// one, so that refusing it costs what refusing a known one does.
type decoys struct {
	keys   [2]*token.Key
	secret token.Secret
	choice []byte // key of the MAC that chooses one of keys for a name
}

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

// check refuses a proof after it was checked against a key that nobody has.
func (d *decoys) check(claimed ident.Device, kind string, input, proof []byte) error {
	if kind == broker.KindPSK {
		_ = d.secret.Verify(input, proof)
	} else {
		_ = d.key(claimed).Verify(input, proof)
	}
	return auth.ErrProof
}

// key is a name's key that nobody has. Which it is depends on the name alone, so
// that asking again takes the same time again, as a real key does.
func (d *decoys) key(claimed ident.Device) *token.Key {
	mac := hmac.New(sha256.New, d.choice)
	mac.Write([]byte(claimed.String()))
	return d.keys[mac.Sum(nil)[0]&1]
}

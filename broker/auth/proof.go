package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
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

// ErrProof is wrapped by the one answer to a wrong proof and to an unknown device,
// to an enrolment by a key that nobody registered, and by a token that nobody has.
var ErrProof = fmt.Errorf("proof does not fit: %w", protocol.CodeDenied)

// checkProof gives the authenticator of that kind, among d's, that proof is by.
// When d is nil or has none, it checks against the decoy of claimed, and refuses.
func (a *Authenticator) checkProof(d *broker.Device, claimed ident.Device, kind string, input, proof []byte) (*broker.Authenticator, error) {
	checked := false
	if d != nil {
		for i := range d.Authenticators {
			by := &d.Authenticators[i]
			if by.Kind != kind {
				continue
			}
			checked = true
			err := a.verifyWith(d.ID, by, input, proof)
			if err == nil {
				return by, nil
			}
			if !errors.Is(err, token.ErrSignature) {
				return nil, err
			}
		}
	}
	if !checked {
		a.decoy(claimed, kind, input, proof)
	}
	return nil, ErrProof
}

func (a *Authenticator) verifyWith(d ident.Device, auth *broker.Authenticator, input, proof []byte) error {
	if auth.Kind == protocol.KindPSK {
		secret, err := a.secretOf(d, auth)
		if err != nil {
			return err
		}
		return secret.Verify(input, proof)
	}
	key, err := a.keyOf(auth)
	if err != nil {
		return err
	}
	return key.Verify(input, proof)
}

// confirm gives what a token names an authenticator of d's by.
func (a *Authenticator) confirm(d ident.Device, auth *broker.Authenticator) (token.Confirmation, error) {
	if auth.Kind == protocol.KindPSK {
		secret, err := a.secretOf(d, auth)
		if err != nil {
			return token.Confirmation{}, err
		}
		return token.ConfirmSecret(secret), nil
	}
	key, err := a.keyOf(auth)
	if err != nil {
		return token.Confirmation{}, err
	}
	return token.Confirm(key), nil
}

// secretOf opens the shared key of d's that is an authenticator.
func (a *Authenticator) secretOf(d ident.Device, auth *broker.Authenticator) (token.Secret, error) {
	raw, err := a.secrets.Open(broker.PSKPurpose(d), auth.Sealed)
	if err != nil {
		return token.Secret{}, fmt.Errorf("shared key: %w", err)
	}
	secret, err := token.NewSecret(raw)
	if err != nil {
		return token.Secret{}, fmt.Errorf("shared key: %w", err)
	}
	return secret, nil
}

// keyOf gives an authenticator's public key.
func (a *Authenticator) keyOf(auth *broker.Authenticator) (*token.Key, error) {
	key, err := a.keys.parse(auth.Key)
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	return key, nil
}

// decoy checks a proof against a key that nobody has.
func (a *Authenticator) decoy(claimed ident.Device, kind string, input, proof []byte) {
	if kind == protocol.KindPSK {
		_ = a.decoys.secret.Verify(input, proof)
		return
	}
	_ = a.decoyKey(claimed).Verify(input, proof)
}

// decoyKey is a name's key that nobody has. Which it is depends on the name alone,
// so that asking again takes the same time again, as a real key does.
func (a *Authenticator) decoyKey(claimed ident.Device) *token.Key {
	mac := hmac.New(sha256.New, a.decoys.choice)
	mac.Write([]byte(claimed.String()))
	return a.decoys.keys[mac.Sum(nil)[0]&1]
}

package protocol

import (
	"crypto/ecdh"
	"crypto/hpke"
	"errors"
	"fmt"
)

// Seals keep apart what is sealed for whom.
const (
	sealGrant  = "signet grant v1"
	sealAnswer = "signet answer v1"
)

// ErrSealed is wrapped when sealed bytes cannot be opened.
var ErrSealed = errors.New("cannot open sealed message")

// HPKE (RFC 9180), base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM.

// SealGrant seals a grant's body to the device's ephemeral X25519 key; the
// transcript is authenticated with it, so it opens in this exchange only.
func SealGrant(to []byte, t Transcript, body []byte) ([]byte, error) {
	return seal(to, sealGrant, t[:], body)
}

// OpenGrant opens what SealGrant sealed.
func OpenGrant(key *ecdh.PrivateKey, t Transcript, sealed []byte) ([]byte, error) {
	return open(key, sealGrant, t[:], sealed)
}

// SealAnswer seals a secret answer to the key in the challenge; the transcript is
// the one that ends with that challenge.
func SealAnswer(to []byte, t Transcript, answer []byte) ([]byte, error) {
	return seal(to, sealAnswer, t[:], answer)
}

// OpenAnswer opens what SealAnswer sealed.
func OpenAnswer(key *ecdh.PrivateKey, t Transcript, sealed []byte) ([]byte, error) {
	return open(key, sealAnswer, t[:], sealed)
}

func seal(to []byte, info string, aad, plain []byte) ([]byte, error) {
	pub, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(to)
	if err != nil {
		return nil, fmt.Errorf("seal: X25519 key: %w", err)
	}
	enc, sender, err := hpke.NewSender(pub, hpke.HKDFSHA256(), hpke.AES128GCM(), []byte(info))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	ct, err := sender.Seal(aad, plain)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return append(enc, ct...), nil
}

func open(key *ecdh.PrivateKey, info string, aad, sealed []byte) ([]byte, error) {
	if len(sealed) < 32 {
		return nil, fmt.Errorf("%w: %d bytes", ErrSealed, len(sealed))
	}
	priv, err := hpke.NewDHKEMPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	r, err := hpke.NewRecipient(sealed[:32], priv, hpke.HKDFSHA256(), hpke.AES128GCM(), []byte(info))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	plain, err := r.Open(aad, sealed[32:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	return plain, nil
}

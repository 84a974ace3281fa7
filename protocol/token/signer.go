package token

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"
)

// A Signer signs with a private key that it never sees: any crypto.Signer, so
// keys may live in a TPM or an HSM. It is as safe for concurrent use as the
// crypto.Signer is.
type Signer struct {
	private crypto.Signer
	key     *Key
}

// NewSigner wraps a P-256, Ed25519 or RSA signer. Errors wrap ErrKey.
func NewSigner(private crypto.Signer) (*Signer, error) {
	if private == nil {
		return nil, fmt.Errorf("%w: no signer given", ErrKey)
	}
	key, err := NewKey(private.Public())
	if err != nil {
		return nil, fmt.Errorf("signer's public key: %w", err)
	}
	return &Signer{private, key}, nil
}

// Key gives the key that verifies what s signs.
func (s *Signer) Key() *Key { return s.key }

// Sign signs msg in the form that Key.Verify reads.
func (s *Signer) Sign(msg []byte) ([]byte, error) {
	var sig []byte
	var err error
	if s.key.alg == EdDSA {
		sig, err = s.private.Sign(rand.Reader, msg, crypto.Hash(0))
	} else {
		digest := sha256.Sum256(msg)
		sig, err = s.private.Sign(rand.Reader, digest[:], crypto.SHA256)
	}
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", s.key.alg, err)
	}
	if s.key.alg == ES256 {
		return rawECDSA(sig)
	}
	return sig, nil
}

// rawECDSA turns an ASN.1 signature into r and s of 32 bytes each.
func rawECDSA(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > 256 || sig.S.BitLen() > 256 {
		return nil, fmt.Errorf("sign with ES256: the signer gave no ASN.1 P-256 signature")
	}
	out := make([]byte, 64)
	sig.R.FillBytes(out[:32])
	sig.S.FillBytes(out[32:])
	return out, nil
}

package protocol

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// TokenIDLen is the length of an enrollment token's public id.
const TokenIDLen = 8

const (
	tokenPrefix  = "sgne_"
	notPrefix    = "sgnt_" // an operator's token has it, and is confused with one
	tokenSeedLen = 20
	// PinLen is how much of the anchor's thumbprint an enrollment token carries.
	PinLen = 16

	tokenLen = TokenIDLen + tokenSeedLen + PinLen
)

// ErrEnrollToken is wrapped by ParseEnrollToken's errors. They never hold the token.
var ErrEnrollToken = errors.New("invalid enrollment token")

// An EnrollToken admits a device to a pool. Its secret never travels: it is the
// seed of an Ed25519 key that proves possession, and the broker stores the public
// half only. It also pins the pool's anchor, so a device that has nothing but
// this token knows the real broker.
//
//	"sgne_" base64url( id[8] ‖ seed[20] ‖ pin[16] )
type EnrollToken struct {
	id   [TokenIDLen]byte
	seed [tokenSeedLen]byte
	pin  [PinLen]byte
}

// NewEnrollToken makes a token from 28 random bytes and the thumbprint of the anchor.
func NewEnrollToken(random []byte, anchor []byte) (EnrollToken, error) {
	if len(random) < TokenIDLen+tokenSeedLen || len(anchor) < PinLen {
		return EnrollToken{}, fmt.Errorf("%w: too few random bytes or too short a thumbprint", ErrEnrollToken)
	}
	var t EnrollToken
	copy(t.id[:], random)
	copy(t.seed[:], random[TokenIDLen:])
	copy(t.pin[:], anchor)
	return t, nil
}

// ParseEnrollToken reads the text form.
func ParseEnrollToken(s string) (EnrollToken, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	switch {
	case len(strings.Fields(s)) > 1:
		return EnrollToken{}, fmt.Errorf("%w: %d words or lines, and it is one alone", ErrEnrollToken, len(strings.Fields(s)))
	case strings.HasPrefix(strings.TrimSpace(s), notPrefix):
		return EnrollToken{}, fmt.Errorf("%w: this is an operator's; a device's starts with %q", ErrEnrollToken, tokenPrefix)
	case !ok:
		return EnrollToken{}, fmt.Errorf("%w: it starts with %q", ErrEnrollToken, tokenPrefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	// The library passes over line breaks inside; the text's length tells.
	if err != nil || len(raw) != tokenLen || len(body) != base64.RawURLEncoding.EncodedLen(tokenLen) {
		return EnrollToken{}, fmt.Errorf("%w: damaged or cut short; copy it again", ErrEnrollToken)
	}
	var t EnrollToken
	copy(t.id[:], raw)
	copy(t.seed[:], raw[TokenIDLen:])
	copy(t.pin[:], raw[TokenIDLen+tokenSeedLen:])
	return t, nil
}

// Reveal gives the text form, to be shown once.
func (t EnrollToken) Reveal() string {
	raw := append(append(append([]byte(nil), t.id[:]...), t.seed[:]...), t.pin[:]...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
}

// ID is public.
func (t EnrollToken) ID() []byte { return t.id[:] }

// Pin is the start of the anchor's RFC 9679 thumbprint.
func (t EnrollToken) Pin() []byte { return t.pin[:] }

// Key derives the token's signing key: Ed25519 with the seed
// HKDF-SHA256(seed, salt "", info "signet enrollment token v1").
func (t EnrollToken) Key() (ed25519.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, t.seed[:], nil, "signet enrollment token v1", ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive enrollment token key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// String, GoString and LogValue keep the secret out of logs.
func (t EnrollToken) String() string { return tokenPrefix + "(hidden)" }

// GoString hides the secret from %#v.
func (t EnrollToken) GoString() string { return t.String() }

// LogValue hides the secret from slog.
func (t EnrollToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

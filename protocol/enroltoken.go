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

// TokenIDLen is the length of an enrolment token's public id.
const TokenIDLen = 8

const (
	tokenPrefix  = "sgne_"
	tokenSeedLen = 20
	// PinLen is how much of the anchor's thumbprint an enrolment token carries.
	PinLen = 16

	tokenLen = TokenIDLen + tokenSeedLen + PinLen
)

// ErrEnrolToken is wrapped by ParseEnrolToken's errors. They never hold the token.
var ErrEnrolToken = errors.New("invalid enrolment token")

// An EnrolToken admits a device to a pool. Its secret never travels: it is the
// seed of an Ed25519 key that proves possession, and the broker stores the public
// half only. It also pins the pool's anchor, so a device that has nothing but
// this token knows the real broker.
//
//	"sgne_" base64url( id[8] ‖ seed[20] ‖ pin[16] )
type EnrolToken struct {
	id   [TokenIDLen]byte
	seed [tokenSeedLen]byte
	pin  [PinLen]byte
}

// NewEnrolToken makes a token from 28 random bytes and the thumbprint of the anchor.
func NewEnrolToken(random []byte, anchor []byte) (EnrolToken, error) {
	if len(random) < TokenIDLen+tokenSeedLen || len(anchor) < PinLen {
		return EnrolToken{}, fmt.Errorf("%w: too few random bytes or too short a thumbprint", ErrEnrolToken)
	}
	var t EnrolToken
	copy(t.id[:], random)
	copy(t.seed[:], random[TokenIDLen:])
	copy(t.pin[:], anchor)
	return t, nil
}

// ParseEnrolToken reads the text form.
func ParseEnrolToken(s string) (EnrolToken, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok {
		return EnrolToken{}, fmt.Errorf("%w: it starts with %q", ErrEnrolToken, tokenPrefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	// The library passes over line breaks inside; the text's length tells.
	if err != nil || len(raw) != tokenLen || len(body) != base64.RawURLEncoding.EncodedLen(tokenLen) {
		return EnrolToken{}, fmt.Errorf("%w: damaged or cut short; copy it again", ErrEnrolToken)
	}
	var t EnrolToken
	copy(t.id[:], raw)
	copy(t.seed[:], raw[TokenIDLen:])
	copy(t.pin[:], raw[TokenIDLen+tokenSeedLen:])
	return t, nil
}

// Reveal gives the text form, to be shown once.
func (t EnrolToken) Reveal() string {
	raw := append(append(append([]byte(nil), t.id[:]...), t.seed[:]...), t.pin[:]...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
}

// ID is public.
func (t EnrolToken) ID() []byte { return t.id[:] }

// Pin is the start of the anchor's RFC 9679 thumbprint.
func (t EnrolToken) Pin() []byte { return t.pin[:] }

// Key derives the token's signing key: Ed25519 with the seed
// HKDF-SHA256(seed, salt "", info "signet enrolment token v1").
func (t EnrolToken) Key() (ed25519.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, t.seed[:], nil, "signet enrolment token v1", ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive enrolment token key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// String, GoString and LogValue keep the secret out of logs.
func (t EnrolToken) String() string { return tokenPrefix + "(hidden)" }

// GoString hides the secret from %#v.
func (t EnrolToken) GoString() string { return t.String() }

// LogValue hides the secret from slog.
func (t EnrolToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

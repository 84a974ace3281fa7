// Package token makes and reads Signet's signed objects: access and ID tokens as
// JWT (RFC 7519) and CWT (RFC 8392) from one claims type, COSE_Sign1 and COSE_Mac0
// (RFC 9052) below them, and the keys that check them.
//
// It is narrow on purpose. The algorithm comes from the key and the header must
// agree; JWS is compact form with strict base64url; COSE is deterministic CBOR
// under its tag; every token has an explicit type (RFC 8725, 3.11; RFC 9596) and
// no parser accepts another's; headers that bring a key or name a place to get
// one are refused. A key enters through one constructor, which checks it.
//
// Which public keys are sound is decided here too (CheckSound), for certificates as
// well. The package reads no clock and no network: whether a token is in date, meant for the reader and
// from the right issuer is protocol/verify's to say.
package token

import (
	"errors"
	"fmt"
)

// Limits on what is read, in bytes unless said otherwise.
const (
	MaxSize    = 8 << 10 // one token or signed object
	MaxKID     = 64      // a key id
	MaxKeySize = 2 << 10 // one encoded key
	MaxKeys    = 64      // keys of one set
)

// Every error of this package wraps one of these.
var (
	ErrMalformed  = errors.New("malformed token")
	ErrHeader     = errors.New("token header not allowed")
	ErrType       = errors.New("token of another type")
	ErrAlgorithm  = errors.New("algorithm is not the key's")
	ErrSignature  = errors.New("signature does not verify")
	ErrUnknownKey = errors.New("unknown signing key")
	ErrKey        = errors.New("unusable key")
	ErrClaims     = errors.New("claims not acceptable")
)

// A Lookup finds the key that kid names. It returns an error that wraps
// ErrUnknownKey if there is none. kid has at most MaxKID bytes and comes from an
// unverified header: treat it as an exact map key and nothing else.
type Lookup func(kid []byte) (*Key, error)

// SignCWT signs claims as a CWT of the given class. All claims that are set are
// written; for the compact access token pass claims.Compact().
func SignCWT(class Class, claims *Claims, s *Signer) ([]byte, error) {
	if err := claims.validate(class, formCWT); err != nil {
		return nil, err
	}
	payload, err := encodeCWTClaims(claims)
	if err != nil {
		return nil, err
	}
	return Sign1(class, payload, nil, s)
}

// ParseCWT reads a CWT of the given class and checks its signature with the key
// that its kid names. It checks everything but time, audience and issuer.
func ParseCWT(raw []byte, class Class, lookup Lookup) (*Claims, error) {
	m, err := parseCOSE(raw, tagSign1)
	if err != nil {
		return nil, err
	}
	if err := m.strict(class); err != nil {
		return nil, err
	}
	key, err := lookup(m.KID)
	if err != nil {
		return nil, fmt.Errorf("key %x: %w", m.KID, err)
	}
	if err := m.verify(key, nil); err != nil {
		return nil, err
	}
	claims, err := decodeCWTClaims(m.Payload)
	if err != nil {
		return nil, err
	}
	claims.Use = class.use()
	if err := claims.validate(class, formCWT); err != nil {
		return nil, err
	}
	return claims, nil
}

// SignJWT signs claims as a JWT of the given class: Access (RFC 9068) or ID.
func SignJWT(class Class, claims *Claims, s *Signer) (string, error) {
	if err := claims.validate(class, formJWT); err != nil {
		return "", err
	}
	payload, err := encodeJWTClaims(class, claims)
	if err != nil {
		return "", err
	}
	return SignJWS(class.jwtType(), payload, s)
}

// ParseJWT reads a JWT of the given class and checks its signature with the key
// that its kid names. It checks everything but time, audience and issuer.
func ParseJWT(raw []byte, class Class, lookup Lookup) (*Claims, error) {
	m, err := parseJWS(raw)
	if err != nil {
		return nil, err
	}
	if err := m.strict(class); err != nil {
		return nil, err
	}
	key, err := lookup([]byte(m.KID))
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", m.KID, err)
	}
	if err := m.verify(key); err != nil {
		return nil, err
	}
	claims, err := decodeJWTClaims(m.Payload)
	if err != nil {
		return nil, err
	}
	if claims.Use != class.use() {
		return nil, fmt.Errorf("%w: token_use is %q, want %q", ErrType, claims.Use, class.use())
	}
	if err := claims.validate(class, formJWT); err != nil {
		return nil, err
	}
	return claims, nil
}

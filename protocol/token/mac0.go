package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"log/slog"
)

// MinSecretLen is the least length of a Secret in bytes: that of the hash (RFC 7518, 3.2).
const MinSecretLen = 32

// A Secret is a key for HMAC 256/256. It shows itself nowhere: not in text, JSON
// or logs. The zero value authenticates nothing.
type Secret struct{ b []byte }

// NewSecret copies b, which has at least MinSecretLen bytes and at most MaxKeySize.
func NewSecret(b []byte) (Secret, error) {
	if len(b) < MinSecretLen || len(b) > MaxKeySize {
		return Secret{}, fmt.Errorf("%w: secret has %d bytes, want %d to %d", ErrKey, len(b), MinSecretLen, MaxKeySize)
	}
	return Secret{append([]byte(nil), b...)}, nil
}

// String and the methods below it hide the secret.
func (s Secret) String() string { return "[secret]" }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return "[secret]" }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// Sum gives the 32-byte tag of msg.
func (s Secret) Sum(msg []byte) []byte {
	h := hmac.New(sha256.New, s.b)
	h.Write(msg)
	return h.Sum(nil)
}

// ID gives the id of a key that owner ("{pool}:{name}" of a device) shares: the
// 32-byte tag of "signet key id v1", a NUL and owner, which no proof's input
// equals. It stays the same as long as both do; nothing of the key can be learnt
// from it, not even that another has the same.
func (s Secret) ID(owner string) [32]byte {
	return [32]byte(s.Sum([]byte("signet key id v1\x00" + owner)))
}

// Verify checks a tag in constant time. Errors wrap ErrSignature, or ErrKey for a
// secret that NewSecret did not make.
func (s Secret) Verify(msg, tag []byte) error {
	if len(s.b) == 0 {
		return fmt.Errorf("%w: empty secret", ErrKey)
	}
	if !hmac.Equal(s.Sum(msg), tag) {
		return ErrSignature
	}
	return nil
}

// Mac0 authenticates payload as a tagged COSE_Mac0 (RFC 9052, 6.2) of the given
// class. kid may be nil; external is covered and does not travel.
func Mac0(class Class, payload, external, kid []byte, s Secret) ([]byte, error) {
	if len(s.b) == 0 {
		return nil, fmt.Errorf("%w: empty secret", ErrKey)
	}
	if len(kid) > MaxKID {
		return nil, fmt.Errorf("%w: kid has %d bytes, at most %d", ErrHeader, len(kid), MaxKID)
	}
	protected, err := protectedHeader(class, HMAC256)
	if err != nil {
		return nil, err
	}
	tag := s.Sum(toBeProved("MAC0", protected, external, payload))
	return appendMessage(tagMac0, protected, kid, payload, tag)
}

// VerifyMac0 reads a tagged COSE_Mac0 of any type and checks it. The caller looks
// at Type.
func VerifyMac0(raw []byte, s Secret, external []byte) (*Message, error) {
	m, err := parseCOSE(raw, tagMac0)
	if err != nil {
		return nil, err
	}
	if m.alg != HMAC256 {
		return nil, fmt.Errorf("%w: header says %s, the secret is for %s", ErrAlgorithm, m.alg, HMAC256)
	}
	if err := s.Verify(toBeProved("MAC0", m.protected, external, m.Payload), m.proof); err != nil {
		return nil, err
	}
	return m, nil
}

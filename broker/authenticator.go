package broker

import (
	"encoding/base64"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/challenge"
)

// An Authenticator is what a device proves itself with. A device may have several,
// each with an ID of its own.
type Authenticator struct {
	ID     KeyID
	Kind   string // challenge.Key, challenge.PSK or challenge.TOTP
	Key    []byte // challenge.Key: COSE_Key of the public key
	Sealed []byte // challenge.PSK: the shared key, challenge.TOTP: the generator, sealed
	Added  time.Time
}

// clone gives a copy that shares nothing with a.
func (a *Authenticator) clone() Authenticator {
	out := *a
	out.Key, out.Sealed = append([]byte(nil), a.Key...), append([]byte(nil), a.Sealed...)
	return out
}

// A KeyID is the one id of a key, made where the key is parsed: of a public key
// its COSE key thumbprint (RFC 9679, SHA-256: token.Key.Thumbprint), so that it
// does not depend on what else a COSE_Key says; of a device's shared key
// token.Secret.ID. No two keys share one, and none tells anything of a secret.
type KeyID [32]byte

// IsZero reports whether id names no key.
func (id KeyID) IsZero() bool { return id == KeyID{} }

// String gives id in base64url.
func (id KeyID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// Possession reports whether a is a key of the device's own, which tokens can be bound
// to and an enrolment brings; a generator of codes is beside it.
func (a *Authenticator) Possession() bool {
	kind, _ := challenge.Of(a.Kind)
	return kind.Possession
}

// check finds what is missing in a.
func (a *Authenticator) check() error {
	switch {
	case a.ID.IsZero():
		return fmt.Errorf("%w: an authenticator has an id", ErrInvalid)
	case a.Kind == challenge.Key && len(a.Key) > 0 && a.Sealed == nil, (a.Kind == challenge.PSK || a.Kind == challenge.TOTP) && len(a.Sealed) > 0 && a.Key == nil:
		return nil
	}
	return fmt.Errorf("%w: authenticator %s is neither a key nor a sealed secret", ErrInvalid, a.ID)
}

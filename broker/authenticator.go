package broker

import (
	"encoding/base64"
	"fmt"
	"io"
	"time"

	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
)

// An Authenticator is what a device proves itself with. A device may have several,
// each with an ID of its own.
type Authenticator struct {
	ID     KeyID
	Kind   string // the challenge that it answers
	Key    []byte // COSE_Key of the public key, if the broker keeps that of its kind
	Sealed []byte // the secret, if the broker keeps that, sealed for AuthenticatorPurpose
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
// to and an enrollment brings; what answers guessable challenges is beside it.
func (a *Authenticator) Possession() bool {
	kind, _ := challenge.Of(a.Kind)
	return kind.Possession
}

// check finds what is missing in a.
func (a *Authenticator) check() error {
	kind, _ := challenge.Of(a.Kind)
	switch {
	case a.ID.IsZero():
		return fmt.Errorf("%w: an authenticator has an id", ErrInvalid)
	case !kind.PublicKey && !kind.Secret:
		return fmt.Errorf("%w: authenticator %s: no device has one of kind %q", ErrInvalid, a.ID, a.Kind)
	case kind.PublicKey != (len(a.Key) > 0) || kind.Secret != (len(a.Sealed) > 0):
		return fmt.Errorf("%w: authenticator %s of kind %s is neither a key nor a sealed secret", ErrInvalid, a.ID, a.Kind)
	}
	return nil
}

// A Maker makes authenticators of one kind for devices whose operators ask for one.
// params say how, by the kind's own names; what they leave out is as usual. Errors wrap
// ErrInvalid for params that make none.
type Maker func(id ident.Device, params map[string]string, random io.Reader) (NewAuthenticator, error)

// A NewAuthenticator is one that was just made. It holds its secret.
type NewAuthenticator struct {
	ID     KeyID
	Secret []byte // what the broker keeps, sealed for AuthenticatorPurpose
	Shown  string // the secret as whoever is to use it takes it: returned once and not kept
}

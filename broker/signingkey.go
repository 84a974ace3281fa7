package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// KeyState is a signing key's phase.
type KeyState string

// The phases, in their order. No store has a key that is gone.
const (
	KeyNext      KeyState = "next"      // in the key set, so that verifiers know it before it signs
	KeyActive    KeyState = "active"    // signs
	KeyVerifying KeyState = "verifying" // signed before, and is in the key set for its last tokens
	KeyGone      KeyState = "gone"      // out of the key set: no token of it verifies
)

// KeySetLife is how long a verifier may use a pool's key set before it asks again.
const KeySetLife = 5 * time.Minute

// A SigningKey signs a pool's tokens.
type SigningKey struct {
	Pool    ident.Pool
	ID      string // RFC 7638 thumbprint, base64url
	Alg     string // "ES256", "EdDSA" or "RS256"
	State   KeyState
	Public  []byte // PKIX
	Sealed  []byte // PKCS #8, sealed
	Created time.Time
	// Changed is when it entered its phase; of the active key, also when another key
	// left the set. The latest of a pool's keys never goes back: it dates the pool's
	// key statement, and devices refuse one that is older than the one they have.
	Changed time.Time
}

// Retirable is from when on no token of a verifying key can be valid, so that taking it out
// of the key set harms nobody: MaxAccessLife after it signed last, because clients' own
// lives change, and KeySetLife, because replicas and verifiers learn of a change late. It is
// the zero time for a key in another phase.
func (k *SigningKey) Retirable() time.Time {
	if k.State != KeyVerifying {
		return time.Time{}
	}
	return k.Changed.Add(MaxAccessLife + KeySetLife)
}

// MaxSigningKeys is how many signing keys a pool has at most, those that only verify included.
const MaxSigningKeys = 16

// Validate checks what a store needs to hold of k: that it has a pool, an id, one of the
// phases, and both halves.
func (k *SigningKey) Validate() error {
	switch {
	case k.Pool.IsZero():
		return fmt.Errorf("%w: a signing key has a pool", ErrInvalid)
	case k.ID == "" || !printable(k.ID, MaxSubject):
		return fmt.Errorf("%w: a signing key's id has 1 to %d printable ASCII characters", ErrInvalid, MaxSubject)
	case len(k.Public) == 0 || len(k.Sealed) == 0:
		return fmt.Errorf("%w: signing key %s: a half of it is missing", ErrInvalid, k.ID)
	}
	switch k.State {
	case KeyNext, KeyActive, KeyVerifying:
		return nil
	}
	return fmt.Errorf("%w: signing key %s: phase %q", ErrInvalid, k.ID, k.State)
}

// CheckSigningKeys checks all keys of a pool: each, that they are the pool's, that no two
// have one id, and how many they are.
func CheckSigningKeys(pool ident.Pool, keys []SigningKey) error {
	if len(keys) > MaxSigningKeys {
		return fmt.Errorf("%w: %d signing keys, at most %d", ErrInvalid, len(keys), MaxSigningKeys)
	}
	seen := make(map[string]bool, len(keys))
	for i := range keys {
		k := &keys[i]
		if err := k.Validate(); err != nil {
			return err
		}
		if k.Pool != pool {
			return fmt.Errorf("%w: signing key %s is of pool %q, not %q", ErrInvalid, k.ID, k.Pool, pool)
		}
		if seen[k.ID] {
			return fmt.Errorf("%w: signing key %s comes twice", ErrInvalid, k.ID)
		}
		seen[k.ID] = true
	}
	return nil
}

// SigningKeys is the store of pools' signing keys, in every phase of theirs.
type SigningKeys interface {
	// ListSigningKeys gives all keys of a pool, by id.
	ListSigningKeys(ctx context.Context, pool ident.Pool) ([]SigningKey, error)
	// ChangeSigningKeys replaces the pool's keys by what change makes of them, in one
	// transaction; change's error ends it, and so does what CheckSigningKeys says. change must not call the store.
	ChangeSigningKeys(ctx context.Context, by By, pool ident.Pool, change func([]SigningKey) ([]SigningKey, error)) error
}

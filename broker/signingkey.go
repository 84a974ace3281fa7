package broker

import (
	"context"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// KeyState is a signing key's phase.
type KeyState string

// The phases: announced in the key set, signing, still verifying, gone.
const (
	KeyAnnounced KeyState = "announced"
	KeyActive    KeyState = "active"
	KeyRetired   KeyState = "retired"
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

// SigningKeys is the store of pools' signing keys, in every phase of theirs.
type SigningKeys interface {
	// ListSigningKeys gives all keys of a pool, by id.
	ListSigningKeys(ctx context.Context, pool ident.Pool) ([]SigningKey, error)
	// ChangeSigningKeys replaces the pool's keys by what change makes of them, in one
	// transaction; change's error ends it. change must not call the store.
	ChangeSigningKeys(ctx context.Context, by By, pool ident.Pool, change func([]SigningKey) ([]SigningKey, error)) error
}

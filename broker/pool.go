package broker

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// A Pool is a directory of devices with an issuer of its own.
type Pool struct {
	Name    ident.Pool
	Issuer  string // URL; never depends on the replica and never changes
	Flow    string // default flow's name
	Created time.Time
	// Anchor is the key that vouches for all others of the pool: the COSE_Key of
	// its public half, and its private half sealed.
	Anchor       []byte
	AnchorSealed []byte
	// AnswerSealed is the X25519 key that secret answers are sealed to, sealed.
	AnswerSealed []byte
}

// Becomes refuses a change of what never changes: a pool's name, issuer and keys.
func (p *Pool) Becomes(next *Pool) error {
	if next.Name != p.Name || next.Issuer != p.Issuer || !bytes.Equal(next.Anchor, p.Anchor) ||
		!bytes.Equal(next.AnchorSealed, p.AnchorSealed) || !bytes.Equal(next.AnswerSealed, p.AnswerSealed) {
		return fmt.Errorf("%w: a pool's name, issuer and keys never change", ErrInvalid)
	}
	return nil
}

// Pools keeps pools.
type Pools interface {
	// CreatePool adds p with its first signing keys and clients and flows; ErrExists if there is one of that name.
	CreatePool(ctx context.Context, by By, p Pool, keys []SigningKey, clients []Client, flows []Flow) error
	Pool(ctx context.Context, name ident.Pool) (Pool, error)
	ListPools(ctx context.Context) ([]Pool, error)
	// UpdatePool applies change to the stored pool and writes it, in one transaction;
	// change's error ends it, and so does what Becomes says.
	UpdatePool(ctx context.Context, by By, name ident.Pool, change func(*Pool) error) (Pool, error)
	// DeletePool deletes p and all that is in it.
	DeletePool(ctx context.Context, by By, name ident.Pool) error
}

// CheckLabel checks the names of clients, flows and hooks: 1 to 64 of [a-z0-9-].
func CheckLabel(what, s string) error {
	if s == "" || len(s) > 64 {
		return fmt.Errorf("%w: a %s's name has 1 to 64 characters, got %d", ErrInvalid, what, len(s))
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%w: %s %q: character %d is %q, want a-z, 0-9 or -", ErrInvalid, what, s, i+1, c)
		}
	}
	return nil
}

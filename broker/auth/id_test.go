package auth

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestNewID: an id depends on the clock and the randomness it is given, and on nothing else.
func TestNewID(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 987_000_000, time.UTC)
	first, err := newID(at, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	second, err := newID(at, rand.NewChaCha8([32]byte{1}))
	if err != nil || first != second {
		t.Errorf("%s and %s (%v), want the same id twice", first, second, err)
	}
	id := uuid.UUID(first)
	sec, nsec := id.Time().UnixTime()
	if got := time.Unix(sec, nsec); id.Version() != 7 || id.Variant() != uuid.RFC4122 || !got.Equal(at) {
		t.Errorf("%s: version %d, %v, made %v; want 7, RFC 9562's, %v", first, id.Version(), id.Variant(), got, at)
	}
	if later, err := newID(at.Add(time.Millisecond), rand.NewChaCha8([32]byte{})); err != nil || later.String() <= first.String() {
		t.Errorf("%s is not after %s (%v)", later, first, err)
	}
}

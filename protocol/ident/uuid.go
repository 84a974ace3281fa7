package ident

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// A UUID is a 128-bit identifier in RFC 9562 form: a device's subject, an
// exchange, a session. Those that the broker makes are version 7, so they sort by time.
type UUID [16]byte

// maxMilli is the last Unix millisecond that a version 7 UUID can say.
const maxMilli = 1<<48 - 1

// NewUUID makes a version 7 UUID (RFC 9562, 5.7) of the caller's clock, to the
// millisecond, and 74 bits of the caller's randomness. It fails when random does,
// and for a time before 1970 or after the year 10889.
func NewUUID(now time.Time, random io.Reader) (UUID, error) {
	ms := now.UnixMilli()
	if ms < 0 || ms > maxMilli {
		return UUID{}, errors.New("make a UUID: its time is not between 1970 and 10889")
	}
	var u UUID
	if _, err := io.ReadFull(random, u[:]); err != nil {
		return UUID{}, fmt.Errorf("make a UUID: read random bytes: %w", err)
	}
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	u[6] = u[6]&0x0f | 0x70 // version 7
	u[8] = u[8]&0x3f | 0x80 // the variant of RFC 9562
	return u, nil
}

// ParseUUID reads the 36-character form.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return UUID{}, fmt.Errorf("%w: %q is not a UUID", ErrInvalid, s)
	}
	raw := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(u[:], []byte(raw)); err != nil {
		return UUID{}, fmt.Errorf("%w: %q is not a UUID", ErrInvalid, s)
	}
	return u, nil
}

// String gives the 36-character lower-case form.
func (u UUID) String() string {
	var b [36]byte
	hex.Encode(b[:8], u[:4])
	b[8] = '-'
	hex.Encode(b[9:13], u[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], u[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], u[8:10])
	b[23] = '-'
	hex.Encode(b[24:], u[10:])
	return string(b[:])
}

// IsZero reports whether u identifies nothing.
func (u UUID) IsZero() bool { return u == UUID{} }

// A UUIDPrefix is the first half of a UUID: of a version 7 one, its time and 12
// random bits. It is for where every byte counts, and finds rather than identifies:
// two UUIDs may begin alike.
type UUIDPrefix [8]byte

// Prefix gives the first half of u.
func (u UUID) Prefix() UUIDPrefix { return UUIDPrefix(u[:8]) }

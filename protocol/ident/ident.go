// Package ident holds the names of Signet: pools, devices and the identifiers
// that never change. A name is parsed once, at the edge, and carried parsed.
//
// It never touches a network, a store, or a clock and randomness that its caller did
// not hand in.
package ident

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on names, in bytes. Pool names become DNS-like labels and URL path
// segments; device names become MQTT topic levels, client ids and user names.
const (
	MaxPoolLen = 32
	MaxNameLen = 128
)

// MaxAudience is how long the name of whom a token is for may be, in bytes: what a
// client may be allowed, a device can ask for.
const MaxAudience = 255

// ErrInvalid is wrapped by every parse error of this package.
var ErrInvalid = errors.New("invalid identifier")

// Character says which character of s begins at byte i, and what it is: "2 is 'ä'". It is
// for messages: people count characters, not bytes.
func Character(s string, i int) string {
	r, size := utf8.DecodeRuneInString(s[i:])
	if r == utf8.RuneError && size < 2 {
		return fmt.Sprintf("%d is no UTF-8 (%#02x)", utf8.RuneCountInString(s[:i])+1, s[i])
	}
	if unicode.IsMark(r) { // it would stand on the quote; where é is e and an accent, nobody sees two
		return fmt.Sprintf("%d is %+q, a mark on the one before", utf8.RuneCountInString(s[:i])+1, r)
	}
	return fmt.Sprintf("%d is %q", utf8.RuneCountInString(s[:i])+1, r)
}

// A Pool names a device directory: [a-z][a-z0-9-]{0,31}. The zero value names nothing.
type Pool struct{ s string }

// ParsePool accepts exactly the pool grammar.
func ParsePool(s string) (Pool, error) {
	if n := utf8.RuneCountInString(s); n < 1 || n > MaxPoolLen { // whatever is no ASCII is refused below
		return Pool{}, fmt.Errorf("%w: a pool name has 1 to %d characters, got %d", ErrInvalid, MaxPoolLen, n)
	}
	for i := range len(s) {
		c := s[i]
		lower := c >= 'a' && c <= 'z'
		if lower || i > 0 && (c >= '0' && c <= '9' || c == '-') {
			continue
		}
		return Pool{}, fmt.Errorf("%w: pool name %q: character %s, want a-z first, then a-z, 0-9 or -", ErrInvalid, s, Character(s, i))
	}
	return Pool{s}, nil
}

func (p Pool) String() string { return p.s }

// IsZero reports whether p names nothing.
func (p Pool) IsZero() bool { return p.s == "" }

// A Name is a device's name inside its pool: 1 to 128 of [A-Za-z0-9_:-]. It can
// hold no MQTT separator or wildcard, and no '.', which some MQTT brokers take for '/'.
type Name struct{ s string }

// ParseName accepts exactly the device name grammar.
func ParseName(s string) (Name, error) {
	if n := utf8.RuneCountInString(s); n < 1 || n > MaxNameLen { // whatever is no ASCII is refused below
		return Name{}, fmt.Errorf("%w: a device name has 1 to %d characters, got %d", ErrInvalid, MaxNameLen, n)
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == ':', c == '-':
		default:
			return Name{}, fmt.Errorf("%w: device name %q: character %s, want A-Z, a-z, 0-9, _, : or -", ErrInvalid, s, Character(s, i))
		}
	}
	return Name{s}, nil
}

func (n Name) String() string { return n.s }

// IsZero reports whether n names nothing.
func (n Name) IsZero() bool { return n.s == "" }

// A Device is a device's full name: its pool and its name there.
type Device struct {
	Pool Pool
	Name Name
}

// ParseDevice reads the outside form {pool}:{name}. A pool name holds no ':',
// so the first one separates.
func ParseDevice(s string) (Device, error) {
	pool, name, ok := strings.Cut(s, ":")
	if !ok {
		return Device{}, fmt.Errorf("%w: device %q: want {pool}:{name}", ErrInvalid, s)
	}
	p, err := ParsePool(pool)
	if err != nil {
		return Device{}, err
	}
	n, err := ParseName(name)
	if err != nil {
		return Device{}, err
	}
	return Device{p, n}, nil
}

// String gives {pool}:{name}, the device's MQTT client id and user name.
func (d Device) String() string { return d.Pool.s + ":" + d.Name.s }

// Path gives {pool}/{name}, the device's place in MQTT topics.
func (d Device) Path() string { return d.Pool.s + "/" + d.Name.s }

// IsZero reports whether d names nothing.
func (d Device) IsZero() bool { return d.Pool.IsZero() || d.Name.IsZero() }

package ident

import "fmt"

// The names travel as text: in JSON by MarshalText, in CBOR as text strings
// (RFC 8949, major type 3) by MarshalCBOR, which is written out here because an
// opaque struct would otherwise be encoded as an empty map without any error.

// MarshalText and UnmarshalText make names usable as JSON strings and flags.
func (p Pool) MarshalText() ([]byte, error)   { return []byte(p.s), nil }
func (n Name) MarshalText() ([]byte, error)   { return []byte(n.s), nil }
func (d Device) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
func (u UUID) MarshalText() ([]byte, error)   { return []byte(u.String()), nil }

// UnmarshalText parses a pool name.
func (p *Pool) UnmarshalText(b []byte) (err error) { *p, err = ParsePool(string(b)); return err }

// UnmarshalText parses a device name.
func (n *Name) UnmarshalText(b []byte) (err error) { *n, err = ParseName(string(b)); return err }

// UnmarshalText parses {pool}:{name}.
func (d *Device) UnmarshalText(b []byte) (err error) { *d, err = ParseDevice(string(b)); return err }

// UnmarshalText parses a UUID.
func (u *UUID) UnmarshalText(b []byte) (err error) { *u, err = ParseUUID(string(b)); return err }

// MarshalCBOR encodes the pool name as a text string.
func (p Pool) MarshalCBOR() ([]byte, error) { return encodeText(p.s), nil }

// MarshalCBOR encodes the device name as a text string.
func (n Name) MarshalCBOR() ([]byte, error) { return encodeText(n.s), nil }

// UnmarshalCBOR parses a text string.
func (p *Pool) UnmarshalCBOR(b []byte) error {
	s, err := decodeText(b)
	if err != nil {
		return err
	}
	return p.UnmarshalText(s)
}

// UnmarshalCBOR parses a text string.
func (n *Name) UnmarshalCBOR(b []byte) error {
	s, err := decodeText(b)
	if err != nil {
		return err
	}
	return n.UnmarshalText(s)
}

// No name is longer than MaxNameLen, so a length fits one byte.
func encodeText(s string) []byte {
	if len(s) < 24 {
		return append([]byte{0x60 | byte(len(s))}, s...)
	}
	return append([]byte{0x78, byte(len(s))}, s...)
}

func decodeText(b []byte) ([]byte, error) {
	switch {
	case len(b) > 0 && b[0]>>5 == 3 && b[0]&31 < 24 && len(b) == 1+int(b[0]&31):
		return b[1:], nil
	case len(b) > 1 && b[0] == 0x78 && b[1] >= 24 && len(b) == 2+int(b[1]):
		return b[2:], nil
	}
	return nil, fmt.Errorf("%w: want a CBOR text string of at most 255 bytes", ErrInvalid)
}

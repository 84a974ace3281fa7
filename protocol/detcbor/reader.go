package detcbor

import (
	"encoding/binary"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// A Major is an item's kind (RFC 8949, section 3.1).
type Major byte

// The major types. Of Simple there are false, true and null only.
const (
	Uint   Major = 0
	Nint   Major = 1
	Bytes  Major = 2
	Text   Major = 3
	Array  Major = 4
	Map    Major = 5
	Simple Major = 7
)

// A Reader goes through one item, head by head, which NewReader has checked whole:
// so lengths hold, depth is bounded, and what is left to its user is the kind of
// each item. Reading on past the end gives Simple, and empty strings.
type Reader struct {
	data []byte
	pos  int
}

// NewReader checks data, by Check's rules and with its errors, once for all that is
// done with the Reader.
func NewReader(data []byte) (Reader, error) {
	if err := Check(data); err != nil {
		return Reader{}, err
	}
	return Reader{data: data}, nil
}

// Head reads the next item's initial byte and its argument: the number of Uint, n of
// the number -1-n of Nint, the length in bytes of Bytes and Text, which Take then
// takes, the elements of Array, the pairs of Map.
func (r *Reader) Head() (Major, uint64) {
	if r.pos >= len(r.data) {
		return Simple, 0
	}
	b := r.data[r.pos]
	r.pos++
	major, n := Major(b>>5), uint64(b&31)
	if n < 24 || major == Simple {
		return major, n
	}
	return major, r.argument(int(n))
}

// argument reads the 1, 2, 4 or 8 bytes that an initial byte announces.
func (r *Reader) argument(info int) uint64 {
	rest := r.data[r.pos:]
	switch {
	case info == 24 && len(rest) >= 1:
		r.pos++
		return uint64(rest[0])
	case info == 25 && len(rest) >= 2:
		r.pos += 2
		return uint64(binary.BigEndian.Uint16(rest))
	case info == 26 && len(rest) >= 4:
		r.pos += 4
		return uint64(binary.BigEndian.Uint32(rest))
	case info == 27 && len(rest) >= 8:
		r.pos += 8
		return binary.BigEndian.Uint64(rest)
	}
	r.pos = len(r.data)
	return 0
}

// Next is the kind of the item that comes next.
func (r *Reader) Next() Major {
	if r.pos >= len(r.data) {
		return Simple
	}
	return Major(r.data[r.pos] >> 5)
}

// Take gives the n bytes of a string whose head was read. They are the Reader's own.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.data)-r.pos) {
		n = uint64(len(r.data) - r.pos)
	}
	start := r.pos
	r.pos += int(n)
	return r.data[start:r.pos:r.pos]
}

// Skip passes over one item.
func (r *Reader) Skip() {
	for left := uint64(1); left > 0 && r.pos < len(r.data); left-- {
		switch major, n := r.Head(); major {
		case Bytes, Text:
			r.Take(n)
		case Array:
			left += n
		case Map:
			left += 2 * n
		}
	}
}

// UnmarshalExtensible decodes the whole item, wherever the Reader is in it, into v:
// the function of that name, without checking again.
func (r *Reader) UnmarshalExtensible(v any) error { return decode(decLax, r.data, v) }

// Unmarshal decodes the whole item, wherever the Reader is in it, into v: the function
// of that name, without checking again.
func (r *Reader) Unmarshal(v any) error { return decode(dec, r.data, v) }

func decode(m cbor.DecMode, data []byte, v any) error {
	if err := m.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

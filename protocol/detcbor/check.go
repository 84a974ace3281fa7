package detcbor

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Check reports whether data is exactly one CBOR item in deterministic form
// (RFC 8949, 4.2.1) using only what Signet uses: integers, byte and text strings,
// arrays, maps, false, true and null. No tags, no floats, no indefinite lengths,
// at most MaxDepth levels and MaxItems members. It allocates nothing, however
// large the lengths that data claims.
//
// The library's decoder has no such mode (it accepts 5 as 1805); decoding and
// encoding again finds the same faults, slower, and is the test's oracle.
func Check(data []byte) error {
	c := checker{Reader{data: data}}
	if err := c.item(1); err != nil {
		return err
	}
	if c.pos != len(data) {
		return fmt.Errorf("%w: %d bytes follow the item at offset %d", ErrMalformed, len(data)-c.pos, c.pos)
	}
	return nil
}

// A checker is a Reader of bytes that nothing is known of yet.
type checker struct{ Reader }

func (c *checker) item(depth int) error {
	start := c.pos
	major, n, err := c.head()
	if err != nil {
		return err
	}
	switch major {
	case Uint, Nint, Simple:
		return nil
	case Bytes, Text:
		return c.str(major, n, start)
	case Array, Map:
		if depth > MaxDepth {
			return fmt.Errorf("%w: nested deeper than %d at offset %d", ErrMalformed, MaxDepth, start)
		}
		if n > MaxItems {
			return fmt.Errorf("%w: %d members at offset %d, at most %d", ErrMalformed, n, start, MaxItems)
		}
		if major == Array {
			return c.array(int(n), depth)
		}
		return c.mapping(int(n), depth)
	}
	return fmt.Errorf("%w: tags, floats and simple values other than false, true and null are not used (offset %d)", ErrMalformed, start)
}

// unused stands for the kinds of item that Signet does not use.
const unused Major = 6

// head is Reader.Head once the head is known to be there, and in shortest form.
func (c *checker) head() (Major, uint64, error) {
	start := c.pos
	if start >= len(c.data) {
		return 0, 0, fmt.Errorf("%w: ends at offset %d where an item should start", ErrMalformed, start)
	}
	major, info := Major(c.data[start]>>5), c.data[start]&31
	switch {
	case major == Simple && info >= 20 && info <= 22: // false, true, null
	case major >= 6:
		return unused, 0, nil
	case info > 27:
		return 0, 0, fmt.Errorf("%w: indefinite or reserved length at offset %d", ErrMalformed, start)
	case info >= 24 && len(c.data)-start-1 < 1<<(info-24):
		return 0, 0, fmt.Errorf("%w: ends inside the head at offset %d", ErrMalformed, start)
	}
	_, n := c.Head()
	if info < 24 {
		return major, n, nil
	}
	least := uint64(24)
	if info > 24 {
		least = 1 << (4 << (info - 24)) // below this, half of the bytes would have been enough
	}
	if n < least {
		return 0, 0, fmt.Errorf("%w: %d is not in its shortest form at offset %d", ErrNotDeterministic, n, start)
	}
	if major <= Nint && n > 1<<63-1 {
		return 0, 0, fmt.Errorf("%w: integer at offset %d does not fit 64 bits with sign", ErrMalformed, start)
	}
	return major, n, nil
}

func (c *checker) str(major Major, n uint64, start int) error {
	if n > uint64(len(c.data)-c.pos) {
		return fmt.Errorf("%w: string at offset %d claims %d bytes, %d are left", ErrMalformed, start, n, len(c.data)-c.pos)
	}
	s := c.Take(n)
	if major == Text && !utf8.Valid(s) {
		return fmt.Errorf("%w: text at offset %d is not UTF-8", ErrMalformed, start)
	}
	return nil
}

func (c *checker) array(n, depth int) error {
	for range n {
		if err := c.item(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) mapping(n, depth int) error {
	var last []byte
	for i := range n {
		start := c.pos
		if start < len(c.data) && c.data[start]>>5 > 3 {
			return fmt.Errorf("%w: map key at offset %d is neither integer nor string", ErrMalformed, start)
		}
		if err := c.item(depth + 1); err != nil {
			return err
		}
		key := c.data[start:c.pos]
		if i > 0 {
			switch order := bytes.Compare(last, key); {
			case order == 0:
				return fmt.Errorf("%w: duplicate map key at offset %d", ErrMalformed, start)
			case order > 0:
				return fmt.Errorf("%w: map keys out of order at offset %d", ErrNotDeterministic, start)
			}
		}
		last = key
		if err := c.item(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

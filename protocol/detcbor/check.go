package detcbor

import (
	"bytes"
	"encoding/binary"
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
	c := checker{data: data}
	if err := c.item(1); err != nil {
		return err
	}
	if c.pos != len(data) {
		return fmt.Errorf("%w: %d bytes follow the item at offset %d", ErrMalformed, len(data)-c.pos, c.pos)
	}
	return nil
}

type checker struct {
	data []byte
	pos  int
}

func (c *checker) item(depth int) error {
	start := c.pos
	major, n, err := c.head()
	if err != nil {
		return err
	}
	switch major {
	case 0, 1:
		return nil
	case 2, 3:
		return c.str(major, n, start)
	case 4, 5:
		if depth > MaxDepth {
			return fmt.Errorf("%w: nested deeper than %d at offset %d", ErrMalformed, MaxDepth, start)
		}
		if n > MaxItems {
			return fmt.Errorf("%w: %d members at offset %d, at most %d", ErrMalformed, n, start, MaxItems)
		}
		if major == 4 {
			return c.array(int(n), depth)
		}
		return c.mapping(int(n), depth)
	}
	return fmt.Errorf("%w: tags, floats and simple values other than false, true and null are not used (offset %d)", ErrMalformed, start)
}

// head reads an initial byte and its argument, in shortest form.
func (c *checker) head() (major byte, arg uint64, err error) {
	if c.pos >= len(c.data) {
		return 0, 0, fmt.Errorf("%w: ends at offset %d where an item should start", ErrMalformed, c.pos)
	}
	start := c.pos
	b := c.data[c.pos]
	c.pos++
	major, info := b>>5, b&31
	if major == 7 && info >= 20 && info <= 22 {
		return 0, 0, nil // false, true, null: nothing follows
	}
	if major >= 6 {
		return major, 0, nil
	}
	if info < 24 {
		return major, uint64(info), nil
	}
	if info > 27 {
		return 0, 0, fmt.Errorf("%w: indefinite or reserved length at offset %d", ErrMalformed, start)
	}
	size := 1 << (info - 24)
	if len(c.data)-c.pos < size {
		return 0, 0, fmt.Errorf("%w: ends inside the head at offset %d", ErrMalformed, start)
	}
	var buf [8]byte
	copy(buf[8-size:], c.data[c.pos:c.pos+size])
	c.pos += size
	arg = binary.BigEndian.Uint64(buf[:])
	least := uint64(24)
	if size > 1 {
		least = 1 << (size * 4) // half of size bytes would have been enough below this
	}
	if arg < least {
		return 0, 0, fmt.Errorf("%w: %d is not in its shortest form at offset %d", ErrNotDeterministic, arg, start)
	}
	if major == 1 && arg > 1<<63-1 || major == 0 && arg > 1<<63-1 {
		return 0, 0, fmt.Errorf("%w: integer at offset %d does not fit 64 bits with sign", ErrMalformed, start)
	}
	return major, arg, nil
}

func (c *checker) str(major byte, n uint64, start int) error {
	if n > uint64(len(c.data)-c.pos) {
		return fmt.Errorf("%w: string at offset %d claims %d bytes, %d are left", ErrMalformed, start, n, len(c.data)-c.pos)
	}
	s := c.data[c.pos : c.pos+int(n)]
	c.pos += int(n)
	if major == 3 && !utf8.Valid(s) {
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

// OnlyUnsignedKeys reports whether data, one item that Check accepts, is a map
// whose own keys are all unsigned integers. It allocates nothing.
func OnlyUnsignedKeys(data []byte) bool {
	c := checker{data: data}
	major, n, err := c.head()
	if err != nil || major != 5 {
		return false
	}
	for range n {
		if c.pos >= len(data) || data[c.pos]>>5 != 0 || c.item(2) != nil || c.item(2) != nil {
			return false
		}
	}
	return true
}

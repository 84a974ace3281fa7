package token

import (
	"encoding/binary"
	"fmt"
)

// The few CBOR items that COSE and CWT are made of, written in deterministic form
// and read from bytes that detcbor.Check has passed. By hand, because a token is
// read on every request: the library's decoder costs a tenth of the signature
// check, and it takes an array of integers for a byte string.

// CBOR major types (RFC 8949, section 3.1).
const (
	majorUint  = 0
	majorNint  = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
)

func appendHead(b []byte, major byte, n uint64) []byte {
	switch m := major << 5; {
	case n < 24:
		return append(b, m|byte(n))
	case n < 1<<8:
		return append(b, m|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, m|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, m|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, m|27), n)
	}
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, majorNint, uint64(-1-n))
	}
	return appendHead(b, majorUint, uint64(n))
}

func appendBytes(b, s []byte) []byte {
	return append(appendHead(b, majorBytes, uint64(len(s))), s...)
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

// A reader walks data that detcbor.Check has passed, so lengths hold and depth is
// bounded; only the kind of each item is left to check.
type reader struct {
	data []byte
	pos  int
}

func (r *reader) head() (major byte, n uint64) {
	b := r.data[r.pos]
	r.pos++
	major, info := b>>5, b&31
	if info < 24 || major == 7 {
		return major, uint64(info)
	}
	size := 1 << (info - 24)
	for range size {
		n = n<<8 | uint64(r.data[r.pos])
		r.pos++
	}
	return major, n
}

func (r *reader) next() byte { return r.data[r.pos] >> 5 }

func (r *reader) want(major byte, what string) (uint64, error) {
	got, n := r.head()
	if got != major {
		return 0, fmt.Errorf("%w: %s has CBOR major type %d, want %d", ErrMalformed, what, got, major)
	}
	return n, nil
}

func (r *reader) integer(what string) (int64, error) {
	major, n := r.head()
	switch major {
	case majorUint:
		return int64(n), nil
	case majorNint:
		return -1 - int64(n), nil
	}
	return 0, fmt.Errorf("%w: %s is not an integer", ErrMalformed, what)
}

// bytes shares the reader's memory.
func (r *reader) bytes(what string) ([]byte, error) {
	n, err := r.want(majorBytes, what)
	if err != nil {
		return nil, err
	}
	start := r.pos
	r.pos += int(n)
	return r.data[start:r.pos:r.pos], nil
}

func (r *reader) text(what string) (string, error) {
	n, err := r.want(majorText, what)
	if err != nil {
		return "", err
	}
	start := r.pos
	r.pos += int(n)
	return string(r.data[start:r.pos]), nil
}

func (r *reader) texts(what string) ([]string, error) {
	n, err := r.want(majorArray, what)
	if err != nil {
		return nil, err
	}
	out := make([]string, n)
	for i := range out {
		if out[i], err = r.text(what); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// skip passes over one item.
func (r *reader) skip() {
	switch major, n := r.head(); major {
	case majorBytes, majorText:
		r.pos += int(n)
	case majorArray:
		for range n {
			r.skip()
		}
	case majorMap:
		for range 2 * n {
			r.skip()
		}
	}
}

// labels calls each for every pair of the map that comes next, with the reader at
// the value; each must consume it.
func (r *reader) labels(what string, each func(label int64) error) error {
	n, err := r.want(majorMap, what)
	if err != nil {
		return err
	}
	for range n {
		label, err := r.integer("label in " + what)
		if err != nil {
			return err
		}
		if err := each(label); err != nil {
			return err
		}
	}
	return nil
}

package token

import (
	"encoding/binary"
	"fmt"

	"github.com/signetd/signet/protocol/detcbor"
)

// The few CBOR items that COSE and CWT are made of, written in deterministic form
// and read by kind. By hand, because a token is
// read on every request: the library's decoder costs a tenth of the signature
// check, and it takes an array of integers for a byte string.

func appendHead(b []byte, major detcbor.Major, n uint64) []byte {
	switch m := byte(major) << 5; {
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
		return appendHead(b, detcbor.Nint, uint64(-1-n))
	}
	return appendHead(b, detcbor.Uint, uint64(n))
}

func appendBytes(b, s []byte) []byte {
	return append(appendHead(b, detcbor.Bytes, uint64(len(s))), s...)
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, detcbor.Text, uint64(len(s))), s...)
}

// A reader reads items of known kinds.
type reader struct{ detcbor.Reader }

// newReader checks data.
func newReader(data []byte) (*reader, error) {
	r, err := detcbor.NewReader(data)
	if err != nil {
		return nil, err
	}
	return &reader{r}, nil
}

func (r *reader) want(major detcbor.Major, what string) (uint64, error) {
	got, n := r.Head()
	if got != major {
		return 0, fmt.Errorf("%w: %s has CBOR major type %d, want %d", ErrMalformed, what, got, major)
	}
	return n, nil
}

func (r *reader) integer(what string) (int64, error) {
	major, n := r.Head()
	switch major {
	case detcbor.Uint:
		return int64(n), nil
	case detcbor.Nint:
		return -1 - int64(n), nil
	}
	return 0, fmt.Errorf("%w: %s is not an integer", ErrMalformed, what)
}

// bytes shares the reader's memory.
func (r *reader) bytes(what string) ([]byte, error) {
	n, err := r.want(detcbor.Bytes, what)
	if err != nil {
		return nil, err
	}
	return r.Take(n), nil
}

func (r *reader) text(what string) (string, error) {
	n, err := r.want(detcbor.Text, what)
	if err != nil {
		return "", err
	}
	return string(r.Take(n)), nil
}

func (r *reader) texts(what string) ([]string, error) {
	n, err := r.want(detcbor.Array, what)
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

// labels calls each for every pair of the map that comes next, with the reader at
// the value; each must consume it.
func (r *reader) labels(what string, each func(label int64) error) error {
	n, err := r.want(detcbor.Map, what)
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

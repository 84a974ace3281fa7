package token

import (
	"fmt"

	"github.com/signetd/signet/protocol/detcbor"
)

// The few CBOR items that COSE and CWT are made of are read by kind, by hand, because a
// token is read on every request: the library's decoder costs a tenth of the signature
// check, and it takes an array of integers for a byte string.

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

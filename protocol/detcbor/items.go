package detcbor

import (
	"errors"
	"fmt"
)

// ErrLength: a byte string is not as long as its place wants it.
var ErrLength = errors.New("wrong length")

// Items reads items of known kinds, one after the other. An item of another kind is an error,
// which stays: all that is read after it is zero or empty, so it is enough to ask Err at the
// end.
type Items struct {
	Reader
	err error
}

// NewItems checks data as NewReader does.
func NewItems(data []byte) (Items, error) {
	r, err := NewReader(data)
	return Items{Reader: r}, err
}

// Err is the first thing that was wrong, nil if nothing was. It wraps ErrMalformed or ErrLength,
// or what Fail was given.
func (r *Items) Err() error { return r.err }

// Fail says what is wrong with what was read, unless something was wrong before.
func (r *Items) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// Want reads a head of that kind, and gives its argument as Head does.
func (r *Items) Want(major Major) uint64 {
	if r.err != nil {
		return 0
	}
	got, n := r.Head()
	if got != major {
		r.err = fmt.Errorf("%w: CBOR major type %d, want %d", ErrMalformed, got, major)
		return 0
	}
	return n
}

// Uint reads an unsigned integer.
func (r *Items) Uint() uint64 { return r.Want(Uint) }

// UpTo reads an unsigned integer that is at most most.
func (r *Items) UpTo(most uint64) uint64 {
	n := r.Uint()
	if n > most {
		r.Fail(fmt.Errorf("%w: %d is more than %d", ErrMalformed, n, most))
		return 0
	}
	return n
}

// Int reads an integer.
func (r *Items) Int() int64 {
	if r.Next() == Nint {
		return -1 - int64(r.Want(Nint))
	}
	return int64(r.Want(Uint))
}

// Bool reads false or true.
func (r *Items) Bool() bool {
	n := r.Want(Simple)
	if r.err == nil && n != uint64(simpleFalse&31) && n != uint64(simpleTrue&31) {
		r.Fail(fmt.Errorf("%w: simple value %d, want false or true", ErrMalformed, n))
	}
	return n == uint64(simpleTrue&31)
}

// Bytes reads a byte string, which is the Items' own.
func (r *Items) Bytes() []byte { return r.Take(r.Want(Bytes)) }

// Fixed reads a byte string into dst, all of it.
func (r *Items) Fixed(dst []byte) {
	b := r.Bytes()
	if len(b) != len(dst) {
		r.Fail(fmt.Errorf("%w: %d bytes, want %d", ErrLength, len(b), len(dst)))
		return
	}
	copy(dst, b)
}

// Text reads a text string.
func (r *Items) Text() string { return string(r.Take(r.Want(Text))) }

// Texts reads an array of text strings.
func (r *Items) Texts() []string {
	all := make([]string, r.Want(Array))
	for i := range all {
		all[i] = r.Text()
	}
	return all
}

// TextMap reads a map from text strings to text strings.
func (r *Items) TextMap() map[string]string {
	n := r.Want(Map)
	all := make(map[string]string, n)
	for range n {
		name := r.Text()
		all[name] = r.Text()
	}
	return all
}

// Parsed reads a text string that parse gives a meaning.
func Parsed[T any](r *Items, parse func(string) (T, error)) T {
	v, err := parse(r.Text())
	if err != nil {
		r.Fail(fmt.Errorf("%w: %w", ErrMalformed, err))
	}
	return v
}

// Each reads a map of integer keys: it calls read with each key, and read must read the
// value. It ends at the first error, which then names the key.
func (r *Items) Each(read func(key int64)) {
	for range r.Want(Map) {
		key := r.Int()
		if r.err != nil {
			return
		}
		if read(key); r.err != nil {
			r.err = fmt.Errorf("key %d: %w", key, r.err)
			return
		}
	}
}

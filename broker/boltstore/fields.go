package boltstore

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// Devices and sessions, which each authentication needs, are read member by member, and
// sessions are written so: by reflection they cost three times as much, and more stack
// than a goroutine starts with. A device's form is what record.go's type says, a session's
// what encodeSession writes; a test holds both to what the library makes of them.

// A mapWriter writes a record's members, in order of their keys, without those that are empty.
type mapWriter struct {
	b     []byte
	start int // where the map's head is
}

// newMapWriter begins the map behind header.
func newMapWriter(header []byte) mapWriter {
	return mapWriter{append(header, 0), len(header)}
}

func (w *mapWriter) key(key uint64) {
	w.b[w.start]++ // a map of fewer than 24 members has their number in its head
	w.b = detcbor.AppendHead(w.b, detcbor.Uint, key)
}

func (w *mapWriter) text(key uint64, s string) {
	if s != "" {
		w.key(key)
		w.b = detcbor.AppendText(w.b, s)
	}
}

func (w *mapWriter) bytes(key uint64, s []byte) {
	if len(s) > 0 {
		w.key(key)
		w.b = detcbor.AppendBytes(w.b, s)
	}
}

func (w *mapWriter) uint(key, n uint64) {
	if n != 0 {
		w.key(key)
		w.b = detcbor.AppendHead(w.b, detcbor.Uint, n)
	}
}

func (w *mapWriter) time(key uint64, t time.Time) {
	if n := nanos(t); n != 0 {
		w.key(key)
		w.b = detcbor.AppendInt(w.b, n)
	}
}

// finish gives header and map, if the map can be read again: broker.ErrInvalid.
func (w *mapWriter) finish() ([]byte, error) {
	w.b[w.start] |= byte(detcbor.Map) << 5
	if err := detcbor.Check(w.b[w.start:]); err != nil {
		return nil, fmt.Errorf("%w: record: %w", broker.ErrInvalid, err)
	}
	return w.b, nil
}

// Fields reads a record's map; the first error stays.
type fields struct {
	detcbor.Reader
	err error
}

// eachField calls read with the key of each member of the map that b is, which must
// read its value.
func eachField(b []byte, read func(f *fields, key uint64)) error {
	r, err := detcbor.NewReader(b)
	if err != nil {
		return fmt.Errorf("%w: read a record: %w", ErrDamaged, err)
	}
	f := fields{Reader: r}
	f.each(read)
	return f.err
}

func (f *fields) each(read func(f *fields, key uint64)) {
	for range f.head(detcbor.Map) {
		if read(f, f.head(detcbor.Uint)); f.err != nil {
			return
		}
	}
}

func (f *fields) head(want detcbor.Major) uint64 {
	got, n := f.Head()
	if got != want && f.err == nil {
		f.err = fmt.Errorf("%w: read a record: CBOR major type %d, want %d", ErrDamaged, got, want)
	}
	if f.err != nil {
		return 0
	}
	return n
}

// unknown is for a key that this version does not have.
func (f *fields) unknown(key uint64) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: read a record: unknown field %d", ErrDamaged, key)
	}
}

func (f *fields) bytes() []byte {
	n := f.head(detcbor.Bytes)
	return append(make([]byte, 0, n), f.Take(n)...)
}

func (f *fields) text() string { return string(f.Take(f.head(detcbor.Text))) }

func (f *fields) texts() []string {
	all := make([]string, f.head(detcbor.Array))
	for i := range all {
		all[i] = f.text()
	}
	return all
}

func (f *fields) textMap() map[string]string {
	n := f.head(detcbor.Map)
	all := make(map[string]string, n)
	for range n {
		name := f.text()
		all[name] = f.text()
	}
	return all
}

func (f *fields) uint32() uint32 {
	n := f.head(detcbor.Uint)
	if n > math.MaxUint32 {
		f.err = fmt.Errorf("%w: read a record: %d does not fit 32 bits", ErrDamaged, n)
	}
	return uint32(n)
}

func (f *fields) time() time.Time {
	if f.Next() == detcbor.Nint { // before 1970
		return fromNanos(-1 - int64(f.head(detcbor.Nint)))
	}
	return fromNanos(int64(f.head(detcbor.Uint)))
}

// parsed reads a text that parse gives a meaning.
func parsed[T any](f *fields, parse func(string) (T, error)) (v T) {
	s := f.text()
	if f.err != nil {
		return v
	}
	v, err := parse(s)
	if err != nil {
		f.err = fmt.Errorf("%w: read a record: %w", ErrDamaged, err)
	}
	return v
}

func (f *fields) pool() ident.Pool { return parsed(f, ident.ParsePool) }

func (f *fields) name() ident.Name { return parsed(f, ident.ParseName) }

var errLength = errors.New("wrong length")

// fixed reads bytes into dst, all of it.
func (f *fields) fixed(dst []byte, what string) {
	b := f.Take(f.head(detcbor.Bytes))
	if len(b) != len(dst) && f.err == nil {
		f.err = fmt.Errorf("%w: %s has %d bytes, want %d: %w", ErrDamaged, what, len(b), len(dst), errLength)
	}
	copy(dst, b)
}

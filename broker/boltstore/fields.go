package boltstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/detcbor"
)

// Devices and sessions, which each authentication needs, are read member by member, and
// sessions are written so: by reflection they cost three times as much, and more stack
// than a goroutine starts with. A device's form is what record.go's type says, a session's
// what encodeSession writes; a test holds both to what the library makes of them.

// readable gives a record that was appended, header and map, if the map, which begins at start,
// can be read again: broker.ErrInvalid.
func readable(row []byte, start int) ([]byte, error) {
	if err := detcbor.Check(row[start:]); err != nil {
		return nil, fmt.Errorf("%w: record: %w", broker.ErrInvalid, err)
	}
	return row, nil
}

// Fields reads a record's map.
type fields struct{ detcbor.Items }

// eachField calls read with the key of each member of the map that b is, which must
// read its value. Errors wrap ErrDamaged.
func eachField(b []byte, read func(f *fields, key int64)) error {
	r, err := detcbor.NewItems(b)
	if err == nil {
		f := fields{r}
		f.each(read)
		err = f.Err()
	}
	if err != nil {
		return fmt.Errorf("%w: read a record: %w", ErrDamaged, err)
	}
	return nil
}

func (f *fields) each(read func(f *fields, key int64)) {
	f.Each(func(key int64) { read(f, key) })
}

// unknown is for a key that this version does not have.
func (f *fields) unknown() { f.Fail(errUnknown) }

var errUnknown = errors.New("unknown field")

// bytes copies: the store's memory is not the record's.
func (f *fields) bytes() []byte { return append([]byte{}, f.Bytes()...) }

func (f *fields) time() time.Time { return fromNanos(f.Int()) }

package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// The records are what is on the disk: maps with integer keys, in Signet's one
// CBOR form. Their numbers are frozen; a change that an older version would
// misread raises FormatVersion. What is in a row's key or header isn't repeated.
// A session's are in encodeSession.

type poolRecord struct {
	Name         ident.Pool         `cbor:"1,keyasint"`
	Issuer       string             `cbor:"2,keyasint,omitempty"`
	Flow         string             `cbor:"3,keyasint,omitempty"`
	Created      int64              `cbor:"4,keyasint,omitempty"`
	Anchor       []byte             `cbor:"5,keyasint,omitempty"`
	AnchorSealed []byte             `cbor:"6,keyasint,omitempty"`
	AnswerSealed []byte             `cbor:"7,keyasint,omitempty"`
	Rev          uint64             `cbor:"8,keyasint"`
	PasswordLife int64              `cbor:"9,keyasint,omitempty"` // nanoseconds
	AnchorSince  int64              `cbor:"10,keyasint,omitempty"`
	Successions  []successionRecord `cbor:"11,keyasint,omitempty"`
	Clones       string             `cbor:"12,keyasint,omitempty"`
}

type successionRecord struct {
	From   []byte `cbor:"1,keyasint"`
	Signed []byte `cbor:"2,keyasint"`
	At     int64  `cbor:"3,keyasint"`
}

type authenticatorRecord struct {
	Kind   string `cbor:"1,keyasint"`
	Key    []byte `cbor:"2,keyasint,omitempty"`
	Sealed []byte `cbor:"3,keyasint,omitempty"`
	Added  int64  `cbor:"4,keyasint,omitempty"`
	ID     []byte `cbor:"5,keyasint"`
}

// A device's status and subject are in its row's header.
type deviceRecord struct {
	Pool           ident.Pool            `cbor:"1,keyasint"`
	Name           ident.Name            `cbor:"2,keyasint"`
	Authenticators []authenticatorRecord `cbor:"3,keyasint,omitempty"`
	Attributes     map[string]string     `cbor:"4,keyasint,omitempty"`
	Groups         []string              `cbor:"5,keyasint,omitempty"`
	Created        int64                 `cbor:"6,keyasint,omitempty"`
	Updated        int64                 `cbor:"7,keyasint,omitempty"`
	SessionsAfter  int64                 `cbor:"8,keyasint,omitempty"`
	Rev            uint64                `cbor:"9,keyasint"`
	SessionsRev    uint64                `cbor:"10,keyasint,omitempty"`
	ClonedSince    int64                 `cbor:"11,keyasint,omitempty"`
}

// A document's pool, kind and name are its row's place.
type documentRecord struct {
	Rev     uint64      `cbor:"1,keyasint"`
	Created int64       `cbor:"2,keyasint,omitempty"`
	Updated int64       `cbor:"3,keyasint,omitempty"`
	Body    []byte      `cbor:"4,keyasint"`
	Refs    []refRecord `cbor:"5,keyasint,omitempty"`
}

type refRecord struct {
	Kind string `cbor:"1,keyasint"`
	Name string `cbor:"2,keyasint"`
}

type signingRecord struct {
	Pool    ident.Pool `cbor:"1,keyasint"`
	ID      string     `cbor:"2,keyasint"`
	Alg     string     `cbor:"3,keyasint,omitempty"`
	State   string     `cbor:"4,keyasint,omitempty"`
	Public  []byte     `cbor:"5,keyasint,omitempty"`
	Sealed  []byte     `cbor:"6,keyasint,omitempty"`
	Created int64      `cbor:"7,keyasint,omitempty"`
	Changed int64      `cbor:"8,keyasint,omitempty"`
}

type operatorRecord struct {
	Name    string       `cbor:"1,keyasint"`
	Hash    []byte       `cbor:"2,keyasint"`
	Expires int64        `cbor:"3,keyasint,omitempty"`
	Created int64        `cbor:"4,keyasint,omitempty"`
	Scope   string       `cbor:"5,keyasint"`
	Pools   []ident.Pool `cbor:"6,keyasint,omitempty"`
}

// nanos keeps a time as nanoseconds since 1970, the zero time as 0, and what such
// a number cannot hold (before 1678, after 2262) as the nearest that it can.
func nanos(t time.Time) int64 {
	first, last := time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)
	switch {
	case t.IsZero():
		return 0
	case t.Before(first):
		return math.MinInt64
	case t.After(last):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// encode gives the record's bytes, if they can be read again: broker.ErrInvalid
// for a value outside the CBOR rules' limits.
func encode(record any) ([]byte, error) { return encodeAfter(nil, record) }

// encodeAfter is encode with a header in front.
func encodeAfter(header []byte, record any) ([]byte, error) {
	b, err := detcbor.Marshal(record)
	if err == nil {
		err = detcbor.Check(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: record: %w", broker.ErrInvalid, err)
	}
	return append(header, b...), nil
}

func decode[R any](b []byte) (R, error) {
	var r R
	if err := detcbor.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: read a record: %w", ErrDamaged, err)
	}
	return r, nil
}

// Both kinds of header are read without decoding the rest.
const (
	deviceHeader  = 1 + len(ident.UUID{}) + 8 // status, subject, Seq of the last record of it
	sessionHeader = 8 + 8 + 8 + 1             // when the row may go, Unix seconds; Seqs of its records (sessionSeqs); flags

	sessionRevoked = 1
	sessionLost    = 2
	sessionCloned  = 4
)

var errNoHeader = errors.New("row is shorter than its header")

func statusByte(s broker.Status) (byte, error) {
	switch s {
	case broker.StatusPending:
		return 1, nil
	case broker.StatusActive:
		return 2, nil
	case broker.StatusDisabled:
		return 3, nil
	case broker.StatusQuarantined:
		return 4, nil
	}
	return 0, fmt.Errorf("%w: status %q", broker.ErrInvalid, s)
}

// deviceHead reads a device's status and subject.
func deviceHead(v []byte) (broker.Status, ident.UUID, error) {
	if len(v) < deviceHeader {
		return "", ident.UUID{}, fmt.Errorf("%w: device: %w", ErrDamaged, errNoHeader)
	}
	subject := ident.UUID(v[1 : 1+len(ident.UUID{})])
	switch v[0] {
	case 1:
		return broker.StatusPending, subject, nil
	case 2:
		return broker.StatusActive, subject, nil
	case 3:
		return broker.StatusDisabled, subject, nil
	case 4:
		return broker.StatusQuarantined, subject, nil
	}
	return "", ident.UUID{}, fmt.Errorf("%w: device has status byte %d", ErrDamaged, v[0])
}

// setHead writes the Seq of a device's newest record into its row.
func setHead(row []byte, seq uint64) { binary.BigEndian.PutUint64(row[deviceHeader-8:], seq) }

// headOf gives the Seq of a device's newest record. row is the device's row; nil if the
// device was deleted.
func headOf(pool *bolt.Bucket, name, row []byte) (seq uint64, found bool) {
	if len(row) >= deviceHeader {
		return binary.BigEndian.Uint64(row[deviceHeader-8:]), true
	}
	if v := pool.Bucket([]byte(poolGone)).Get(name); len(v) == 8 {
		return binary.BigEndian.Uint64(v), true
	}
	return 0, false
}

// sessionSeqs are the Seqs of two records of a session, which its row holds.
type sessionSeqs struct {
	login uint64
	ended uint64 // by the device itself; 0 if it did not
}

func seqsOf(row []byte) (sessionSeqs, error) {
	if len(row) < sessionHeader {
		return sessionSeqs{}, fmt.Errorf("%w: session: %w", ErrDamaged, errNoHeader)
	}
	return sessionSeqs{login: binary.BigEndian.Uint64(row[8:]), ended: binary.BigEndian.Uint64(row[16:])}, nil
}

// set writes them into a session's row.
func (q sessionSeqs) set(row []byte) {
	binary.BigEndian.PutUint64(row[8:], q.login)
	binary.BigEndian.PutUint64(row[16:], q.ended)
}

func isRevoked(row []byte) bool { return row[sessionHeader-1]&sessionRevoked != 0 }

// flag marks a session's row with a flag.
func flag(row []byte, with byte) { row[sessionHeader-1] |= with }

package boltstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// The journal's rows are keyed by the Seq of their first record, big-endian, and hold
// a batch's records, or a part of them:
//
//	row    = time (8 bytes, nanoseconds since 1970) entry*
//	entry  = skip length body      both uvarint; skip: records that have gone before it
//	body   = login | refresh | end | other
//	login   = 1 session subject pool name request
//	refresh = 2 session before pool name request
//	end     = 3 session before
//	other   = 0 flags [session [subject]] [actor request reason] kind pool name what prev count [before]
//
// Texts have their length in front, as a uvarint; prev and count are uvarints; session
// and subject have 16 bytes, before has 32. A login and a refresh in the short form
// are their device's own, by a call in hex, for no reason given; an end is that of a
// session of the device of the entry before it, by the same call. A batch's logins are
// thus also the newest part of the index of sessions (index.go).
const (
	formOther   = 0
	formLogin   = 1
	formRefresh = 2
	formEnd     = 3

	flagSameBy  = 1 // it has the By of the entry before it in its row
	flagBefore  = 2
	flagSession = 4
	flagSubject = 8 // a login's; only with flagSession
	allFlags    = flagSameBy | flagBefore | flagSession | flagSubject

	rowHead   = 8
	fullRow   = 32 << 10 // bytes, chosen arbitrarily; one more record begins a new row
	firstRow  = 2 << 10  // bytes to begin with
	entryRoom = 72       // bytes that a login, or the end of a session by it, takes or less
	maxText   = broker.MaxReason
	uuidBytes = len(ident.UUID{})
)

// An entry is a record on its way into a row. Its Seq counts, its At is the row's.
type entry struct {
	broker.Record
	subject ident.UUID // of a login's device: the index of sessions wants it
}

// A rowWriter lays records into rows.
type rowWriter struct {
	at   int64
	put  func(first uint64, row []byte) error
	row  []byte
	room int           // how many bytes all rows may take; 0: nobody knows
	seq  uint64        // of the row's first record
	next uint64        // the Seq that an entry without skip has
	prev broker.Record // of the entry before; zero: the row has none
	body []byte        // scratch
}

// add appends e. Records come in order of their Seqs.
func (w *rowWriter) add(e *entry) error {
	if len(w.row) > fullRow {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.row == nil {
		w.begin(e.Seq)
	}
	w.body = w.appendBody(w.body[:0], e)
	w.row = binary.AppendUvarint(w.row, e.Seq-w.next)
	w.row = binary.AppendUvarint(w.row, uint64(len(w.body)))
	w.row = append(w.row, w.body...)
	w.next, w.prev = e.Seq+1, e.Record
	return nil
}

func (w *rowWriter) begin(seq uint64) {
	w.row = binary.BigEndian.AppendUint64(make([]byte, 0, min(max(w.room, firstRow), fullRow)), uint64(w.at))
	w.seq, w.next, w.prev = seq, seq, broker.Record{}
}

// flush ends the row that was begun, if any.
func (w *rowWriter) flush() error {
	if w.row == nil {
		return nil
	}
	row := w.row
	w.row = nil
	return w.put(w.seq, row)
}

func (w *rowWriter) appendBody(b []byte, e *entry) []byte {
	if isOwn(&e.Record) {
		switch {
		case e.What == broker.WhatLogin && e.Before == nil && !e.subject.IsZero():
			b = append(append(append(b, formLogin), e.Session[:]...), e.subject[:]...)
			return appendCall(appendText(appendText(b, e.Pool.String()), e.Subject), e.By.Request)
		case e.What == broker.WhatRefresh && len(e.Before) == sha256.Size:
			b = append(append(append(b, formRefresh), e.Session[:]...), e.Before...)
			return appendCall(appendText(appendText(b, e.Pool.String()), e.Subject), e.By.Request)
		case e.What == broker.WhatRevoke && len(e.Before) == sha256.Size && e.subject.IsZero() &&
			w.prev.Kind == broker.RecordSession && w.prev.By == e.By && w.prev.Pool == e.Pool && w.prev.Subject == e.Subject:
			return append(append(append(b, formEnd), e.Session[:]...), e.Before...)
		}
	}
	return appendOther(b, e, w.prev.By)
}

// isOwn reports whether a device wrote its own session, by a call in hex.
func isOwn(r *broker.Record) bool {
	return r.Kind == broker.RecordSession && r.By.Reason == "" && r.Prev == 0 && r.Count == 0 && isCall(r.By.Request) && isByItsDevice(r)
}

// isCall reports whether s is what hex makes of some bytes.
func isCall(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s)%2 == 0
}

// appendCall appends the bytes of what isCall knows, with their number in front.
func appendCall(b []byte, call string) []byte {
	b = binary.AppendUvarint(b, uint64(len(call)/2))
	b, _ = hex.AppendDecode(b, []byte(call))
	return b
}

// isByItsDevice reports whether r's actor is its device; written out, for every login asks.
func isByItsDevice(r *broker.Record) bool {
	full, ok := strings.CutPrefix(string(r.By.Actor), "device:")
	pool := r.Pool.String()
	return ok && len(full) == len(pool)+1+len(r.Subject) && full[:len(pool)] == pool && full[len(pool)] == ':' && full[len(pool)+1:] == r.Subject
}

func appendOther(b []byte, e *entry, before broker.By) []byte {
	flags := byte(0)
	if e.By == before {
		flags |= flagSameBy
	}
	if e.Before != nil {
		flags |= flagBefore
	}
	if !e.Session.IsZero() {
		flags |= flagSession
	}
	if !e.subject.IsZero() {
		flags |= flagSubject
	}
	b = append(b, formOther, flags)
	if flags&flagSession != 0 {
		b = append(b, e.Session[:]...)
	}
	if flags&flagSubject != 0 {
		b = append(b, e.subject[:]...)
	}
	if flags&flagSameBy == 0 {
		b = appendText(appendText(appendText(b, string(e.By.Actor)), e.By.Request), e.By.Reason)
	}
	b = appendText(appendText(appendText(appendText(b, string(e.Kind)), e.Pool.String()), e.Subject), string(e.What))
	b = binary.AppendUvarint(binary.AppendUvarint(b, e.Prev), uint64(e.Count))
	return append(b, e.Before...)
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errRow = errors.New("journal row is not sound")

// A rowReader reads a row's entries one by one.
type rowReader struct {
	seq  uint64 // of the entry last read
	next uint64
	at   int64
	rest []byte
	body []byte
	prev broker.Record // the entry before; zero: there was none
}

// readRow begins to read the row of that key.
func readRow(key, row []byte) (*rowReader, error) {
	if len(key) != 8 || len(row) < rowHead {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, errRow)
	}
	return &rowReader{next: binary.BigEndian.Uint64(key), at: int64(binary.BigEndian.Uint64(row)), rest: row[rowHead:]}, nil
}

// more moves to the next entry, and is false at the row's end.
func (r *rowReader) more() (bool, error) {
	if len(r.rest) == 0 {
		return false, nil
	}
	p := parser{b: r.rest}
	skip := p.number()
	r.body = p.bytes(p.number())
	if p.failed || skip > math.MaxUint64-r.next-1 {
		return false, fmt.Errorf("%w: %w", ErrDamaged, errRow)
	}
	r.seq, r.rest = r.next+skip, p.b
	r.next = r.seq + 1
	return true, nil
}

// login gives the session and the subject of an entry that began one.
func (r *rowReader) login() (session, subject []byte, ok bool) {
	ids := r.body
	switch {
	case len(ids) > 1 && ids[0] == formLogin:
		ids = ids[1:]
	case len(ids) > 2 && ids[0] == formOther && ids[1]&flagSubject != 0:
		ids = ids[2:]
	default:
		return nil, nil, false
	}
	if len(ids) < 2*uuidBytes {
		return nil, nil, false
	}
	return ids[:uuidBytes], ids[uuidBytes : 2*uuidBytes], true
}

// entry decodes the entry. Entries are to be decoded in order: they refer to the one before.
func (r *rowReader) entry() (e entry, err error) {
	p := parser{b: r.body}
	switch form := p.byte(); form {
	case formLogin, formRefresh:
		e.Kind, e.What = broker.RecordSession, broker.WhatLogin
		e.Session = p.uuid()
		if form == formLogin {
			e.subject = p.uuid()
			p.failed = p.failed || e.subject.IsZero()
		} else {
			e.What, e.Before = broker.WhatRefresh, bytes.Clone(p.bytes(sha256.Size))
		}
		e.Pool, e.Subject = p.pool(), p.text()
		e.By = broker.By{Actor: broker.DeviceActor(e.Device()), Request: hex.EncodeToString([]byte(p.text()))}
		p.failed = p.failed || e.Device().IsZero()
	case formEnd:
		e.Kind, e.What, e.Session, e.Before = broker.RecordSession, broker.WhatRevoke, p.uuid(), bytes.Clone(p.bytes(sha256.Size))
		e.Pool, e.Subject, e.By = r.prev.Pool, r.prev.Subject, r.prev.By
		p.failed = p.failed || r.prev.Kind != broker.RecordSession
	case formOther:
		e = p.other(r.prev.By)
	default:
		p.failed = true
	}
	if p.failed || len(p.b) != 0 {
		return entry{}, fmt.Errorf("%w: record %d: %w", ErrDamaged, r.seq, errRow)
	}
	e.Seq, e.At = r.seq, fromNanos(r.at)
	r.prev = e.Record
	return e, nil
}

// A parser takes a body apart; failed says that it was not sound.
type parser struct {
	b      []byte
	failed bool
}

func (p *parser) other(before broker.By) (e entry) {
	flags := p.byte()
	p.failed = p.failed || flags&^allFlags != 0 || flags&(flagSubject|flagSession) == flagSubject
	if flags&flagSession != 0 {
		e.Session = p.uuid()
	}
	if flags&flagSubject != 0 {
		e.subject = p.uuid()
	}
	if e.By = before; flags&flagSameBy == 0 {
		e.By = broker.By{Actor: broker.Actor(p.text()), Request: p.text(), Reason: p.text()}
	}
	e.Kind, e.Pool, e.Subject, e.What = broker.RecordKind(p.text()), p.pool(), p.text(), broker.What(p.text())
	e.Prev = p.number()
	count := p.number()
	p.failed = p.failed || count > math.MaxUint32
	e.Count = uint32(count)
	if flags&flagBefore != 0 {
		e.Before = bytes.Clone(p.bytes(sha256.Size))
	}
	return e
}

func (p *parser) byte() byte {
	if b := p.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (p *parser) bytes(n uint64) []byte {
	if p.failed || n > uint64(len(p.b)) {
		p.failed = true
		return nil
	}
	out := p.b[:n:n]
	p.b = p.b[n:]
	return out
}

func (p *parser) number() uint64 {
	n, size := binary.Uvarint(p.b)
	if size <= 0 {
		p.failed = true
		return 0
	}
	p.b = p.b[size:]
	return n
}

func (p *parser) text() string {
	n := p.number()
	if n > maxText {
		p.failed = true
		return ""
	}
	return string(p.bytes(n))
}

func (p *parser) uuid() ident.UUID {
	var u ident.UUID
	copy(u[:], p.bytes(uint64(uuidBytes)))
	return u
}

func (p *parser) pool() ident.Pool {
	s := p.text()
	if s == "" {
		return ident.Pool{}
	}
	pool, err := ident.ParsePool(s)
	p.failed = p.failed || err != nil
	return pool
}

package broker

import (
	"bytes"
	"context"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/signetd/signet/protocol/ident"
)

// A Record is the journal's line on one row that was written, or on one event.
type Record struct {
	// Seq is the record's place in the journal: the first of a store is 1, and each
	// has the number after the one before it.
	Seq  uint64
	At   time.Time // when it was written, by the store's clock
	By   By
	Kind RecordKind
	Pool ident.Pool // zero: of no pool
	// Subject names what was written among those of its kind and pool: a device's
	// name, a client's id, an operator's name. Empty for a pool itself.
	Subject string
	What    What
	// Before is the SHA-256 of the row as it was stored before; nil when there was none.
	Before []byte
	// Session is set in records of kind session; their Subject is its device's name.
	Session ident.UUID
	// Prev is the Seq of the record before this one in its device's own history; 0 when
	// it is the first, and in records of anything but devices, of sessions that
	// somebody else than the device ended, and of connections.
	Prev uint64
	// Count is how many events an appended record sums up; 0 for what is no event.
	Count uint32
}

// RecordKind is what a record is about: of a document its Kind's name.
type RecordKind string

// The kinds of records that are about no document.
const (
	RecordPool     RecordKind = "pool"
	RecordDevice   RecordKind = "device"
	RecordSession  RecordKind = "session"
	RecordKey      RecordKind = "key" // a pool's signing key
	RecordOperator RecordKind = "operator"
	RecordSecret   RecordKind = "secret" // one of the cluster's own
	RecordTry      RecordKind = "try"    // a counted attempt at a guessable answer
	RecordRefusal  RecordKind = "refusal"
	RecordStore    RecordKind = "store" // its epoch
	// RecordConnection is what an operator did with a device's connections: an event that stays.
	RecordConnection RecordKind = "connection"
)

// RecordKinds gives the kinds of what is no document.
func RecordKinds() []RecordKind {
	return []RecordKind{RecordPool, RecordDevice, RecordSession, RecordKey, RecordOperator, RecordSecret, RecordTry, RecordRefusal, RecordConnection}
}

// IsDocument reports whether k is a Kind's name.
func (k RecordKind) IsDocument() bool {
	switch k {
	case RecordPool, RecordDevice, RecordSession, RecordKey, RecordOperator, RecordSecret, RecordTry, RecordRefusal, RecordStore, RecordConnection:
		return false
	}
	return true
}

// What was done.
type What string

// What is done to rows, and to sessions.
const (
	WhatCreate  What = "create"
	WhatUpdate  What = "update"
	WhatDelete  What = "delete"
	WhatLogin   What = "login"
	WhatClone   What = "clone" // a login that shows that two copies of the device's key are in use and, of kind device, the first such
	WhatRefresh What = "refresh"
	WhatRevoke  What = "revoke" // a session was ended by itself or, of kind device, all of the device's
	// What is done to a device beside.
	WhatDisable    What = "disable"
	WhatEnable     What = "enable"
	WhatApprove    What = "approve"
	WhatQuarantine What = "quarantine"
	WhatReplaceKey What = "replace-key" // an enrollment brought other keys in the place of the device's

	// What is done to a pool beside.
	WhatRotateAnchor What = "rotate-anchor"
	WhatRevokeAnchor What = "revoke-anchor" // the new one came without the old one's word

	WhatCount What = "count"

	// What operators do with a device's connections.
	WhatKick          What = "kick"
	WhatTrace         What = "trace"
	WhatTracePayloads What = "trace-payloads"
)

// WhatOfDevice names a write of a device by its status before and after. was is empty
// when the device was made; ended says that the write ended all the device's sessions,
// keyReplaced that it is an enrollment's that replaced its keys, and cloned that it notes the first
// sign of two copies of its key.
func WhatOfDevice(was, now Status, ended, keyReplaced, cloned bool) What {
	switch {
	case keyReplaced:
		return WhatReplaceKey
	case was == "":
		return WhatCreate
	case was != now && now == StatusDisabled:
		return WhatDisable
	case was != now && now == StatusQuarantined:
		return WhatQuarantine
	case was == StatusPending && now == StatusActive:
		return WhatApprove
	case was != now && now == StatusActive:
		return WhatEnable
	case ended:
		return WhatRevoke
	case cloned:
		return WhatClone
	}
	return WhatUpdate
}

// WhatOfPool names the write that turned the pool old (nil: there was none) into next.
func WhatOfPool(old, next *Pool) What {
	switch {
	case old == nil:
		return WhatCreate
	case bytes.Equal(old.Anchor, next.Anchor):
		return WhatUpdate
	case len(next.Successions) == 0:
		return WhatRevokeAnchor
	}
	return WhatRotateAnchor
}

// WhatOfSession names the write that turned the session old into next, made by the actor
// by. It is "" if nothing changed: then nothing is written and nothing recorded. inHistory
// says that the record stays for good in its device's history (Record.Prev); otherwise it is
// traffic.
func WhatOfSession(by Actor, old, next *Session) (what What, inHistory bool) {
	switch {
	case next.Revoked && !old.Revoked:
		return WhatRevoke, !by.IsDevice()
	case next.Generation != old.Generation || !bytes.Equal(next.Handle, old.Handle) || !bytes.Equal(next.Requests, old.Requests):
		return WhatRefresh, false
	case !next.equal(old):
		return WhatUpdate, false
	}
	return "", false
}

// WhatOfLogin names the login that began s.
func WhatOfLogin(s *Session) What {
	if s.Cloned {
		return WhatClone
	}
	return WhatLogin
}

// KeepTraffic is how long the journal keeps a record of traffic at least. A follower, such as
// an audit sink, may be down for a week and misses nothing; and devices cannot fill the
// store, because older traffic is deleted.
const KeepTraffic = 7 * 24 * time.Hour

// Traffic reports whether r records what devices cause all day: a login, a refresh, the
// end of a session by its own device, a counted try, summed refusals. Such records are
// deleted some time after KeepTraffic; all others stay.
func (r *Record) Traffic() bool {
	switch r.Kind {
	case RecordSession:
		return r.What != WhatRevoke || r.By.Actor.IsDevice()
	case RecordTry, RecordRefusal:
		return true
	}
	return false
}

// Device is the device that a record of kind device, session or connection is about. It is zero for
// records of other kinds.
func (r *Record) Device() ident.Device {
	if r.Kind != RecordDevice && r.Kind != RecordSession && r.Kind != RecordConnection {
		return ident.Device{}
	}
	name, err := ident.ParseName(r.Subject)
	if err != nil {
		return ident.Device{}
	}
	return ident.Device{Pool: r.Pool, Name: name}
}

// An Event is something that happened once or several times and changed nothing that is
// stored: refused messages, summed up, or what an operator did with connections.
type Event struct {
	Kind    RecordKind // RecordRefusal, which empty stands for, or RecordConnection
	Pool    ident.Pool // zero: none is known
	Subject string     // who is concerned, such as the device that was claimed; at most MaxSubject bytes, may be empty
	What    What       // such as the code that was answered: 1 to 32 of [a-z0-9-]
	Count   uint32     // at least 1
}

// Bounds on what a record holds, chosen arbitrarily.
const (
	MaxActor   = 192  // bytes: a device's full name fits
	MaxRequest = 64   // bytes
	MaxReason  = 256  // bytes
	MaxSubject = 128  // bytes, so the longest name of any row
	MaxEvents  = 1000 // in one Append
)

// Journal is the one record of all that was written, which audit, caches, other
// replicas, live revocation and webhooks follow.
//
//   - Every row that a writing call of the store creates, changes or deletes has a
//     record, appended in the transaction that writes the row: there is no write without
//     its record, and no record without its write. A call that fails leaves none.
//   - The record of a device's change says what WhatOfDevice says of it, and that of a
//     session's what WhatOfSession says. A change of a session that changes nothing is no write.
//   - The deletion of a pool has one record, which stands for all that was in the pool.
//   - Housekeeping (rows past their end, indexes) writes no records: it changes nothing
//     that a reader of the store could still see.
//   - Seqs are dense and in the order of the commits. What a reader has seen of the
//     journal never changes, and nothing is ever put in before it: a reader that goes
//     on behind the last Seq that it has seen misses nothing and sees nothing twice,
//     whenever it comes and however far it fell behind.
//   - Records of traffic (Record.Traffic) may go when they are older than KeepTraffic.
//     A Seq that is missing in what Since gives was such a record, and nothing else.
type Journal interface {
	// Since gives up to limit (1 to MaxList) records with a Seq above after, in order. None
	// and no error: there is no record left above after, for now. Whatever is read by the
	// same handle from then on is as new as these records at least.
	Since(ctx context.Context, after uint64, limit int) ([]Record, error)
	// Last gives the Seq of the newest record, 0 when there has been none.
	Last(ctx context.Context) (uint64, error)
	// Newest gives that number and what the record comes to: a sum that another record under
	// the same number, in an older copy of the store that went on otherwise, does not have. 0 without a record.
	Newest(ctx context.Context) (last, sum uint64, err error)
	// Await returns when there has been a record above after, or when ctx ends, with its
	// error. It tells of this process's commits at once, of other replicas' within a second.
	Await(ctx context.Context, after uint64) error
	// History gives up to limit (1 to MaxList) records of one device, newest first, with a
	// Seq below before (0: from the newest): each change of it, its deletion and what
	// came before if the name was used again, each of its sessions that somebody ended,
	// what operators did with its connections while it was there, and of its last sessions
	// the logins and, while the journal has them, the ends by the device itself.
	// ErrNotFound: no device had that name. A page costs as many reads as there are newer
	// records of changes and of what others did: no device can make those more.
	History(ctx context.Context, id ident.Device, before uint64, limit int) ([]Record, error)
	// Append records events that are no writes of the store, as CheckEvents wants them, as records
	// of their kind: all of them or, with an error, none.
	Append(ctx context.Context, by By, events []Event) error
}

// Validate checks that by names who writes, and that its texts are printable and within
// their bounds.
func (by By) Validate() error {
	if by.Actor == "" {
		return fmt.Errorf("%w: nobody is named as who writes this", ErrInvalid)
	}
	if len(by.Actor) > MaxActor || !readable(string(by.Actor)) {
		return fmt.Errorf("%w: who writes is not at most %d bytes of printable text", ErrInvalid, MaxActor)
	}
	if len(by.Request) > MaxRequest || !readable(by.Request) {
		return fmt.Errorf("%w: a request's id is not at most %d bytes of printable text", ErrInvalid, MaxRequest)
	}
	if len(by.Reason) > MaxReason || !readable(by.Reason) {
		return fmt.Errorf("%w: a reason is at most %d bytes of printable text on one line", ErrInvalid, MaxReason)
	}
	return nil
}

// CheckEvents checks what one Append is to record: how many, and each.
func CheckEvents(events []Event) error {
	if len(events) == 0 || len(events) > MaxEvents {
		return fmt.Errorf("%w: %d events, want 1 to %d", ErrInvalid, len(events), MaxEvents)
	}
	for i := range events {
		if err := events[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}

// Validate checks an event's bounds.
func (e *Event) Validate() error {
	if len(e.Subject) > MaxSubject || !readable(e.Subject) {
		return fmt.Errorf("%w: an event's subject is not at most %d bytes of printable text", ErrInvalid, MaxSubject)
	}
	if e.Kind != "" && e.Kind != RecordRefusal && e.Kind != RecordConnection {
		return fmt.Errorf("%w: an event of kind %q", ErrInvalid, e.Kind)
	}
	if e.Count == 0 {
		return fmt.Errorf("%w: an event that happened no time", ErrInvalid)
	}
	if len(e.What) > 32 {
		return fmt.Errorf("%w: event %q", ErrInvalid, e.What)
	}
	return checkLabel("", "event", string(e.What))
}

// readable reports whether s is UTF-8 that a terminal shows as it is.
func readable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return readableText(s[i:])
		}
	}
	return true
}

func readableText(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

package broker

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// A Session is what a login leaves behind: the family of its refresh tokens.
type Session struct {
	ID      ident.UUID // the exchange that began it; UUIDv7
	Device  ident.Device
	Subject ident.UUID
	Client  string
	// ClientSince is when its client was made: of one that is made again by that name it is no session.
	ClientSince time.Time
	Created     time.Time
	Expires     time.Time // zero: no refresh token was given
	Revoked     bool
	// DeviceRev is the Rev of the device when it was proved.
	DeviceRev uint64
	// Last is the session that the device had before, as it said; zero: none. Lost: whoever
	// had that one or an older one has logged in since, and did not have this one. Cloned: its
	// login showed that two copies of the device's key are in use. See Login.Lineage.
	Last   ident.UUID
	Lost   bool
	Cloned bool
	// From is the address that its login came from, as the broker saw it; "": it is not known.
	From string
	// The refresh token now valid is number Generation; Handle is its SHA-256,
	// Previous that of the one before. Requests are the first RequestMark bytes of the
	// transcripts of the last MaxRequests refreshes that were granted, newest first.
	Generation uint32
	Handle     []byte
	Previous   []byte
	Rotated    time.Time
	Requests   []byte
}

// What a session remembers of its refreshes: a day of them, if tokens live an hour
// and are renewed half-way.
const (
	RequestMark = 8 // bytes
	MaxRequests = 48
)

// MaxAlike is how many sessions with ids that begin alike SessionsLike looks at. Of
// the logins of one millisecond, one in 4096 begins as another.
const MaxAlike = 64

// MaxKeptSessions is how many of a device's sessions, of all clients together, a store
// keeps. KeepExchange is how long a store knows that an exchange is spent although its session is
// gone: several times as long as it may be answered.
const (
	MaxKeptSessions = 100
	KeepExchange    = 10 * time.Minute
)

// Ended reports whether s was ended, by itself or with all of its device d's. No clock
// has a part in it: one that was ahead would end what begins later, too.
func (s *Session) Ended(d *Device) bool {
	return s.Revoked || s.DeviceRev < d.SessionsRev
}

// Live reports whether s may still bring its device d anything at the time now: it was not
// ended, and its refresh token is valid or, if it has none, its access token may be.
func (s *Session) Live(d *Device, now time.Time) bool {
	end := s.Expires
	if end.IsZero() {
		end = s.Created.Add(MaxAccessLife)
	}
	return s.Subject == d.Subject && !s.Ended(d) && now.Before(end)
}

// A SessionCount is how many sessions were found, of how many devices.
type SessionCount struct {
	Sessions, Devices int
	More              bool // there may be more: it was counted no further than MaxCounted, or not every session was looked at
}

// MaxCounted is how many sessions are counted at most.
const MaxCounted = 1000

// equal reports whether nothing of s and o differs.
func (s *Session) equal(o *Session) bool {
	return s.ID == o.ID && s.Device == o.Device && s.Subject == o.Subject && s.Client == o.Client && s.ClientSince.Equal(o.ClientSince) && s.Revoked == o.Revoked &&
		s.DeviceRev == o.DeviceRev && s.Last == o.Last && s.Lost == o.Lost && s.Cloned == o.Cloned && s.From == o.From && s.Generation == o.Generation && s.Created.Equal(o.Created) && s.Expires.Equal(o.Expires) &&
		s.Rotated.Equal(o.Rotated) && bytes.Equal(s.Handle, o.Handle) && bytes.Equal(s.Previous, o.Previous) && bytes.Equal(s.Requests, o.Requests)
}

// Becomes refuses a change of what never changes: a session's id, device and subject, and
// that it has ended.
func (s *Session) Becomes(next *Session) error {
	if s.Revoked && !next.Revoked {
		return fmt.Errorf("%w: a session that has ended stays so", ErrInvalid)
	}
	if next.ID != s.ID || next.Device != s.Device || next.Subject != s.Subject {
		return fmt.Errorf("%w: a session's id, device and subject never change", ErrInvalid)
	}
	return nil
}

// A Login is what a successful authentication writes.
type Login struct {
	Session Session
	// Enroll is set when the exchange was an enrollment.
	Enroll *Enrollment
	// MaxSessions is how many sessions the device may have with the session's client, this
	// one included: the oldest end. 0: as many as the store keeps.
	MaxSessions int
	// Seen is the journal's last record (Journal.Last) when the exchange began, before its
	// first challenge was made; 0: not known. Clones is what the pool does if the login shows
	// that two copies of the device's key are in use.
	Seen uint64
	// SeenSum is what that record came to (Journal.Newest). When an older copy of the store is
	// put back its number is another record's, or none's, and says nothing of the sessions there are.
	SeenSum uint64
	Clones  Clones
}

// Validate checks what a store needs to hold of l before it looks at what it has.
func (l *Login) Validate() error {
	if l.Session.ID.IsZero() || l.Session.Device.IsZero() {
		return fmt.Errorf("%w: a login names its exchange and its device", ErrInvalid)
	}
	if l.Enroll == nil {
		return nil
	}
	come := &l.Enroll.Device
	if come.ID != l.Session.Device {
		return fmt.Errorf("%w: login of %s enrolls %s", ErrInvalid, l.Session.Device, come.ID)
	}
	if len(come.PublicKeys()) == 0 {
		return fmt.Errorf("%w: an enrollment brings a key", ErrInvalid)
	}
	return come.Validate()
}

// Recorded is what RecordLogin found a device to be. It is no more than that: reading
// the whole device once more would cost every login its decoding.
type Recorded struct {
	Status      Status // "" when the device was not reached
	Subject     ident.UUID
	DeviceRev   uint64 // of the session as it was written: an enrollment's rests on what it made of the device
	KeyReplaced bool   // written: the enrollment gave the device another key, and what the old one began is over
	// Lineage is what the login told of those before it, and was written.
	Lineage
}

// Allows reports why no session x may begin of the device that was found: ErrInactive
// unless it is active; ErrNotFound when x is of another that had its name before.
func (r *Recorded) Allows(x *Session) error {
	switch {
	case r.Status != StatusActive:
		return fmt.Errorf("device is %s: %w", r.Status, ErrInactive)
	case !x.Subject.IsZero() && x.Subject != r.Subject:
		return fmt.Errorf("device with subject %s: %w", x.Subject, ErrNotFound)
	}
	return nil
}

// Sessions is the store of sessions, one for each login.
type Sessions interface {
	// RecordLogin writes a successful authentication, once: ErrUsed when its
	// exchange was recorded before; ErrInactive when the device is not active at the
	// moment of the write. Rows are keyed in time order, so writing them is cheap.
	//
	// With Enroll it first does to the device and to the token's uses what Admit says,
	// all in the same transaction. A device that comes in pending is written, without a
	// session, and reported by ErrInactive. A session's subject is then its device's,
	// whatever it says itself; and so it is when it says none.
	// It returns what the device is then, with ErrInactive too.
	//
	// A login that was Overtaken is refused: ErrOvertaken. What its Lineage says is Lost becomes so. If it shows
	// two copies of the device's key, the session is Cloned and the device noted as such if it is not
	// yet (Device.ClonedSince) or, if Clones says so, the device is quarantined and gets none, which is
	// written and reported by ErrInactive. The records of that have the Evidence as their reason.
	//
	// A session is kept until no access token of it can be valid any more. What a login
	// leaves no room for, by MaxSessions and MaxKeptSessions, ends in its transaction, the
	// first recorded first; what is beyond MaxKeptSessions is dropped, too.
	RecordLogin(ctx context.Context, by By, l Login) (Recorded, error)
	// Session gives one session.
	Session(ctx context.Context, id ident.UUID) (Session, error)
	// UpdateSession applies change to the stored session, with its device as it is in
	// the same transaction; change's error ends it, and so does what Becomes says. What it
	// does to the device is not kept. change must not call the store.
	UpdateSession(ctx context.Context, by By, id ident.UUID, change func(*Session, *Device) error) (Session, error)
	// SessionsLike gives those sessions of a device whose ids begin with prefix, in the
	// order of their ids, as Session would: hardly ever more than one. ErrNotFound when
	// there is none, and when more than MaxAlike sessions of all devices begin so: by
	// chance that does not happen, and a read stays cheap.
	SessionsLike(ctx context.Context, id ident.Device, prefix ident.UUIDPrefix) ([]Session, error)
	// CountSessions counts the sessions of a pool's client that are Live at the time now, up to
	// MaxCounted of them. It looks at the newest sessions of all clients, and may give up, with More,
	// when there are so many that a request would wait for it.
	CountSessions(ctx context.Context, pool ident.Pool, client string, now time.Time) (SessionCount, error)
	// ListSessions gives a device's sessions, newest first, at most 100.
	ListSessions(ctx context.Context, id ident.Device) ([]Session, error)
}

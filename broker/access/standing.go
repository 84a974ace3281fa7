package access

import (
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// A Standing is what its holder may do now, and the session that this rests on. It can be
// kept, and checked later: see Holds.
type Standing struct {
	Device      ident.Device
	Permissions topic.Permissions
	Expires     time.Time  // of the access token
	Subject     ident.UUID // of the device when the session began
	Session     ident.UUID
	DeviceRev   uint64    // as in broker.Session
	Began       time.Time // Created in broker.Session
	Client      string    // of the session
	Key         string    // the signing key of the token by which it was admitted; empty: by a login on its connection
	Password    bool      // that token was an MQTT password
}

// Of gives the standing on session s of an access token that expires at until.
func Of(s *broker.Session, until time.Time) Standing {
	return Standing{
		Device: s.Device, Permissions: Permissions(s.Device), Expires: until,
		Subject: s.Subject, Session: s.ID, DeviceRev: s.DeviceRev, Began: s.Created, Client: s.Client,
	}
}

// Permissions is what a device may do on MQTT. Grants, tokens and connections all take it
// from here.
func Permissions(id ident.Device) topic.Permissions { return topic.Own(id) }

// Errors of Check.
var (
	// ErrEnded: the session was ended, by itself or with all of its device's.
	ErrEnded = errors.New("the session was ended")
	// ErrOther: the session is not this device's: another has it, or one that had this name before.
	ErrOther = errors.New("the session is another device's")
)

// Check is the rule: a session counts while its device is active, is still the one that
// began it, and the session was not ended. Errors wrap broker.ErrInactive, ErrOther or
// ErrEnded.
func Check(d *broker.Device, s *broker.Session) error {
	switch {
	case d.Status != broker.StatusActive:
		return fmt.Errorf("device is %s: %w", d.Status, broker.ErrInactive)
	case s.Device != d.ID || s.Subject != d.Subject:
		return ErrOther
	case s.Ended(d):
		return ErrEnded
	}
	return nil
}

// CheckClient reports whether s is a session of c, and not of one that had its name before:
// ErrEnded.
func CheckClient(c *broker.Client, s *broker.Session) error {
	if s.Client != c.ID || !s.ClientSince.Equal(c.Created) {
		return fmt.Errorf("%w: client %q was made after it, by a name that was another's", ErrEnded, c.ID)
	}
	return nil
}

// Holds reports whether st still counts when d and s are what is stored of its device and
// session. With s nil it goes by what st itself knows of the session, which is everything
// except whether this one session was ended by itself.
func (st *Standing) Holds(d *broker.Device, s *broker.Session) bool { return st.check(d, s) == nil }

func (st *Standing) check(d *broker.Device, s *broker.Session) error {
	own := broker.Session{ID: st.Session, Device: st.Device, Subject: st.Subject, Created: st.Began, DeviceRev: st.DeviceRev}
	if err := Check(d, &own); err != nil || s == nil {
		return err
	}
	if s.ID != st.Session {
		return ErrOther
	}
	return Check(d, s)
}

// renewed gives st with the permissions of today, if it holds.
func (st Standing) renewed(d *broker.Device, s *broker.Session) (Standing, error) {
	if err := st.check(d, s); err != nil {
		return Standing{}, err
	}
	st.Permissions = Permissions(d.ID)
	return st, nil
}

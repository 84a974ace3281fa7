package access

import (
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// A Standing is what its holder may do now, and what that rests on: a session of a
// device. It can be kept, and asked later whether it still holds.
type Standing struct {
	Device      ident.Device
	Permissions topic.Permissions
	Expires     time.Time  // of the access token
	Subject     ident.UUID // the device's when the session began
	Session     ident.UUID
	DeviceRev   uint64    // as broker.Session's
	Began       time.Time // as broker.Session's Created
}

// Of gives the standing of session s until a time, with what its device may do
// while no role says otherwise.
func Of(s *broker.Session, until time.Time) Standing {
	return Standing{
		Device: s.Device, Permissions: Permissions(s.Device), Expires: until,
		Subject: s.Subject, Session: s.ID, DeviceRev: s.DeviceRev, Began: s.Created,
	}
}

// Permissions is what a device may do on MQTT: its grant, its tokens and its
// connections all say this.
func Permissions(id ident.Device) topic.Permissions { return topic.Own(id) }

// Errors of Check.
var (
	// ErrEnded: the session was ended, by itself or with all of its device's.
	ErrEnded = errors.New("the session was ended")
	// ErrOther: the session is not this device's: another has it, or one that had this name before.
	ErrOther = errors.New("the session is another device's")
)

// Check is the rule: a session counts while its device is active, is the one that
// began it, and has not ended it. Errors are broker.ErrInactive, ErrOther and ErrEnded.
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

// Holds reports whether st still counts while the store says d and s of its device
// and session. Without s, nil, it goes by what st itself says of the session, which
// tells all but whether that one alone was ended.
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

// renewed gives st with what its device may do today, if it holds.
func (st Standing) renewed(d *broker.Device, s *broker.Session) (Standing, error) {
	if err := st.check(d, s); err != nil {
		return Standing{}, err
	}
	st.Permissions = Permissions(d.ID)
	return st, nil
}

package broker

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/signetd/signet/protocol/ident"
)

// Clones is what a pool does about a device when two copies of its key are in use.
type Clones string

// What it can do. Which of the copies is the device nobody can tell from afar.
const (
	// ClonesNote logs, counts and records it. The newest login wins, as always with one
	// session a device.
	ClonesNote Clones = "note"
	// ClonesQuarantine does that, and grants nothing more to either copy until an operator
	// enables the device.
	ClonesQuarantine Clones = "quarantine"
)

// AllClones gives what a pool can do.
func AllClones() []Clones { return []Clones{ClonesNote, ClonesQuarantine} }

// ReasonCloned is the reason in the journal of what the broker does to such a device.
const ReasonCloned = "two copies of its key are in use"

// A Lineage is what a login tells of those before it.
type Lineage struct {
	// Lost are sessions that the device does not have, although they began after the one that
	// it had last.
	Lost []ident.UUID
	// Cloned: two copies of the device's key are in use. Other is then the session that
	// the other copy began last, and OtherFrom where that login came from.
	Cloned    bool
	Other     ident.UUID
	OtherFrom string
}

// Overtaken reports whether a session of its device and client that the journal has as record
// number recorded may have begun while the exchange of l was under way. Such a login is
// refused. Whoever holds an answer back on the way could otherwise end with it the session that the device
// began since; and what the login says of the device's last session was said before.
//
// Only where a device has one session at a time is there an order to keep.
func (l *Login) Overtaken(recorded uint64) bool { return l.ordered() && recorded > l.Seen }

// PutBack reports whether an older copy of the store was put back while the exchange of l was
// under way, with sum what the record comes to now that l has Seen. Such a login is refused, and
// the device begins anew.
func (l *Login) PutBack(sum uint64) bool { return l.ordered() && l.SeenSum != 0 && l.SeenSum != sum }

// ordered reports whether logins of the device with that client follow each other.
func (l *Login) ordered() bool { return l.MaxSessions == 1 && l.Seen > 0 }

// Lineage compares l with the sessions before it: those of its device and client that were
// recorded, the newest first, without any that ended with all others of the device.
//
// A device keeps each session durably before it uses it, and names the last one that it has when it
// logs in again. So each session names the one that it follows, and a device goes from one to the
// next. It falls behind if it loses an answer or its power, or its folder is put back to
// an older state: then it names an older session again, and never comes to those that it
// skipped, which are Lost. It may also lose all, and name none. Two copies are told by what no single device does:
//
//   - One names a session that is Lost: while it had that, somebody went on from an older one.
//   - Somebody who names none has begun a session, and the device goes on from where it was:
//     its folder was away and came back. That it does so once, somebody may have put the
//     folder back; the second time there are two.
//
// Nobody without the device's key can bring this about, or keep it from being seen: what is named is under the
// device's signature, together with a challenge that was made after the newest session before was recorded (Overtaken).
func (l *Login) Lineage(before []Session) Lineage {
	last := slices.IndexFunc(before, func(s Session) bool { return s.ID == l.Session.Last })
	if !l.ordered() || l.Session.Last.IsZero() || last <= 0 {
		return Lineage{}
	}
	var found Lineage
	skipped := before[:last]
	for i := range skipped {
		if !skipped[i].Lost {
			found.Lost = append(found.Lost, skipped[i].ID)
		}
	}
	if before[last].Lost || rooted(skipped) && cameBack(before[last:]) {
		found.Cloned, found.Other, found.OtherFrom = true, before[0].ID, before[0].From
	}
	return found
}

// rooted reports whether one of the sessions followed none.
func rooted(sessions []Session) bool {
	return slices.ContainsFunc(sessions, func(s Session) bool { return s.Last.IsZero() })
}

// cameBack reports whether whoever has the first of the sessions, which are in order, went on
// before as if one that followed none had not been.
func cameBack(sessions []Session) bool {
	for {
		next := slices.IndexFunc(sessions, func(s Session) bool { return s.ID == sessions[0].Last })
		if next <= 0 {
			return false
		}
		if rooted(sessions[1:next]) {
			return true
		}
		sessions = sessions[next:]
	}
}

// Evidence says in words what l, which is Cloned, showed: where the two copies are.
func (l *Login) Evidence(found *Lineage) string {
	from := func(address string) string { return cmp.Or(address, "an unknown address") }
	return fmt.Sprintf("%s: a login from %s, the other's last from %s (session %s)", ReasonCloned, from(l.Session.From), from(found.OtherFrom), found.Other)
}

// NoteClone notes on d that l showed two copies of its key, and reports whether that is the first
// that is known of them. Whoever has the key can log in as often as he likes, and what comes
// first must stay: a device is noted once, until an operator deals with it or it gets another key.
func (l *Login) NoteClone(d *Device) (first bool) {
	if first = d.ClonedSince.IsZero(); first {
		d.Updated, d.ClonedSince = l.Session.Created, l.Session.Created
	}
	return first
}

// Quarantine makes of d what the pool wants of a device of whose key l shows two copies.
func (l *Login) Quarantine(d *Device) {
	d.Status, d.Updated = StatusQuarantined, l.Session.Created
	d.EndSessions(l.Session.Created)
	d.ClonedSince = l.Session.Created
}

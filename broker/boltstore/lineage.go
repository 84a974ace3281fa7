package boltstore

import (
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
)

// lineage finds what the login tells of those before it: see broker.Login. rows are the
// device's sessions, the newest first, and device is its row. It writes nothing. As long as
// logins follow each other it looks at no session but by its number.
func (l *login) lineage(c *change, rows []sessionRow, device []byte) (broker.Lineage, error) {
	if l.PutBack(sumOf(c.tx, l.Seen)) {
		return broker.Lineage{}, fmt.Errorf("record %d is not what it was: an older copy of the store was put back: %w", l.Seen, broker.ErrOvertaken)
	}
	for i := range rows {
		if !l.Overtaken(rows[i].login) {
			break
		}
		s, err := decodeSession(rows[i].id, c.rowOf(&rows[i]))
		if err != nil {
			return broker.Lineage{}, err
		}
		if s.Client == l.Session.Client {
			return broker.Lineage{}, fmt.Errorf("session %s: %w", s.ID, broker.ErrOvertaken)
		}
	}
	if last := slices.IndexFunc(rows, func(r sessionRow) bool { return r.id == l.Session.Last }); last <= 0 {
		return broker.Lineage{}, nil
	}
	d, err := decodeDevice(device)
	if err != nil {
		return broker.Lineage{}, err
	}
	before := make([]broker.Session, 0, len(rows))
	for i := range rows {
		s, err := decodeSession(rows[i].id, c.rowOf(&rows[i]))
		if err != nil {
			return broker.Lineage{}, err
		}
		if s.Client == l.Session.Client && s.DeviceRev >= d.SessionsRev {
			before = append(before, s)
		}
	}
	return l.Lineage(before), nil
}

// lose marks the sessions that the login found lost.
func (l *login) lose(c *change) error {
	for _, id := range l.found.Lost {
		row := c.get(bucketSessions, id[:])
		if row == nil {
			continue
		}
		old, err := decodeSession(id, row)
		if err != nil {
			return err
		}
		next := old
		next.Lost = true
		if _, err := changeSession(c, &old, &next); err != nil {
			return err
		}
	}
	return nil
}

// note writes on the device what its being cloned means for it: to be quarantined, if the pool
// wants that, and otherwise, once, that it was. row is the device's.
func (l *login) note(c *change, pool *bolt.Bucket, row []byte) error {
	d, err := decodeDevice(row)
	if err != nil {
		return err
	}
	keys := d.PublicKeys()
	if l.Clones == broker.ClonesQuarantine {
		l.Quarantine(&d)
	} else if !l.NoteClone(&d) {
		return nil
	}
	d.Rev++
	by := c.by
	c.by = broker.By{Actor: broker.ActorBroker, Request: by.Request, Reason: l.Evidence(&l.found.Lineage)}
	defer func() { c.by = by }()
	r, err := newRow(&d)
	if err != nil {
		return err
	}
	r.cloned = true
	l.found.Status = d.Status
	return r.put(c, pool, row, keys)
}

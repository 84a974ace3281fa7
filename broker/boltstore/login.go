package boltstore

import (
	"context"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// A login is a broker.Login on its way through the writer.
type login struct {
	broker.Login
	row   []byte          // the session, encoded ahead; nil when its subject is yet to be found
	found broker.Recorded // the device as the transaction left it
	// inactive: the device was written, to wait for approval or to be quarantined, without a session.
	inactive bool
}

// RecordLogin writes a successful authentication, once: see broker.Sessions.
func (s *Store) RecordLogin(ctx context.Context, by broker.By, l broker.Login) (broker.Recorded, error) {
	w := &login{Login: l}
	err := w.check()
	if err == nil {
		err = s.submit(ctx, &request{do: w.record, by: by})
	}
	switch {
	case err != nil:
		w.found.KeyReplaced, w.found.Lineage = false, broker.Lineage{} // nothing was written
	case w.inactive:
		err = fmt.Errorf("device is %s: %w", w.found.Status, broker.ErrInactive)
	default:
		return w.found, nil
	}
	return w.found, fmt.Errorf("record login of %s: %w", l.Session.Device, err)
}

// check finds what is wrong before the writer is bothered, and encodes the session if it can.
func (l *login) check() error {
	if err := l.Validate(); err != nil {
		return err
	}
	if l.Enroll != nil {
		if _, err := encodeDevice(&l.Enroll.Device); err != nil {
			return err
		}
	}
	row, err := encodeSession(&l.Session)
	if l.Enroll == nil && !l.Session.Subject.IsZero() {
		l.row = row
	}
	return err
}

// record is the transaction. Every check comes before the first write.
func (l *login) record(c *change) error {
	l.found, l.inactive = broker.Recorded{}, false
	x := &l.Session
	if c.get(bucketSessions, x.ID[:]) != nil || c.get(bucketSpent, x.ID[:]) != nil {
		return fmt.Errorf("exchange %s: %w", x.ID, broker.ErrUsed)
	}
	pool, err := inPool(c.tx, x.Device.Pool)
	if err != nil {
		return err
	}
	if l.Enroll != nil {
		if err := l.enroll(c, pool); err != nil || l.inactive {
			return err
		}
		x = l.with(l.found.Subject, l.found.DeviceRev)
	}
	v := pool.Bucket([]byte(poolDevices)).Get([]byte(x.Device.Name.String()))
	if v == nil {
		return fmt.Errorf("device: %w", broker.ErrNotFound)
	}
	if l.found.Status, l.found.Subject, err = deviceHead(v); err != nil {
		return err
	}
	l.found.DeviceRev = x.DeviceRev
	if err := l.found.Allows(x); err != nil {
		return err
	}
	older, err := c.sessionRows(l.found.Subject)
	if err != nil {
		return err
	}
	if l.found.Lineage, err = l.lineage(c, older, v); err != nil {
		return err
	}
	if l.found.Cloned {
		if err := l.note(c, pool, v); err != nil {
			return err
		}
		if l.inactive = l.found.Status != broker.StatusActive; l.inactive {
			return l.spend(c)
		}
	}
	row := l.row
	if row == nil || l.found.Cloned {
		x = l.with(l.found.Subject, x.DeviceRev)
		x.Cloned = l.found.Cloned
		if row, err = encodeSession(x); err != nil {
			return err
		}
	}
	by := c.by
	if x.Cloned {
		c.by.Reason = l.Evidence(&l.found.Lineage)
	}
	added, err := addSession(c, x, l.found.Subject, row)
	c.by = by
	if err != nil {
		return err
	}
	left, err := l.makeRoom(c, x, older)
	if err != nil {
		return err
	}
	c.known.learn(l.found.Subject, slices.Insert(left, 0, added))
	return l.lose(c)
}

// with is the session of the device as the transaction found it.
func (l *login) with(subject ident.UUID, rev uint64) *broker.Session {
	x := l.Session
	x.Subject, x.DeviceRev = subject, rev
	return &x
}

func addSession(c *change, x *broker.Session, subject ident.UUID, row []byte) (sessionRow, error) {
	b := c.tx.Bucket([]byte(bucketSessions))
	b.FillPercent = appendFill
	seq := c.record(entry{subject: subject, Record: broker.Record{Kind: broker.RecordSession, Pool: x.Device.Pool,
		Subject: x.Device.Name.String(), What: broker.WhatOfLogin(x), Session: x.ID}})
	c.logins++
	sessionSeqs{login: seq}.set(row)
	return sessionRow{id: x.ID, login: seq}, c.put(b, x.ID[:], row)
}

// enroll does what broker.Admit decides of the device and the token that are there.
// It writes only when the login will succeed or the device comes in pending.
func (l *login) enroll(c *change, pool *bolt.Bucket) error {
	old, row, err := storedDevice(pool, l.Session.Device.Name)
	if err != nil {
		return err
	}
	document, token, err := l.token(c.tx)
	if err != nil {
		return err
	}
	used := 0
	if token != nil {
		used = token.Used
	}
	a, err := broker.Admit(old, &l.Login, token, used)
	l.inactive = a.Pending()
	l.found = broker.Recorded{Status: a.Device.Status, Subject: a.Device.Subject, DeviceRev: a.Device.Rev, KeyReplaced: a.KeyReplaced}
	if err != nil {
		return err
	}
	if a.Changed {
		var before []broker.KeyID
		if old != nil {
			before = old.PublicKeys()
		}
		if err := writeDevice(c, pool, row, before, &a.Device, a.KeyReplaced); err != nil {
			return err
		}
	}
	if a.CostsUse {
		if err := c.countUse(document); err != nil {
			return err
		}
	}
	if !l.inactive {
		return nil
	}
	return l.spend(c)
}

// spend notes that the exchange is spent, although it has no session.
func (l *login) spend(c *change) error {
	return c.put(c.tx.Bucket([]byte(bucketSpent)), l.Session.ID[:], untilRow(l.Session.Created.Add(keepCreated)))
}

// token gives the enrollment token that the login names, nil if it names none or there is none.
func (l *login) token(tx *bolt.Tx) (*broker.Document, *broker.EnrollToken, error) {
	if l.Enroll.TokenID == "" {
		return nil, nil, nil
	}
	d, err := findDocument(tx, l.Session.Device.Pool, broker.EnrollTokenKind().Name, l.Enroll.TokenID)
	if d == nil || err != nil {
		return nil, nil, err
	}
	t, err := broker.EnrollTokenKind().Noun(*d)
	return d, &t, err
}

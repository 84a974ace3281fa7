package boltstore

import (
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// A login is a broker.Login on its way through the writer.
type login struct {
	broker.Login
	row   []byte          // the session, encoded ahead; nil when its subject is yet to be found
	rev   uint64          // of the device that an enrolment brings in
	found broker.Recorded // the device as the transaction left it
	// pending: the device was written, to wait for approval, without a session.
	pending bool
}

// RecordLogin implements broker.Sessions. A session without a subject gets its
// device's; with Enrol it always does.
func (s *Store) RecordLogin(ctx context.Context, by broker.By, l broker.Login) (broker.Recorded, error) {
	w := &login{Login: l}
	what := "record login of " + l.Session.Device.String()
	if err := w.check(); err != nil {
		return broker.Recorded{}, fmt.Errorf("%s: %w", what, err)
	}
	err := s.updateTraffic(ctx, what, w.record)
	if err == nil && w.pending {
		err = fmt.Errorf("%s: waits for approval: %w", what, broker.ErrInactive)
	}
	return w.found, err
}

// check finds what is wrong before the writer is bothered, and encodes the session if it can.
func (l *login) check() error {
	x := &l.Session
	if x.ID.IsZero() || x.Device.IsZero() {
		return fmt.Errorf("%w: a login names its exchange and its device", broker.ErrInvalid)
	}
	if l.Enrol != nil {
		e := &l.Enrol.Device
		if e.ID != x.Device {
			return fmt.Errorf("%w: login of %s enrols %s", broker.ErrInvalid, x.Device, e.ID)
		}
		if len(e.PublicKeys()) == 0 {
			return fmt.Errorf("%w: an enrolment brings a key", broker.ErrInvalid)
		}
		if _, err := encodeDevice(e); err != nil {
			return err
		}
	}
	row, err := encodeSession(x)
	if l.Enrol == nil && !x.Subject.IsZero() {
		l.row = row
	}
	return err
}

// record is the transaction. Every check comes before the first write.
func (l *login) record(c *change) error {
	l.found, l.pending = broker.Recorded{}, false
	x := &l.Session
	if c.tx.Bucket([]byte(bucketSessions)).Get(x.ID[:]) != nil || c.tx.Bucket([]byte(bucketSpent)).Get(x.ID[:]) != nil {
		return fmt.Errorf("exchange %s: %w", x.ID, broker.ErrUsed)
	}
	pool, err := inPool(c.tx, x.Device.Pool)
	if err != nil {
		return err
	}
	if l.Enrol != nil {
		if err := l.enrol(c, pool); err != nil || l.pending {
			return err
		}
	}
	v := pool.Bucket([]byte(poolDevices)).Get([]byte(x.Device.Name.String()))
	if v == nil {
		return fmt.Errorf("device: %w", broker.ErrNotFound)
	}
	status, subject, err := deviceHead(v)
	if err != nil {
		return err
	}
	l.found.Status, l.found.Subject = status, subject
	l.found.DeviceRev = x.DeviceRev
	row := l.row
	switch {
	case status != broker.StatusActive:
		return fmt.Errorf("device is %s: %w", status, broker.ErrInactive)
	case row != nil && subject != x.Subject:
		return fmt.Errorf("device with subject %s: %w", x.Subject, broker.ErrNotFound)
	case row == nil:
		bound := *x
		bound.Subject = subject
		if l.Enrol != nil {
			bound.DeviceRev, l.found.DeviceRev = l.rev, l.rev
		}
		if row, err = encodeSession(&bound); err != nil {
			return err
		}
	}
	return addSession(c, x.ID, subject, row)
}

func addSession(c *change, id, subject ident.UUID, row []byte) error {
	b := c.tx.Bucket([]byte(bucketSessions))
	b.FillPercent = appendFill
	c.fresh = append(append(c.fresh, subject[:]...), id[:]...)
	return c.put(b, id[:], row)
}

// enrol creates or finds the device and counts the token's use. It writes only
// when the login will succeed or the device comes in pending.
func (l *login) enrol(c *change, pool *bolt.Bucket) error {
	old, err := storedDevice(pool, l.Session.Device.Name)
	if err != nil {
		return err
	}
	var token *broker.EnrolToken
	// A device that is in with this key may have lost the answer: that costs no further use.
	if l.Enrol.TokenID != "" && !hasKeys(old, &l.Enrol.Device) {
		t, err := usableToken(c.tx, l.Session.Device.Pool, l.Enrol)
		if err != nil {
			return err
		}
		token = &t
	}
	d, changed, err := admit(old, l.Enrol, token, l.Session.Created)
	if err != nil {
		return err
	}
	l.rev = d.Rev
	l.found = broker.Recorded{Status: d.Status, Subject: d.Subject, KeyReplaced: changed && old != nil && len(old.Authenticators) > 0}
	if d.Status != broker.StatusActive && !changed {
		return fmt.Errorf("device is %s: %w", d.Status, broker.ErrInactive)
	}
	if changed {
		if err := writeDevice(c, pool, old, d); err != nil {
			return err
		}
	}
	if token != nil {
		token.Used++
		if err := putToken(c, token); err != nil {
			return err
		}
	}
	if d.Status == broker.StatusActive {
		return nil
	}
	l.pending = true
	return c.put(c.tx.Bucket([]byte(bucketSpent)), l.Session.ID[:], untilRow(l.Enrol.Now.Add(keepCreated)))
}

func usableToken(tx *bolt.Tx, pool ident.Pool, e *broker.Enrolment) (broker.EnrolToken, error) {
	t, err := tokenRows().get(tx, pool, e.TokenID)
	switch {
	case err != nil:
		return t, err
	case !t.Expires.IsZero() && !e.Now.Before(t.Expires):
		return t, fmt.Errorf("enrolment token %s: %w", t.ID, broker.ErrExpired)
	case t.Used >= t.Uses:
		return t, fmt.Errorf("enrolment token %s: all %d uses: %w", t.ID, t.Uses, broker.ErrExhausted)
	}
	return t, nil
}

func putToken(c *change, t *broker.EnrolToken) error {
	value, err := tokenRows().ready(t)
	if err != nil {
		return err
	}
	return tokenRows().put(c, t, value, false)
}

// storedDevice gives the device, nil if there is none.
func storedDevice(pool *bolt.Bucket, name ident.Name) (*broker.Device, error) {
	v := pool.Bucket([]byte(poolDevices)).Get([]byte(name.String()))
	if v == nil {
		return nil, nil
	}
	d, err := decodeDevice(v)
	return &d, err
}

// hasKeys reports whether old, nil if there is none, has every key of come.
func hasKeys(old, come *broker.Device) bool {
	if old == nil {
		return false
	}
	for _, id := range come.PublicKeys() {
		if !old.Has(id) {
			return false
		}
	}
	return true
}

// admit decides what an enrolment makes of the device that is there (nil: none).
// began is when the enrolment's session begins.
func admit(old *broker.Device, e *broker.Enrolment, token *broker.EnrolToken, began time.Time) (d *broker.Device, changed bool, err error) {
	come := e.Device
	if old == nil {
		if token == nil {
			return nil, false, fmt.Errorf("device: %w", broker.ErrNotFound)
		}
		come.Rev = 1
		return &come, true, nil
	}
	kept := *old
	if hasKeys(old, &come) || kept.Status == broker.StatusDisabled || kept.Status == broker.StatusQuarantined {
		return &kept, false, nil
	}
	if token == nil || len(old.Authenticators) > 0 && !token.Replace {
		return nil, false, fmt.Errorf("device %s: %w", old.ID, broker.ErrKeyBound)
	}
	kept.Authenticators = come.Authenticators
	kept.Rev++
	kept.Updated = e.Now
	if come.Status == broker.StatusPending {
		kept.Status = broker.StatusPending
	}
	if len(old.Authenticators) > 0 { // what the old key began ends here
		kept.SessionsRev = kept.Rev
		if end := began.Add(-1); end.After(kept.SessionsAfter) {
			kept.SessionsAfter = end
		}
	}
	return &kept, true, nil
}

package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// storedSession reads a session and its device. A session whose device is gone, or
// was made again since, is gone with it: broker.ErrNotFound.
func storedSession(tx *bolt.Tx, id ident.UUID) (broker.Session, broker.Device, error) {
	missing := fmt.Errorf("session %s: %w", id, broker.ErrNotFound)
	v := tx.Bucket([]byte(bucketSessions)).Get(id[:])
	if v == nil {
		return broker.Session{}, broker.Device{}, missing
	}
	x, err := decodeSession(id, v)
	if err != nil {
		return broker.Session{}, broker.Device{}, err
	}
	d, err := deviceRows().get(tx, x.Device.Pool, x.Device.Name.String())
	if errors.Is(err, broker.ErrNotFound) || err == nil && d.Subject != x.Subject {
		return broker.Session{}, broker.Device{}, missing
	}
	return x, d, err
}

// Session gives one session; broker.ErrNotFound.
func (s *Store) Session(ctx context.Context, id ident.UUID) (x broker.Session, err error) {
	err = s.view(ctx, "read session", func(tx *bolt.Tx) (err error) {
		x, _, err = storedSession(tx, id)
		return err
	})
	return x, err
}

// SessionsLike gives the sessions of a device whose ids begin with prefix: see
// broker.Sessions. Rows are keyed by id, so those that begin alike are neighbours.
func (s *Store) SessionsLike(ctx context.Context, id ident.Device, prefix ident.UUIDPrefix) (all []broker.Session, err error) {
	err = s.view(ctx, "find sessions", func(tx *bolt.Tx) (err error) {
		all, err = sessionsLike(tx, id, prefix)
		return err
	})
	return all, err
}

func sessionsLike(tx *bolt.Tx, id ident.Device, prefix ident.UUIDPrefix) (all []broker.Session, err error) {
	d, err := deviceRows().get(tx, id.Pool, id.Name.String())
	if err != nil {
		return nil, err
	}
	cur, rows := tx.Bucket([]byte(bucketSessions)).Cursor(), 0
	for k, v := cur.Seek(prefix[:]); bytes.HasPrefix(k, prefix[:]); k, v = cur.Next() {
		if rows++; rows > broker.MaxAlike {
			return nil, fmt.Errorf("session of %s: more than %d begin with %x: %w", id, broker.MaxAlike, prefix, broker.ErrNotFound)
		}
		if len(k) != len(ident.UUID{}) {
			return nil, fmt.Errorf("%w: session's id has %d bytes", ErrDamaged, len(k))
		}
		x, err := decodeSession(ident.UUID(k), v)
		if err != nil {
			return nil, err
		}
		if x.Subject == d.Subject { // not another's, nor of a device that had this name before
			all = append(all, x)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("session of %s that begins with %x: %w", id, prefix, broker.ErrNotFound)
	}
	return all, nil
}

// UpdateSession applies edit to a session and writes it: see broker.Sessions. edit may not
// give the session another id, device or subject.
func (s *Store) UpdateSession(ctx context.Context, by broker.By, id ident.UUID, edit func(*broker.Session, *broker.Device) error) (broker.Session, error) {
	var row []byte
	err := s.update(ctx, by, "update session", func(c *change) error {
		old, d, err := storedSession(c.tx, id)
		if err != nil {
			return err
		}
		x := old
		if err := edit(&x, &d); err != nil {
			return err
		}
		if err := old.Becomes(&x); err != nil {
			return err
		}
		row, err = changeSession(c, &old, &x)
		return err
	})
	if err != nil {
		return broker.Session{}, err
	}
	return decodeSession(id, row)
}

// changeSession writes x in the place of old, if it differs, and gives its row.
func changeSession(c *change, old, x *broker.Session) ([]byte, error) {
	was := c.get(bucketSessions, x.ID[:])
	what, inHistory := broker.WhatOfSession(c.by.Actor, old, x)
	if what == "" {
		return bytes.Clone(was), nil
	}
	row, err := encodeSession(x)
	if err != nil {
		return nil, err
	}
	if x.Revoked != old.Revoked {
		c.known.forget(x.Subject)
	}
	return row, replaceSession(c, x.Device, x.ID, was, bytes.Clone(row), what, inHistory)
}

// endSession is changeSession of one of a device that is revoked and nothing else, which
// needs no encoding: each login does it to the session before.
func endSession(c *change, device ident.Device, id ident.UUID, was []byte) error {
	row := bytes.Clone(was)
	flag(row, sessionRevoked)
	what, inHistory := broker.WhatOfSession(c.by.Actor, &broker.Session{}, &broker.Session{Revoked: true})
	return replaceSession(c, device, id, was, row, what, inHistory)
}

// replaceSession records what is done to a device's session and puts its row, which becomes
// the store's, in the place of the one that was there.
func replaceSession(c *change, device ident.Device, id ident.UUID, was, row []byte, what broker.What, inHistory bool) error {
	seqs, err := seqsOf(was)
	if err != nil {
		return err
	}
	e := entry{Record: broker.Record{Kind: broker.RecordSession, Pool: device.Pool, Subject: device.Name.String(),
		What: what, Before: digest(was), Session: id}}
	if inHistory {
		if err := recordInHistory(c, e); err != nil {
			return err
		}
	} else if seq := c.record(e); what == broker.WhatRevoke {
		seqs.ended = seq
	}
	seqs.set(row)
	return c.put(c.tx.Bucket([]byte(bucketSessions)), id[:], row)
}

// recordInHistory makes e the newest record of its device's history.
func recordInHistory(c *change, e entry) error {
	pool, err := inPool(c.tx, e.Pool)
	if err != nil {
		return err
	}
	devices, name := pool.Bucket([]byte(poolDevices)), []byte(e.Subject)
	e.Prev, _ = headOf(pool, name, pool.Bucket([]byte(poolDevices)).Get(name))
	device := bytes.Clone(devices.Get(name))
	setHead(device, c.record(e))
	return c.put(devices, name, device)
}

// A sessionRow is what a login has to know of one of its device's sessions that are stored.
type sessionRow struct {
	id    ident.UUID
	login uint64 // the Seq of its login
	over  bool   // it was revoked
}

// rowOf gives the row, nil if it is gone.
func (c *change) rowOf(r *sessionRow) []byte { return c.get(bucketSessions, r.id[:]) }

// sessionRows gives the sessions of the device with that subject, with those of the batch that
// is being written, the last recorded first: the clock by which they are numbered may have been set back.
func (c *change) sessionRows(subject ident.UUID) ([]sessionRow, error) {
	if rows, ok := c.known.of[subject]; ok {
		return rows, nil
	}
	rows, err := c.findSessions(subject)
	if err == nil {
		c.known.learn(subject, rows)
	}
	return rows, err
}

// findSessions is sessionRows by what is stored.
func (c *change) findSessions(subject ident.UUID) ([]sessionRow, error) {
	ids := append(inRuns(c.tx, subject), c.tail.sessions(subject)...)
	for i := range c.records {
		if e := &c.records[i]; e.subject == subject {
			ids = append(ids, e.Session)
		}
	}
	rows := make([]sessionRow, 0, len(ids))
	for _, id := range ids {
		row := c.get(bucketSessions, id[:])
		if row == nil {
			continue // purged; the index lags
		}
		seqs, err := seqsOf(row)
		if err != nil {
			return nil, err
		}
		rows = append(rows, sessionRow{id: id, login: seqs.login, over: isRevoked(row)})
	}
	slices.SortFunc(rows, func(a, b sessionRow) int { return cmp.Compare(b.login, a.login) })
	return slices.CompactFunc(rows, func(a, b sessionRow) bool { return a.id == b.id }), nil
}

// known is what the writer remembers of devices that have logged in: their sessions, as the batch at work
// has them. A device has a hundred of them, which the index names here and there, and each of their
// rows may lie on a page of its own. What a batch wrote that is not committed is forgotten with all the
// rest. It is bounded by maxKnown; one more and all are forgotten.
type known struct {
	of   map[ident.UUID][]sessionRow // as sessionRows gives them, by the device's subject
	room int                         // that they take, as maxKnown counts it
}

// maxKnown is chosen to take some 3 MB: a session counts one, its device deviceRoom more.
const (
	maxKnown   = 1 << 16
	deviceRoom = 3
)

// learn takes in, or puts in their place, the sessions of a device, which are known's from here on.
func (k *known) learn(subject ident.UUID, rows []sessionRow) {
	k.forget(subject)
	room := deviceRoom + len(rows)
	if k.of == nil || k.room+room > maxKnown {
		*k = known{of: make(map[ident.UUID][]sessionRow)}
	}
	k.of[subject] = rows
	k.room += room
}

// forget drops what is known of a device.
func (k *known) forget(subject ident.UUID) {
	if rows, ok := k.of[subject]; ok {
		delete(k.of, subject)
		k.room -= deviceRoom + len(rows)
	}
}

// expire forgets the device of a session whose row goes.
func (k *known) expire(row []byte) {
	x, err := decodeSession(ident.UUID{}, row)
	if err != nil { // nobody knows whose it is
		*k = known{}
		return
	}
	k.forget(x.Subject)
}

// makeRoom ends and drops those of the device's older sessions, the newest first, that x
// leaves no room for, and gives the others.
func (l *login) makeRoom(c *change, x *broker.Session, rows []sessionRow) (left []sessionRow, err error) {
	live := 1
	for i := range rows {
		r := &rows[i]
		beyond := i+2 > broker.MaxKeptSessions
		if !beyond && (r.over || l.MaxSessions == 0) {
			continue
		}
		if !r.over {
			row := c.rowOf(r)
			client, err := clientOf(row)
			if err != nil {
				return nil, err
			}
			if client == x.Client {
				live++
				r.over = l.MaxSessions > 0 && live > l.MaxSessions
			}
			if r.over || beyond {
				if err := endSession(c, x.Device, r.id, row); err != nil {
					return nil, err
				}
			}
		}
		if beyond {
			if err := c.drop(r, x); err != nil {
				return nil, err
			}
		}
	}
	return rows[:min(len(rows), broker.MaxKeptSessions-1)], nil
}

// drop deletes a session that x, of the same device, leaves no room for. What is left of a
// young one is that its exchange is spent.
func (c *change) drop(r *sessionRow, by *broker.Session) error {
	x, err := decodeSession(r.id, c.rowOf(r))
	if err != nil {
		return err
	}
	if by.Created.Sub(x.Created).Abs() <= broker.KeepExchange {
		if err := c.put(c.tx.Bucket([]byte(bucketSpent)), x.ID[:], untilRow(x.Created.Add(keepCreated))); err != nil {
			return err
		}
	}
	c.dropped = append(c.dropped, slices.Concat(x.Subject[:], x.ID[:]))
	return c.delete(c.tx.Bucket([]byte(bucketSessions)), x.ID[:])
}

// ListSessions gives a device's sessions, newest first, at most 100.
func (s *Store) ListSessions(ctx context.Context, id ident.Device) (all []broker.Session, err error) {
	err = s.view(ctx, "list sessions", func(tx *bolt.Tx) error {
		d, err := deviceRows().get(tx, id.Pool, id.Name.String())
		if err != nil {
			return err
		}
		ids, err := sessionsOf(tx, d.Subject)
		if err != nil {
			return err
		}
		for _, sid := range ids {
			x, _, err := storedSession(tx, sid)
			if errors.Is(err, broker.ErrNotFound) {
				continue // purged; the index lags
			}
			if err != nil {
				return err
			}
			if all = append(all, x); len(all) == broker.MaxKeptSessions {
				return nil
			}
		}
		return nil
	})
	return all, err
}

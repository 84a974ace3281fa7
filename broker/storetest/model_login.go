package storetest

import (
	"bytes"
	"slices"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// exchange gives a new exchange's id, now and then one that was used.
func (m *model) exchange() ident.UUID {
	if len(m.recorded) > 0 && m.rand.IntN(8) == 0 {
		return pick(m.rand, m.recorded)
	}
	return m.e.uuid()
}

func (m *model) used(id ident.UUID) bool {
	_, recorded := m.sessions[id]
	return recorded || m.spent[id]
}

func (m *model) keep(x broker.Session) {
	m.sessions[x.ID] = x
	m.recorded = append(m.recorded, x.ID)
}

// session begins a session of d, as the broker would.
func (m *model) session(d ident.Device) broker.Session {
	return broker.Session{ID: m.exchange(), Device: d, Client: broker.DefaultClient, Created: m.now, Expires: m.now.Add(time.Hour),
		Generation: 1, Handle: []byte{1}}
}

func (m *model) loginOnce() (want, got error) {
	x := m.session(m.name())
	d, exists := m.devices[x.Device]
	if m.rand.IntN(2) == 0 {
		x.Subject, x.DeviceRev = d.Subject, d.Rev
		if m.rand.IntN(6) == 0 {
			x.Subject = m.e.uuid() // of a device that was there before
		}
	}
	switch {
	case m.used(x.ID):
		want = broker.ErrUsed
	case !exists:
		want = broker.ErrNotFound
	case d.Status != broker.StatusActive:
		want = broker.ErrInactive
	case !x.Subject.IsZero() && x.Subject != d.Subject:
		want = broker.ErrNotFound
	}
	_, got = m.e.sessions.RecordLogin(m.e.ctx, by(), broker.Login{Session: x})
	if want == nil {
		x.Subject = d.Subject
		m.keep(x)
	}
	return want, got
}

func (m *model) enrollOnce() (want, got error) {
	come := m.newDevice()
	come.Authenticators = m.someKey()
	e := &broker.Enrollment{Device: come, Now: m.now}
	if m.rand.IntN(8) > 0 {
		e.TokenID = pick(m.rand, []string{"t0", "t1", "t2", "t3", "t4", "t5"})
		if m.tokens[come.ID.Pool.String()+e.TokenID].Approve {
			e.Device.Status = broker.StatusPending
		}
	}
	x := m.session(come.ID)
	old := m.devices[come.ID]
	replaces := len(old.Authenticators) > 0 && !sameKey(old, come)
	d, want := m.admit(x, e)
	returned, got := m.e.sessions.RecordLogin(m.e.ctx, by(), broker.Login{Session: x, Enroll: e})
	if want == nil {
		x.Subject, x.DeviceRev = d.Subject, d.Rev
		m.keep(x)
		m.e.same(broker.Recorded{Status: d.Status, Subject: d.Subject, DeviceRev: d.Rev, KeyReplaced: replaces}, returned)
	}
	return want, got
}

// admit does what RecordLogin says of Enroll.
func (m *model) admit(x broker.Session, e *broker.Enrollment) (broker.Device, error) {
	old, exists := m.devices[x.Device]
	key := x.Device.Pool.String() + e.TokenID
	token, offered := m.tokens[key]
	switch {
	case m.used(x.ID):
		return old, broker.ErrUsed
	case exists && sameKey(old, e.Device): // no use of a token, whichever it is
		if old.Status != broker.StatusActive {
			return old, broker.ErrInactive
		}
		return old, nil
	case e.TokenID != "" && !offered:
		return old, broker.ErrNotFound
	case offered && !token.Name.IsZero() && token.Name != x.Device.Name:
		return old, broker.ErrNotFor
	case offered && !m.now.Before(token.Expires):
		return old, broker.ErrExpired
	case offered && token.Used >= token.Uses:
		return old, broker.ErrExhausted
	case !exists && !offered:
		return old, broker.ErrNotFound
	case exists && old.Status == broker.StatusDisabled:
		return old, broker.ErrInactive
	case exists && (!offered || len(old.Authenticators) > 0 && !token.Replace):
		return old, broker.ErrKeyBound
	case m.keyTaken(e.Device):
		return old, broker.ErrKeyBound
	}
	d := m.replaced(old, exists, x, e)
	token.Used++
	m.tokens[key], m.devices[d.ID] = token, d
	if d.Status != broker.StatusActive {
		m.spent[x.ID] = true
		return d, broker.ErrInactive
	}
	return d, nil
}

// replaced is the device as the enrollment leaves it.
func (m *model) replaced(old broker.Device, exists bool, x broker.Session, e *broker.Enrollment) broker.Device {
	if !exists {
		d := e.Device
		d.Rev = 1
		return d
	}
	d := old
	d.Authenticators, d.Updated = e.Device.Authenticators, e.Now
	d.Rev++
	if e.Device.Status == broker.StatusPending {
		d.Status = broker.StatusPending
	}
	if len(old.Authenticators) > 0 {
		d.SessionsRev, d.SessionsAfter = d.Rev, x.Created.Add(-1)
	}
	return d
}

// alive: its device is there and the same.
func (m *model) alive(x broker.Session) bool {
	d, exists := m.devices[x.Device]
	return exists && d.Subject == x.Subject
}

func (m *model) updateSession() (want, got error) {
	id := m.e.uuid()
	if len(m.recorded) > 0 {
		id = pick(m.rand, m.recorded)
	}
	x, exists := m.sessions[id]
	stop := m.rand.IntN(5) == 0
	rotate := func(x *broker.Session) {
		x.Generation++
		x.Previous, x.Handle, x.Rotated = x.Handle, []byte{byte(x.Generation)}, m.now
	}
	switch {
	case !exists || !m.alive(x):
		want = broker.ErrNotFound
	case stop:
		want = errStop
	}
	seen := m.devices[x.Device]
	_, got = m.e.sessions.UpdateSession(m.e.ctx, by(), id, func(x *broker.Session, d *broker.Device) error {
		m.e.sees(seen, *d)
		rotate(x)
		if stop {
			return errStop
		}
		return nil
	})
	if want == nil {
		rotate(&x)
		m.sessions[id] = x
	}
	return want, got
}

// compare reads all that the store has and wants the model's.
func (m *model) compare(when string) {
	m.e.t.Helper()
	if m.e.t.Failed() {
		m.e.t.Fatal(when)
	}
	m.compareSettings()
	for _, pool := range modelPools() {
		p := m.e.pool(pool)
		if _, exists := m.set.pools[p]; !exists {
			_, err := m.e.devices.ListDevices(m.e.ctx, p, "", 1000)
			m.e.wants(broker.ErrNotFound, err)
			continue
		}
		devices, err := m.e.devices.ListDevices(m.e.ctx, p, "", 1000)
		m.e.ok(err)
		m.e.same(sorted(m.devices, func(d broker.Device) bool { return d.ID.Pool == p }, func(a, b broker.Device) int {
			return bytes.Compare([]byte(a.ID.Name.String()), []byte(b.ID.Name.String()))
		}), devices)
		n, err := m.e.other.devices.CountDevices(m.e.ctx, p)
		m.e.ok(err)
		m.e.same(len(devices), n)
		documents, err := m.e.settings.ListSettings(m.e.ctx, p, broker.EnrollTokenKind().Name, "", 1000)
		m.e.ok(err)
		var tokens []broker.EnrollToken
		for _, d := range documents {
			d.Rev = 0
			t, err := broker.EnrollTokenKind().Noun(d)
			m.e.ok(err)
			tokens = append(tokens, t)
		}
		m.e.same(sorted(m.tokens, func(t broker.EnrollToken) bool { return t.Pool == p }, func(a, b broker.EnrollToken) int {
			return bytes.Compare([]byte(a.ID), []byte(b.ID))
		}), tokens)
	}
	for id, d := range m.devices {
		m.e.same(d, m.e.stored(id))
		got, err := m.e.sessions.ListSessions(m.e.ctx, id)
		m.e.ok(err)
		all := sorted(m.sessions, func(x broker.Session) bool { return x.Subject == d.Subject }, func(a, b broker.Session) int {
			return bytes.Compare(b.ID[:], a.ID[:])
		})
		m.e.same(all[:min(len(all), 100)], got)
	}
	for id, x := range m.sessions {
		got, err := m.e.sessions.Session(m.e.ctx, id)
		if !m.alive(x) {
			m.e.wants(broker.ErrNotFound, err)
			continue
		}
		m.e.ok(err)
		m.e.same(x, got)
	}
}

// sorted gives the values that fit, in order; nil if there are none, as stores do.
func sorted[K comparable, V any](from map[K]V, fits func(V) bool, order func(a, b V) int) []V {
	var all []V
	for _, v := range from {
		if fits(v) {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, order)
	return all
}

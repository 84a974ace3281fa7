package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// Model does random things with a store and with a model of it made of maps, and
// wants both to say the same of each, also after the store was opened again. open
// opens the same store each time, empty the first time; the seed repeats a run.
func Model(t *testing.T, seed uint64, steps int, open func(t *testing.T) broker.Store) {
	m := &model{
		env: &env{T: t, Store: open(t), ctx: t.Context()}, rand: rand.New(rand.NewPCG(seed, 0)), now: start(),
		devices: map[ident.Device]broker.Device{}, tokens: map[string]broker.EnrolToken{},
		sessions: map[ident.UUID]broker.Session{}, spent: map[ident.UUID]bool{}, tries: map[ident.UUID]int{},
	}
	for _, pool := range modelPools() {
		m.addPool(pool)
	}
	for step := range steps {
		m.now = m.now.Add(time.Second)
		what, want, got := m.step()
		if !sameError(want, got) {
			t.Fatalf("seed %d, step %d: %s: %v, want %v", seed, step, what, got, want)
		}
		if step%50 == 49 || step == steps-1 {
			m.compare(fmt.Sprintf("seed %d, step %d", seed, step))
		}
		if m.rand.IntN(60) == 0 {
			m.ok(m.Close())
			m.Store = open(t)
		}
	}
}

// sameError: both fine, or the store's error is the model's.
func sameError(want, got error) bool {
	if want == nil {
		return got == nil
	}
	return errors.Is(got, want)
}

func modelPools() []string { return []string{"a", "b"} }

// A model is what a store should hold. Few names and keys make for many collisions.
type model struct {
	*env
	rand     *rand.Rand
	now      time.Time
	devices  map[ident.Device]broker.Device
	tokens   map[string]broker.EnrolToken // by pool and id
	sessions map[ident.UUID]broker.Session
	recorded []ident.UUID // the sessions' ids, oldest first
	spent    map[ident.UUID]bool
	tries    map[ident.UUID]int
}

// step does one random thing to both.
func (m *model) step() (what string, want, got error) {
	for _, op := range []struct {
		weight int
		name   string
		do     func() (want, got error)
	}{
		{6, "create device", m.createDevice}, {10, "update device", m.updateDevice}, {3, "delete device", m.deleteDevice},
		{6, "create token", m.createToken}, {2, "delete token", m.deleteToken},
		{25, "login", m.loginOnce}, {25, "enrol", m.enrolOnce}, {15, "update session", m.updateSession}, {8, "count a try", m.countTry},
	} {
		if m.rand.IntN(100) < op.weight {
			want, got = op.do()
			return op.name, want, got
		}
	}
	want, got = m.loginOnce()
	return "login", want, got
}

func (m *model) poolName() string { return pick(m.rand, modelPools()) }

func (m *model) name() ident.Device {
	return m.id(m.poolName(), fmt.Sprintf("d%d", m.rand.IntN(5)))
}

// someKey gives one of four keys.
func (m *model) someKey() []broker.Authenticator {
	return []broker.Authenticator{publicKey(fmt.Sprintf("key %d", m.rand.IntN(4)), m.now)}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func sameKey(a, b broker.Device) bool {
	return len(a.Authenticators) > 0 && len(b.Authenticators) > 0 && a.Authenticators[0].ID == b.Authenticators[0].ID
}

// keyTaken: another device of the pool has d's key.
func (m *model) keyTaken(d broker.Device) bool {
	for _, other := range m.devices {
		if other.ID.Pool == d.ID.Pool && other.ID != d.ID && sameKey(other, d) {
			return true
		}
	}
	return false
}

func (m *model) newDevice() broker.Device {
	d := broker.Device{ID: m.name(), Subject: m.uuid(), Status: broker.StatusActive, Created: m.now, Updated: m.now}
	if m.rand.IntN(4) > 0 {
		d.Authenticators = m.someKey()
	}
	return d
}

func (m *model) createDevice() (want, got error) {
	d := m.newDevice()
	_, exists := m.devices[d.ID]
	switch {
	case exists:
		want = broker.ErrExists
	case m.keyTaken(d):
		want = broker.ErrKeyBound
	}
	got = m.CreateDevice(m.ctx, by(), d)
	if want == nil {
		d.Rev = 1
		m.devices[d.ID] = d
	}
	return want, got
}

func (m *model) updateDevice() (want, got error) {
	id := m.name()
	d, exists := m.devices[id]
	edit := func(d *broker.Device) { d.Status = broker.StatusDisabled; d.EndSessions(m.now) }
	switch m.rand.IntN(4) {
	case 0, 1:
		edit = func(d *broker.Device) { d.Status = broker.StatusActive }
	case 2:
		key := m.someKey()
		edit = func(d *broker.Device) { d.Authenticators = key }
	}
	stop := m.rand.IntN(5) == 0
	edit(&d)
	switch {
	case !exists:
		want = broker.ErrNotFound
	case stop:
		want = errStop
	case m.keyTaken(d):
		want = broker.ErrKeyBound
	}
	_, got = m.UpdateDevice(m.ctx, by(), id, func(d *broker.Device) error {
		edit(d)
		if stop {
			return errStop
		}
		return nil
	})
	if want == nil {
		d.Rev++
		m.devices[id] = d
	}
	return want, got
}

func (m *model) deleteDevice() (want, got error) {
	id := m.name()
	if _, exists := m.devices[id]; !exists {
		want = broker.ErrNotFound
	}
	delete(m.devices, id)
	return want, m.DeleteDevice(m.ctx, by(), id)
}

func (m *model) createToken() (want, got error) {
	t := broker.EnrolToken{
		Pool: m.pool(m.poolName()), ID: fmt.Sprintf("t%d", m.rand.IntN(6)), Key: []byte("token key"), Uses: 1 + m.rand.IntN(3),
		Expires: m.now.Add(time.Duration(m.rand.IntN(200)) * time.Second), Replace: m.rand.IntN(2) == 0, Approve: m.rand.IntN(4) == 0, Created: m.now,
	}
	if _, exists := m.tokens[t.Pool.String()+t.ID]; exists {
		want = broker.ErrExists
	} else {
		m.tokens[t.Pool.String()+t.ID] = t
	}
	return want, m.CreateEnrolToken(m.ctx, by(), t)
}

func (m *model) deleteToken() (want, got error) {
	pool, id := m.pool(m.poolName()), fmt.Sprintf("t%d", m.rand.IntN(6))
	if _, exists := m.tokens[pool.String()+id]; !exists {
		want = broker.ErrNotFound
	}
	delete(m.tokens, pool.String()+id)
	return want, m.DeleteEnrolToken(m.ctx, by(), pool, id)
}

func (m *model) countTry() (want, got error) {
	id := m.uuid()
	if len(m.recorded) > 0 {
		id = pick(m.rand, m.recorded)
	}
	m.tries[id]++
	n, got := m.CountTry(m.ctx, by(), id, m.now.Add(time.Hour))
	m.same(m.tries[id], n)
	return nil, got
}

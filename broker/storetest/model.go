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
func Model(t *testing.T, seed uint64, steps int, open Open[broker.Store]) {
	m := &model{
		e: newEnv(t, handle{}, handle{}), rand: rand.New(rand.NewPCG(seed, 0)), now: start(),
		devices: map[ident.Device]broker.Device{}, tokens: map[string]broker.EnrollToken{},
		sessions: map[ident.UUID]broker.Session{}, spent: map[ident.UUID]bool{}, tries: map[ident.UUID]triesOf{},
		set: newSettings(),
	}
	m.open(open)
	for _, pool := range modelPools() {
		name := m.e.addPool(pool)
		stored, err := m.e.pools.Pool(m.e.ctx, name)
		m.e.ok(err)
		p := *stored
		p.Rev = 0
		m.set.pools[name] = p
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
			m.e.ok(m.store.Close())
			m.open(open)
		}
	}
}

// open takes new handles on the store; what is done to one is looked at through the other.
func (m *model) open(open Open[broker.Store]) {
	next := open(m.e.t)
	m.store = next()
	m.e.handle, m.e.other = whole(m.store), whole(next())
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
	e        *env
	store    broker.Store
	rand     *rand.Rand
	now      time.Time
	devices  map[ident.Device]broker.Device
	tokens   map[string]broker.EnrollToken // by pool and id
	sessions map[ident.UUID]broker.Session
	recorded []ident.UUID // the sessions' ids, oldest first
	spent    map[ident.UUID]bool
	tries    map[ident.UUID]triesOf
	set      settings
}

// step does one random thing to both.
func (m *model) step() (what string, want, got error) {
	for _, op := range []struct {
		weight int
		name   string
		do     func() (want, got error)
	}{
		{2, "delete pool", m.deletePool}, {8, "create pool", m.createPool}, {6, "change settings", m.changeSettings},
		{3, "change signing keys", m.changeKeys}, {3, "put operator", m.putOperator}, {2, "delete operator", m.deleteOperator},
		{3, "create devices", m.createDevices},
		{6, "create device", m.createDevice}, {10, "update device", m.updateDevice}, {3, "delete device", m.deleteDevice},
		{6, "create token", m.createToken}, {2, "delete token", m.deleteToken},
		{25, "login", m.loginOnce}, {25, "enroll", m.enrollOnce}, {15, "update session", m.updateSession}, {8, "count a try", m.countTry},
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
	return m.e.id(m.poolName(), fmt.Sprintf("d%d", m.rand.IntN(5)))
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
	d := broker.Device{ID: m.name(), Subject: m.e.uuid(), Status: broker.StatusActive, Created: m.now, Updated: m.now}
	if m.rand.IntN(4) > 0 {
		d.Authenticators = m.someKey()
	}
	return d
}

func (m *model) createDevice() (want, got error) {
	d := m.newDevice()
	return m.comes(d), m.e.devices.CreateDevice(m.e.ctx, by(), d)
}

// comes is the coming of a new device, or why it may not.
func (m *model) comes(d broker.Device) error {
	_, pool := m.set.pools[d.ID.Pool]
	_, exists := m.devices[d.ID]
	switch {
	case !pool:
		return broker.ErrNotFound
	case exists:
		return broker.ErrExists
	case m.keyTaken(d):
		return broker.ErrKeyBound
	}
	d.Rev = 1
	m.devices[d.ID] = d
	return nil
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
	_, got = m.e.devices.UpdateDevice(m.e.ctx, by(), id, func(d *broker.Device) error {
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
	return want, m.e.devices.DeleteDevice(m.e.ctx, by(), id)
}

func (m *model) createToken() (want, got error) {
	t := broker.EnrollToken{
		Pool: m.e.pool(m.poolName()), ID: fmt.Sprintf("t%d", m.rand.IntN(6)), Key: []byte("token key"), Uses: 1 + m.rand.IntN(3),
		Expires: m.now.Add(time.Duration(m.rand.IntN(200)) * time.Second), Replace: m.rand.IntN(2) == 0, Approve: m.rand.IntN(4) == 0, Created: m.now,
	}
	switch m.rand.IntN(3) {
	case 0:
		t.Name = m.name().Name
	case 1:
		t.NamePattern = "d?"
	default:
		t.Replace = false
	}
	_, pool := m.set.pools[t.Pool]
	_, exists := m.tokens[t.Pool.String()+t.ID]
	switch {
	case !pool:
		want = broker.ErrNotFound
	case exists:
		want = broker.ErrExists
	default:
		m.tokens[t.Pool.String()+t.ID] = t
	}
	return want, m.e.change(func(tx broker.SettingsTx) error {
		fresh := t
		_, err := broker.EnrollTokenKind().Put(tx, &fresh, m.now)
		return err
	})
}

func (m *model) deleteToken() (want, got error) {
	pool, id := m.e.pool(m.poolName()), fmt.Sprintf("t%d", m.rand.IntN(6))
	if _, exists := m.tokens[pool.String()+id]; !exists {
		want = broker.ErrNotFound
	}
	delete(m.tokens, pool.String()+id)
	return want, m.e.change(func(tx broker.SettingsTx) error { return broker.EnrollTokenKind().Delete(tx, pool, id) })
}

// triesOf is how many there were, and when the last was.
type triesOf struct {
	n  int
	at time.Time
}

func (m *model) countTry() (want, got error) {
	id := m.e.uuid()
	if len(m.recorded) > 0 {
		id = pick(m.rand, m.recorded)
	}
	n := m.tries[id]
	wait := n.at.Add(broker.WaitAfter(n.n)).Sub(m.now)
	if n.n == 0 || wait <= 0 {
		n.n, n.at, wait = n.n+1, m.now, 0
	}
	m.tries[id] = n
	tried, got := m.e.tries.Try(m.e.ctx, by(), broker.TryOf{Device: m.e.id("demo", "lamp"), Exchange: id}, broker.TryMark(m.e.uuid()), m.now)
	m.e.same(broker.Tried{N: n.n, Wait: wait}, tried)
	return nil, got
}

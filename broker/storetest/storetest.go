// Package storetest is what every broker.Store must do: each sentence of the
// interfaces' comments as a named subtest, by concept, so that a store of a part can
// be held to its part; and a model to compare a whole store with. A store's own
// tests call Run and Model.
//
// It never looks inside a store.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
)

// Open makes a new empty store, closed by the test's Cleanup, and gives a function
// that gives handles on it: each is what one of several brokers has of the store
// that they share. Races run across two, and what one has written the other reads.
type Open[S any] func(t *testing.T) (handle func() S)

// Run holds the stores that open makes against the whole contract: each concept's,
// and what reaches across them.
func Run(t *testing.T, open Open[broker.Store]) {
	for _, group := range []struct {
		name string
		run  func(*testing.T, Open[broker.Store])
	}{
		{"pools", Pools[broker.Store]}, {"devices", Devices[broker.Store]}, {"settings", Settings[broker.Store]},
		{"signing keys", SigningKeys[broker.Store]}, {"logins", Logins[broker.Store]}, {"enrollments", Enrollments[broker.Store]},
		{"sessions", Sessions[broker.Store]}, {"tries", Tries[broker.Store]}, {"operators", Operators[broker.Store]},
		{"secrets", Secrets[broker.Store]}, {"epochs", Epochs[broker.Store]}, {"across", across}, {"journal", Journal},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, open) })
	}
}

// Pools holds a store to what broker.Pools says. The keys that a pool begins with are
// read, so the store has those too.
func Pools[S interface {
	pooled
	broker.SigningKeys
}](t *testing.T, open Open[S]) {
	run(t, open, poolTests(), func(s S) handle { return handle{pools: s, settings: s, keys: s} })
}

// pooled is what every part of a store stands on: pools, and how they are made.
type pooled interface {
	broker.Pools
	broker.Settings
}

// Devices holds a store to what broker.Devices says.
func Devices[S interface {
	pooled
	broker.Devices
}](t *testing.T, open Open[S]) {
	run(t, open, slices.Concat(deviceTests(), deviceKeyTests(), deviceChangeTests(), bulkTests(), deviceRaceTests()),
		func(s S) handle { return handle{pools: s, settings: s, devices: s} })
}

// Settings holds a store to what is said of what operators set.
func Settings[S interface {
	pooled
	broker.Nouns
}](t *testing.T, open Open[S]) {
	run(t, open, slices.Concat(settingTests(), referenceTests(), nounTests()), func(s S) handle {
		return handle{pools: s, settings: s, nouns: s}
	})
}

// SigningKeys holds a store to what broker.SigningKeys says.
func SigningKeys[S interface {
	pooled
	broker.SigningKeys
}](t *testing.T, open Open[S]) {
	run(t, open, keyTests(), func(s S) handle { return handle{pools: s, settings: s, keys: s} })
}

// Logins holds a store to what RecordLogin says of devices that are known.
func Logins[S interface {
	pooled
	broker.Devices
	broker.Sessions
}](t *testing.T, open Open[S]) {
	run(t, open, slices.Concat(loginTests(), loginRaceTests()), func(s S) handle {
		return handle{pools: s, settings: s, devices: s, sessions: s}
	})
}

// Enrollments holds a store to what RecordLogin says of devices that come in.
func Enrollments[S interface {
	pooled
	broker.Devices
	broker.Nouns
	broker.Sessions
}](t *testing.T, open Open[S]) {
	run(t, open, slices.Concat(enrollTests(), enrollKeyTests(), enrollStatusTests(), enrollRaceTests()), func(s S) handle {
		return handle{pools: s, settings: s, devices: s, nouns: s, sessions: s}
	})
}

// Sessions holds a store to what broker.Sessions says of sessions that are there.
func Sessions[S interface {
	pooled
	broker.Devices
	broker.Sessions
}](t *testing.T, open Open[S]) {
	run(t, open, slices.Concat(sessionTests(), sessionPrefixTests(), sessionRaceTests()), func(s S) handle {
		return handle{pools: s, settings: s, devices: s, sessions: s}
	})
}

// Tries holds a store to what broker.Tries says.
func Tries[S broker.Tries](t *testing.T, open Open[S]) {
	run(t, open, tryTests(), func(s S) handle { return handle{tries: s} })
}

// Operators holds a store to what broker.Operators says.
func Operators[S broker.Operators](t *testing.T, open Open[S]) {
	run(t, open, operatorTests(), func(s S) handle { return handle{operators: s} })
}

// Secrets holds a store to what broker.Secrets says.
func Secrets[S broker.Secrets](t *testing.T, open Open[S]) {
	run(t, open, secretTests(), func(s S) handle { return handle{secrets: s} })
}

// Epochs holds a store to what broker.Epochs says.
func Epochs[S broker.Epochs](t *testing.T, open Open[S]) {
	run(t, open, epochTests(), func(s S) handle { return handle{epochs: s} })
}

// across is what several concepts together say.
func across(t *testing.T, open Open[broker.Store]) {
	run(t, open, slices.Concat(acrossTests(), cloneTests()), whole)
}

// Journal is what broker.Journal says. All writes of a store are in it.
func Journal(t *testing.T, open Open[broker.Store]) { run(t, open, journalTests(), whole) }

func run[S any](t *testing.T, open Open[S], tests []test, part func(S) handle) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			next := open(t)
			one, two := next(), next()
			tt.run(newEnv(t, part(one), part(two)))
			for _, s := range []any{one, two} {
				if c, ok := s.(interface{ CheckShared(context.Context) error }); ok && !t.Failed() {
					if err := c.CheckShared(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

type test struct {
	name string
	run  func(*env)
}

// A handle is one broker's hold on a store: the parts that a group of tests is
// about. The others are nil.
type handle struct {
	pools     broker.Pools
	devices   broker.Devices
	settings  broker.Settings
	nouns     broker.Nouns
	keys      broker.SigningKeys
	sessions  broker.Sessions
	tries     broker.Tries
	operators broker.Operators
	secrets   broker.Secrets
	epochs    broker.Epochs
	journal   broker.Journal
}

func whole(s broker.Store) handle { return handle{s, s, s, s, s, s, s, s, s, s, s} }

// env is one subtest's store, and words to speak about it.
type env struct {
	t      *testing.T
	handle        // of the broker that the test is about
	other  handle // another's, on the same store
	ctx    context.Context
	ids    atomic.Uint64
}

func newEnv(t *testing.T, one, other handle) *env {
	return &env{t: t, handle: one, other: other, ctx: t.Context()}
}

// together calls f n times at once, in turns with either handle, and gives the errors.
func (e *env) together(n int, f func(i int, h *handle) error) []error {
	errs := make([]error, n)
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		h := &e.handle
		if i%2 == 1 {
			h = &e.other
		}
		wg.Go(func() {
			<-gate
			errs[i] = f(i, h)
		})
	}
	close(gate)
	wg.Wait()
	return errs
}

// tally counts how many went well; every other error must be want.
func (e *env) tally(errs []error, want error) int {
	e.t.Helper()
	good := 0
	for _, err := range errs {
		if err == nil {
			good++
		} else if !errors.Is(err, want) {
			e.t.Fatalf("error %v, want none or %v", err, want)
		}
	}
	return good
}

// by is who writes where it does not matter who.
func by() broker.By { return broker.By{Actor: "operator:storetest", Request: "1", Reason: "a test"} }

// start is the tests' time: whole nanoseconds, UTC.
func start() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC) }

func (e *env) pool(name string) ident.Pool {
	e.t.Helper()
	p, err := ident.ParsePool(name)
	e.ok(err)
	return p
}

func (e *env) id(pool, name string) ident.Device {
	e.t.Helper()
	d, err := ident.ParseDevice(pool + ":" + name)
	e.ok(err)
	return d
}

// uuid gives identifiers of version 7 whose order is that of the calls.
func (e *env) uuid() ident.UUID {
	n := e.ids.Add(1)
	var u ident.UUID
	binary.BigEndian.PutUint64(u[:], uint64(start().UnixMilli())<<16|0x7000)
	binary.BigEndian.PutUint64(u[8:], n)
	u[8] = 0x80
	return u
}

func (e *env) ok(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) wants(want, err error) {
	e.t.Helper()
	if !errors.Is(err, want) {
		e.t.Fatalf("error %v, want %v", err, want)
	}
}

func (e *env) same(want, got any) {
	e.t.Helper()
	if d := cmp.Diff(want, got, cmp.AllowUnexported(ident.Pool{}, ident.Name{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		e.t.Fatalf("-want +got:\n%s", d)
	}
}

// sees is same for use inside a function handed to the store, which may run on a
// goroutine that a failing test must not end.
func (e *env) sees(want, got any) {
	e.t.Helper()
	if d := cmp.Diff(want, got, cmp.AllowUnexported(ident.Pool{}, ident.Name{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		e.t.Errorf("-want +got:\n%s", d)
	}
}

func (e *env) createPool(p broker.Pool, keys ...broker.SigningKey) error {
	e.t.Helper()
	return e.change(func(tx broker.SettingsTx) error { return tx.CreatePool(p, keys) })
}

// addPool makes an empty pool.
func (e *env) addPool(name string) ident.Pool {
	e.t.Helper()
	p := e.pool(name)
	e.ok(e.createPool(broker.Pool{Name: p, Issuer: "https://signet.example/pools/" + name, Created: start()}))
	return p
}

// device gives an active device, not stored, with a key of its own.
func (e *env) device(pool, name string) broker.Device {
	e.t.Helper()
	return broker.Device{
		ID: e.id(pool, name), Subject: e.uuid(), Status: broker.StatusActive,
		Authenticators: []broker.Authenticator{publicKey("key of "+pool+":"+name, start())},
		Attributes:     map[string]string{"site": "north"}, Groups: []string{"pumps", "valves"},
		Created: start(), Updated: start(),
	}
}

// publicKey is an authenticator whose key is text: to a store, one is as good as another.
func publicKey(text string, added time.Time) broker.Authenticator {
	return broker.Authenticator{ID: sha256.Sum256([]byte(text)), Kind: challenge.Key, Key: []byte(text), Added: added}
}

// addDevice stores one.
func (e *env) addDevice(pool, name string) broker.Device {
	e.t.Helper()
	d := e.device(pool, name)
	e.ok(e.devices.CreateDevice(e.ctx, by(), d))
	return e.stored(d.ID)
}

// stored is the device as every broker reads it.
func (e *env) stored(id ident.Device) broker.Device {
	e.t.Helper()
	d, err := e.other.devices.Device(e.ctx, id)
	e.ok(err)
	return d
}

func (e *env) setStatus(id ident.Device, s broker.Status) {
	e.t.Helper()
	_, err := e.devices.UpdateDevice(e.ctx, by(), id, func(d *broker.Device) error { d.Status = s; return nil })
	e.ok(err)
}

// login is a new login of d.
func (e *env) login(d broker.Device) broker.Login {
	return broker.Login{Session: broker.Session{
		ID: e.uuid(), Device: d.ID, Subject: d.Subject, Client: broker.DefaultClient, Created: start(),
		Expires: start().Add(time.Hour), Generation: 1, Handle: []byte("handle 1"), Requests: []byte("requests"),
	}}
}

// record records l and gives the device, which it must have told rightly.
func (e *env) record(l broker.Login) broker.Device {
	e.t.Helper()
	found, err := e.sessions.RecordLogin(e.ctx, by(), l)
	e.ok(err)
	d := e.stored(l.Session.Device)
	s, err := e.sessions.Session(e.ctx, l.Session.ID)
	e.ok(err)
	e.same(broker.Recorded{Status: d.Status, Subject: d.Subject, DeviceRev: s.DeviceRev, KeyReplaced: found.KeyReplaced}, found)
	return d
}

func (e *env) addToken(pool string, uses int, change func(*broker.EnrollToken)) broker.EnrollToken {
	e.t.Helper()
	t := broker.EnrollToken{Pool: e.pool(pool), ID: fmt.Sprintf("%032x", e.ids.Add(1)), Key: []byte("token key"), Uses: uses,
		Expires: start().Add(time.Hour), Groups: []string{"pumps"}, Attributes: map[string]string{"a": "b"}, Created: start()}
	if change != nil {
		change(&t)
	}
	save(e, broker.EnrollTokenKind(), &t)
	return t
}

// enrollment is a login that enrolls d with a token.
func (e *env) enrollment(d broker.Device, tokenID string) broker.Login {
	l := e.login(d)
	l.Enroll = &broker.Enrollment{Device: d, TokenID: tokenID, Now: start()}
	return l
}

func (e *env) used(t broker.EnrollToken) int {
	e.t.Helper()
	got, err := e.other.nouns.EnrollToken(e.ctx, t.Pool, t.ID)
	e.ok(err)
	return got.Used
}

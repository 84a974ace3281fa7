// Package storetest is what every broker.Store must do: each sentence of the
// interfaces' comments as a named subtest, and a model to compare a store with. A
// store's own tests call Run and Model.
//
// It imports broker, protocol's names, testing and go-cmp only, and never looks
// inside a store.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// Run holds the stores that open makes against the contract. open gives a new
// empty store, closed by its own Cleanup.
func Run(t *testing.T, open func(t *testing.T) broker.Store) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"pools", poolTests()},
		{"devices", slices.Concat(deviceTests(), deviceKeyTests(), deviceChangeTests())},
		{"settings", settingTests()}, {"signing keys", keyTests()},
		{"logins", loginTests()},
		{"enrolments", slices.Concat(enrolTests(), enrolKeyTests(), enrolStatusTests())},
		{"sessions", sessionTests()},
		{"tries", tryTests()}, {"operators", operatorTests()}, {"secrets", secretTests()},
		{"races", slices.Concat(oneWinsTests(), nothingLostTests())}, {"contexts", contextTests()},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, tt := range group.tests {
				t.Run(tt.name, func(t *testing.T) {
					t.Parallel()
					tt.run(&env{T: t, Store: open(t), ctx: t.Context()})
				})
			}
		})
	}
}

// by is who writes where it does not matter who.
func by() broker.By { return broker.By{Actor: "operator:storetest", Request: "1", Reason: "a test"} }

type test struct {
	name string
	run  func(*env)
}

// env is one subtest's store, and words to speak about it.
type env struct {
	*testing.T
	broker.Store
	ctx context.Context
	ids atomic.Uint64
}

// start is the tests' time: whole nanoseconds, UTC.
func start() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC) }

func (e *env) pool(name string) ident.Pool {
	e.Helper()
	p, err := ident.ParsePool(name)
	e.ok(err)
	return p
}

func (e *env) id(pool, name string) ident.Device {
	e.Helper()
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
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) wants(want, err error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Fatalf("error %v, want %v", err, want)
	}
}

func (e *env) same(want, got any) {
	e.Helper()
	if d := cmp.Diff(want, got, cmp.AllowUnexported(ident.Pool{}, ident.Name{})); d != "" {
		e.Fatalf("-want +got:\n%s", d)
	}
}

// sees is same for use inside a function handed to the store, which may run on a
// goroutine that a failing test must not end.
func (e *env) sees(want, got any) {
	e.Helper()
	if d := cmp.Diff(want, got, cmp.AllowUnexported(ident.Pool{}, ident.Name{})); d != "" {
		e.Errorf("-want +got:\n%s", d)
	}
}

// addPool makes an empty pool.
func (e *env) addPool(name string) ident.Pool {
	e.Helper()
	p := e.pool(name)
	e.ok(e.CreatePool(e.ctx, by(), broker.Pool{Name: p, Issuer: "https://signet.example/pools/" + name, Created: start()}, nil, nil, nil))
	return p
}

// device gives an active device, not stored, with a key of its own.
func (e *env) device(pool, name string) broker.Device {
	e.Helper()
	return broker.Device{
		ID: e.id(pool, name), Subject: e.uuid(), Status: broker.StatusActive,
		Authenticators: []broker.Authenticator{publicKey("key of "+pool+":"+name, start())},
		Attributes:     map[string]string{"site": "north"}, Groups: []string{"pumps", "valves"},
		Created: start(), Updated: start(),
	}
}

// publicKey is an authenticator whose key is text: to a store, one is as good as another.
func publicKey(text string, added time.Time) broker.Authenticator {
	return broker.Authenticator{ID: sha256.Sum256([]byte(text)), Kind: broker.KindKey, Key: []byte(text), Added: added}
}

// addDevice stores one.
func (e *env) addDevice(pool, name string) broker.Device {
	e.Helper()
	d := e.device(pool, name)
	e.ok(e.CreateDevice(e.ctx, by(), d))
	return e.stored(d.ID)
}

func (e *env) stored(id ident.Device) broker.Device {
	e.Helper()
	d, err := e.Device(e.ctx, id)
	e.ok(err)
	return d
}

func (e *env) setStatus(id ident.Device, s broker.Status) {
	e.Helper()
	_, err := e.UpdateDevice(e.ctx, by(), id, func(d *broker.Device) error { d.Status = s; return nil })
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
	e.Helper()
	found, err := e.RecordLogin(e.ctx, by(), l)
	e.ok(err)
	d := e.stored(l.Session.Device)
	e.same(broker.Recorded{Status: d.Status, Subject: d.Subject, KeyReplaced: found.KeyReplaced}, found)
	return d
}

func (e *env) addToken(pool string, uses int, change func(*broker.EnrolToken)) broker.EnrolToken {
	e.Helper()
	t := broker.EnrolToken{Pool: e.pool(pool), ID: fmt.Sprintf("%032x", e.ids.Add(1)), Key: []byte("token key"), Uses: uses,
		Expires: start().Add(time.Hour), Groups: []string{"pumps"}, Attributes: map[string]string{"a": "b"}, Created: start()}
	if change != nil {
		change(&t)
	}
	e.ok(e.CreateEnrolToken(e.ctx, by(), t))
	return t
}

// enrolment is a login that enrols d with a token.
func (e *env) enrolment(d broker.Device, tokenID string) broker.Login {
	l := e.login(d)
	l.Enrol = &broker.Enrolment{Device: d, TokenID: tokenID, Now: start()}
	return l
}

func (e *env) used(t broker.EnrolToken) int {
	e.Helper()
	got, err := e.EnrolToken(e.ctx, t.Pool, t.ID)
	e.ok(err)
	return got.Used
}

package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

func demo(t *testing.T) (*controltest.World, ident.Pool) {
	t.Helper()
	w := controltest.New(t)
	p := identtest.Pool(t, "demo")
	if _, err := w.CreatePool(t.Context(), broker.By{Actor: broker.ActorLocal}, p); err != nil {
		t.Fatal(err)
	}
	return w, p
}

// sealed is an auth.Opener that opens nothing: what is at rest is of no use without
// the key-encryption key.
type sealed struct{}

func (sealed) Open(purpose broker.Purpose, _ []byte) ([]byte, error) {
	return nil, errors.New("no key for " + purpose.String())
}

// TestSigningKeysAreSealed: the store holds no private half, and without the key
// that seals them nothing is signed.
func TestSigningKeysAreSealed(t *testing.T) {
	w, p := demo(t)
	for _, alg := range []token.Alg{token.EdDSA, token.RS256} {
		if _, err := w.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, p, alg, true); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := w.ListKeys(t.Context(), p)
	if err != nil || len(keys) != 3 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, k := range keys {
		der, err := w.Sealer.Open(broker.SigningKeyPurpose(p, k.ID), k.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(der) - 16 {
			if bytes.Contains(k.Sealed, der[i:i+16]) {
				t.Fatalf("%s key %s is in the clear", k.Alg, k.ID)
			}
		}
		for _, other := range keys {
			if _, err := w.Sealer.Open(broker.SigningKeyPurpose(p, other.ID), k.Sealed); (err == nil) != (other.ID == k.ID) {
				t.Errorf("key %s opens as %s: %v", k.ID, other.ID, err)
			}
		}
	}
	if r, err := keyring.New(w.Store, sealed{}, nil).Ring(t.Context(), p); err == nil {
		t.Errorf("a ring without the sealing key: %+v", r)
	}
}

// counting counts how often keys are listed.
type counting struct {
	*boltstore.Store
	listed int
	err    error
	during func()
}

func (c *counting) ListSigningKeys(ctx context.Context, p ident.Pool) ([]broker.SigningKey, error) {
	c.listed++
	if c.during != nil {
		c.during()
	}
	if c.err != nil {
		return nil, c.err
	}
	return c.Store.ListSigningKeys(ctx, p)
}

// TestRings: keys are believed while whoever tells of changes is up to date, doubted at
// once when told, and every change makes another ring and another statement.
func TestRings(t *testing.T) {
	w, p := demo(t)
	store := &counting{Store: w.Store}
	fresh := true
	keys := keyring.New(store, w.Sealer, func() bool { return fresh })
	ring := func() *keyring.Ring {
		t.Helper()
		r, err := keys.Ring(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	told := func() {
		keys.Recorded(t.Context(), &broker.Record{Kind: broker.RecordKey, Pool: p, What: broker.WhatUpdate})
	}
	first := ring()
	keys.Recorded(t.Context(), &broker.Record{Kind: broker.RecordDevice, Pool: p})
	if ring() != first || store.listed != 1 {
		t.Errorf("nothing was told, and the store was asked %d times", store.listed)
	}
	fresh = false
	if r := ring(); !bytes.Equal(r.Statement, first.Statement) || store.listed != 2 {
		t.Errorf("nothing changed, and the statement did; asked %d times", store.listed)
	}
	fresh = true // what was read before counts for nothing
	if ring(); store.listed != 3 {
		t.Errorf("what was read while nobody told of changes was believed; asked %d times", store.listed)
	}
	// Two changes at one instant that leave as many keys as there were.
	next, err := w.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, p, token.EdDSA, false)
	if err != nil {
		t.Fatal(err)
	}
	told()
	announced := ring()
	if len(announced.Verifiers) != 2 || announced.Signer.Key().KID() != first.Signer.Key().KID() || bytes.Equal(announced.StatementID, first.StatementID) {
		t.Errorf("after announcing: %d keys, statement %x, was %x", len(announced.Verifiers), announced.StatementID, first.StatementID)
	}
	if _, err := w.RetireKey(t.Context(), broker.By{Actor: broker.ActorLocal}, p, next.ID, false); err != nil {
		t.Fatal(err)
	}
	if next, err = w.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, p, token.EdDSA, false); err != nil {
		t.Fatal(err)
	}
	told()
	found := false
	for _, v := range ring().Verifiers {
		found = found || v.KID() == next.ID
	}
	if !found {
		t.Error("a key that took another's place at the same instant is not known")
	}
	// A change that is told of while keys are being read may not be among them.
	store.during = told
	told()
	ring()
	store.during = nil
	if n := store.listed; ring() == nil || store.listed != n+1 {
		t.Error("keys were believed although a change was told of while they were read")
	}
	told()
	if store.err = errors.New("disk"); ringFails(t, keys, p) != store.err {
		t.Error("keys were believed although the store failed")
	}
}

func ringFails(t *testing.T, keys *keyring.Keys, p ident.Pool) error {
	t.Helper()
	_, err := keys.Ring(t.Context(), p)
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

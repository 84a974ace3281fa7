package oidc_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/broker/oidc"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

// A patient verifier asks for keys only when those it has are older than it was
// told they may be: the worst that a rotation can meet.
type patient struct {
	path  string
	parse func([]byte) (*verify.KeySet, error)
	keys  *verify.KeySet
	until time.Time
	never bool // it is not patient at all, and asks each time
}

func (p *patient) at(t *testing.T, now time.Time, h http.Handler) *verify.KeySet {
	t.Helper()
	if p.keys != nil && now.Before(p.until) && !p.never {
		return p.keys
	}
	r := get(h, http.MethodGet, p.path)
	_, text, ok := strings.Cut(r.Header.Get("Cache-Control"), "max-age=")
	life, err := strconv.Atoi(text)
	if !ok || err != nil {
		t.Fatalf("Cache-Control %q", r.Header.Get("Cache-Control"))
	}
	if p.keys, err = p.parse([]byte(body(t, r))); err != nil {
		t.Fatal(err)
	}
	p.until = now.Add(time.Duration(life) * time.Second)
	return p.keys
}

// A rotating world: replicas that mint, verifiers that remember, tokens that live
// as long as tokens may.
type rotating struct {
	*controltest.World
	t         *testing.T
	pool      ident.Pool
	replicas  []*keyring.Keys
	verifiers []*patient
	tokens    map[string]time.Time // until when each is to be believed
	checked   int
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	w, _ := world(t)
	r := &rotating{World: w, t: t, pool: pool(t, "demo"), tokens: make(map[string]time.Time)}
	for range 3 {
		r.replicas = append(r.replicas, keyring.New(w.Store, w.Sealer, func() bool { return true }))
	}
	for range 3 {
		r.verifiers = append(r.verifiers, &patient{path: jwks, parse: verify.ParseJWKS}, &patient{path: coseKeys, parse: verify.ParseCOSEKeySet})
	}
	r.verifiers = append(r.verifiers, &patient{path: jwks, parse: verify.ParseJWKS, never: true})
	return r
}

// mint has every replica make a token of each form that lives as long as any may.
func (r *rotating) mint() {
	r.t.Helper()
	now := r.Clock.Now()
	name, err := ident.ParseName("lamp-1")
	if err != nil {
		r.t.Fatal(err)
	}
	for i, replica := range r.replicas {
		ring, err := replica.Ring(r.t.Context(), r.pool)
		if err != nil {
			r.t.Fatal(err)
		}
		c := &token.Claims{
			Issuer: ring.Issuer, Subject: ident.UUID{6: 0x70, 15: byte(i + 1)}, Audience: "demo", IssuedAt: now, Expires: now.Add(broker.MaxAccessLife),
			ID: fmt.Appendf(nil, "%08d", i), Confirmation: token.Confirm(ring.Signer.Key()), ClientID: "default", OriginID: ident.UUID{1}, AuthTime: now,
			Device: ident.Device{Pool: r.pool, Name: name},
		}
		cwt, err := token.SignCWT(token.Access, c.Compact(), ring.Signer)
		if err != nil {
			r.t.Fatal(err)
		}
		jwt, err := token.SignJWT(token.Access, c, ring.Signer)
		if err != nil {
			r.t.Fatal(err)
		}
		r.tokens[string(cwt)], r.tokens[jwt] = c.Expires, c.Expires
	}
}

// check has every verifier judge every token that is alive.
func (r *rotating) check() {
	r.t.Helper()
	now := r.Clock.Now()
	for i, v := range r.verifiers {
		keys := v.at(r.t, now, oidc.Handler(r.replicas[i%len(r.replicas)]))
		verifier, err := verify.New(verify.Config{
			Issuer: "https://signet.example:8443/pools/demo", Audience: "demo", Algorithms: []token.Alg{token.ES256, token.EdDSA},
			Keys: keys, Leeway: -1, Now: r.Clock.Now,
		})
		if err != nil {
			r.t.Fatal(err)
		}
		for raw, until := range r.tokens {
			if !now.Before(until.Truncate(time.Second)) {
				delete(r.tokens, raw)
				continue
			}
			if _, err := verifier.Verify(r.t.Context(), []byte(raw)); err != nil {
				r.t.Fatalf("%v: verifier %d: %v", now, i, err)
			}
			r.checked++
		}
	}
}

// pass lets time pass, and mints and checks on the way.
func (r *rotating) pass(d, step time.Duration) {
	r.t.Helper()
	for i := 0; d > 0; d -= step {
		r.Clock.Advance(min(d, step))
		for n, replica := range r.replicas {
			if n == i || step > time.Second { // each hears of changes within a second, one after the other
				replica.Recorded(r.t.Context(), &broker.Record{Kind: broker.RecordKey, Pool: r.pool, What: broker.WhatUpdate})
			}
		}
		i++
		r.mint()
		r.check()
	}
}

// TestRotation: keys rotate as fast as they may, announced for twice the key sets'
// life and retired the moment that the directory lets them; no token that is alive
// is refused, be a verifier's keys as old as they may be or new (T-32).
func TestRotation(t *testing.T) {
	r := newRotating(t)
	r.mint()
	for round := range 2 {
		keys, err := r.ListKeys(t.Context(), r.pool)
		if err != nil || len(keys) != 1 {
			t.Fatalf("round %d begins with %d keys, %v", round, len(keys), err)
		}
		next, err := r.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, r.pool, []token.Alg{token.EdDSA, token.ES256}[round%2], false)
		if err != nil {
			t.Fatal(err)
		}
		r.pass(2*broker.KeySetLife, 2*time.Minute)
		next, err = r.ActivateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, r.pool, next.ID)
		if err != nil {
			t.Fatal(err)
		}
		r.pass(1200*time.Millisecond, 300*time.Millisecond) // replicas find out one by one
		last := len(r.tokens)
		r.pass(10*time.Minute, 2*time.Minute)
		if last == 0 || len(r.tokens) == last {
			t.Fatal("no tokens")
		}
		r.retire(keys[0].ID, next.Changed)
	}
	if r.checked < 2000 {
		t.Errorf("only %d checks", r.checked)
	}
}

// retire takes the old key out as soon as that is allowed, and looks at what is
// left of its tokens before and after.
func (r *rotating) retire(old string, since time.Time) {
	r.t.Helper()
	for at := since.Add(broker.MaxAccessLife - time.Second); ; at = at.Add(300 * time.Millisecond) {
		r.Clock.Advance(at.Sub(r.Clock.Now()))
		_, err := r.RetireKey(r.t.Context(), broker.By{Actor: broker.ActorLocal}, r.pool, old, false)
		if err != nil && !errors.Is(err, broker.ErrConflict) {
			r.t.Fatal(err)
		}
		if at.Sub(since) < broker.MaxAccessLife+3*time.Second || err == nil {
			r.check()
		}
		if err == nil {
			break
		}
		if at.Sub(since) > broker.MaxAccessLife+3*time.Second {
			at = at.Add(10 * time.Second)
		}
	}
	r.pass(10*time.Minute, 2*time.Minute)
}

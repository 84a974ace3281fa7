package sim

import (
	"context"
	"slices"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/core"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
)

// toldIn is how long after a write every replica goes by it: as long as a ring of keys may be
// believed without a look at the journal, and that look.
const toldIn = 5 * time.Second

// A stolenKey is a signing key of the pool's that the network has.
type stolenKey struct {
	harness.Key
	signer  *token.Signer
	retired time.Time // zero: it is not yet
}

// loseSigningKey has the network get the key that the pool signs with, use it, and an
// operator replace it and retire it by force.
func (w *World) loseSigningKey() {
	w.operate(func(ctx context.Context) {
		if w.backedUp { // a copy that is put back brings the key back
			return
		}
		keys, err := w.dir.ListKeys(ctx, w.pool)
		if err != nil {
			w.facts.violate("list keys: %v", err)
			return
		}
		active := keys[slices.IndexFunc(keys, func(k broker.SigningKey) bool { return k.State == broker.KeyActive })]
		signer, err := keyring.OpenSigner(w.sealer, broker.SigningKeyPurpose(w.pool, active.ID), active.Sealed)
		if err != nil {
			w.facts.violate("open the signing key: %v", err)
			return
		}
		stolen := &stolenKey{Key: harness.KeyOf(signer), signer: signer}
		w.stolen = append(w.stolen, stolen)
		w.facts.happens("signing key stolen", "the network has the pool's signing key")
		w.impersonate(stolen)
		who := requestOf(ctx).who
		who.rest(who.dice.upTo(20 * time.Second))
		w.rotate(who)
		stolen.retired = time.Now()
	})
}

// impersonate makes all that a signing key can sign for each device's newest session, and
// shows it to each replica. Until the key is retired an MQTT password is taken, which is what
// such a key is good for, and nothing else ever.
func (w *World) impersonate(by *stolenKey) {
	if w.backedUp || !by.retired.IsZero() && time.Since(by.retired) < toldIn {
		return
	}
	for _, r := range w.replicas {
		r.mu.Lock()
		c := r.core
		r.mu.Unlock()
		if c == nil {
			continue
		}
		for _, d := range w.devices {
			sessions, err := w.store.ListSessions(w.ctx, d.id)
			if err != nil || len(sessions) == 0 {
				continue
			}
			w.forgeAs(c, by, &sessions[0])
		}
	}
}

// forgeAs shows a replica an MQTT password and an access token of a session, both signed by
// the stolen key.
func (w *World) forgeAs(c *core.Core, by *stolenKey, s *broker.Session) {
	ring, err := c.Keys.Ring(w.ctx, w.pool)
	if err != nil {
		w.facts.violate("keys: %v", err)
		return
	}
	claims := token.Claims{
		Issuer: ring.Issuer, Subject: s.Subject, Audience: ring.MQTTAudience(), IssuedAt: w.now(), Expires: w.now().Add(time.Hour),
		ID: []byte("12345678"), ClientID: s.Client, OriginID: s.ID,
	}
	connect := access.Connect{Device: s.Device, ClientID: s.Device.String(), Channel: access.Channel{Name: make([]byte, protocol.ChannelLen)}}
	if connect.Password, err = token.SignCWT(token.MQTTPassword, claims.Compact(), by.signer); err != nil {
		w.facts.violate("forge an MQTT password: %v", err)
		return
	}
	st, err := c.Access.Admit(w.ctx, connect)
	switch {
	case by.retired.IsZero() && err == nil:
		w.facts.count("the network connects by a stolen signing key")
		w.intruders = append(w.intruders, st)
	case err == nil:
		w.facts.violate("the network connects as %s by a signing key that was retired", s.Device)
	case !by.retired.IsZero():
		w.facts.count("the network tries what a retired signing key signs")
	}
	claims.Audience, claims.Confirmation = w.pool.String(), token.Confirm(by.signer.Key())
	proof := protocol.ConnectProof{Channel: connect.Channel.Name}
	if proof.Access, err = token.SignCWT(token.Access, claims.Compact(), by.signer); err == nil {
		if proof.Proof, err = by.Prove(proof.Input(connect.ClientID)); err == nil {
			connect.Password, err = protocol.EncodeConnectProof(&proof)
		}
	}
	if err != nil {
		w.facts.violate("forge a connect proof: %v", err)
		return
	}
	if _, err := c.Access.Admit(w.ctx, connect); err == nil {
		w.facts.violate("the network connects as %s by an access token that it made for a key of its own", s.Device)
	}
}

// reviewPool ends the connections of all whom a record of the pool takes something from. Who
// came by a key that is retired must be among them.
func (w *World) reviewPool(r *broker.Record) {
	if judge, any := w.access.ReviewPool(w.ctx, r); any {
		for _, d := range slices.Concat(w.devices, w.copies) {
			if d.review(judge) {
				w.facts.count("connection ended with its signing key")
			}
		}
		w.expel(judge)
	}
	for _, st := range w.intruders {
		if r.Kind == broker.RecordKey && r.What == broker.WhatDelete && st.Key == r.Subject {
			w.facts.violate("the network goes on as %s by a signing key that was retired", st.Device)
		}
	}
}

// expel ends those of the network's connections that a judge gives up.
func (w *World) expel(judge access.Judge) {
	w.intruders = slices.DeleteFunc(w.intruders, func(st access.Standing) bool {
		if _, ok := judge(st); ok {
			return false
		}
		w.facts.count("connection of the network's ended")
		return true
	})
}

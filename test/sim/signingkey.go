package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/broker/mqttd/packet"
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
		if who.dice.roll(2) == 0 {
			w.takePasswords(ctx, 0)
			w.facts.happens("MQTT passwords switched off", "the pool takes no MQTT passwords")
			who.rest(who.dice.upTo(20 * time.Second))
			w.takePasswords(ctx, broker.DefaultMQTTPasswordLife)
		}
		w.rotate(who)
		stolen.retired = time.Now()
	})
}

// impersonate makes all that a signing key can sign for each device's newest session, of one
// device once it is retired, and shows it to each replica. Until then an MQTT password is taken,
// which is what such a key is good for, and nothing else ever.
func (w *World) impersonate(by *stolenKey) {
	if w.backedUp || !by.retired.IsZero() && time.Since(by.retired) < toldIn {
		return
	}
	victims := w.devices
	if !by.retired.IsZero() {
		one := w.fate.dice.roll(len(victims))
		victims = victims[one : one+1]
	}
	for _, d := range victims {
		sessions, err := w.store.ListSessions(w.ctx, d.id)
		if err != nil || len(sessions) == 0 {
			continue
		}
		password, proof, err := w.forge(by, &sessions[0])
		if err != nil {
			w.facts.violate("forge by a signing key: %v", err)
			continue
		}
		for _, r := range w.replicas {
			if d := r.running(); d != nil {
				w.show(d, by, password, proof)
			}
		}
	}
}

// forge makes an MQTT password of a session and a connect proof with an access token of it, both
// signed by the stolen key.
func (w *World) forge(by *stolenKey, s *broker.Session) (password, proof access.Connect, err error) {
	claims := token.Claims{
		Issuer: w.issuer, Subject: s.Subject, Audience: (&keyring.Ring{Issuer: w.issuer}).MQTTAudience(), IssuedAt: w.now(), Expires: w.now().Add(time.Hour),
		ID: []byte("12345678"), ClientID: s.Client, OriginID: s.ID,
	}
	password = access.Connect{Device: s.Device, ClientID: s.Device.String(), Channel: access.Channel{Name: make([]byte, protocol.ChannelLen)}}
	if password.Password, err = token.SignCWT(token.MQTTPassword, claims.Compact(), by.signer); err != nil {
		return password, proof, err
	}
	proof = password
	claims.Audience, claims.Confirmation = w.pool.String(), token.Confirm(by.signer.Key())
	said := protocol.ConnectProof{Channel: proof.Channel.Name}
	if said.Access, err = token.SignCWT(token.Access, claims.Compact(), by.signer); err != nil {
		return password, proof, err
	}
	if said.Proof, err = by.Prove(said.Input(proof.ClientID)); err != nil {
		return password, proof, err
	}
	proof.Password, err = protocol.EncodeConnectProof(&said)
	return password, proof, err
}

// show has the network connect to a replica by what it forged.
func (w *World) show(to *door, by *stolenKey, password, proof access.Connect) {
	good := by.retired.IsZero()
	w.forged++
	c := w.direct(w.newActor(w.fate.dice.more()), "the network", -w.forged)
	if w.intruders = append(w.intruders, c); len(w.intruders) > devices*replicas {
		w.intruders[0].end()
		w.intruders = w.intruders[1:]
	}
	id := fmt.Sprintf("%s/%d", password.Device, w.forged)
	l, err := c.dial(w.ctx, to, c.name, packet.Connect{ClientID: id, HasUserName: true, UserName: id, HasPassword: true, Password: password.Password})
	if err == nil {
		c.keeps(l)
	}
	switch {
	case good && err == nil:
		w.facts.count("the network connects by a stolen signing key")
	case err == nil:
		w.facts.violate("the network connects as %s by a signing key that was retired", password.Device)
	case !good:
		w.facts.count("the network tries what a retired signing key signs")
	}
	if _, err := to.core.Access.Admit(w.ctx, proof); err == nil {
		w.facts.violate("the network connects as %s by an access token that it made for a key of its own", proof.Device)
	}
}

// takePasswords has the pool take MQTT passwords, or none any more.
func (w *World) takePasswords(ctx context.Context, life time.Duration) {
	if _, err := w.dir.ChangePool(ctx, broker.By{Actor: broker.ActorLocal}, w.pool, control.PoolChange{MQTTPasswordLife: &life}, nil); err != nil && ctx.Err() == nil {
		w.facts.violate("change the pool: %v", err)
	}
}

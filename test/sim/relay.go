package sim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

// What the network keeps of what it hears, and of what it never should have.
const (
	maxHeard  = 200
	maxLeaked = 20
)

// An mqttBroker is the network as the owner of an MQTT broker in the middle: TLS of some
// connections ends in it, on both sides. It keeps what it hears on them and tries all of
// it elsewhere. Of connections that it does not relay it is given the connect proofs as
// well, as if they had leaked.
type mqttBroker struct {
	open   bool // connections lead through it
	heard  []string
	tried  map[string]bool // of heard, as every device's password; intrude's
	known  map[string]bool
	leaked []leaked
}

// A leaked connect proof, with the client id that it was made for.
type leaked struct {
	id       ident.Device
	password []byte
}

// relays reports whether a new connection leads through the network's own MQTT broker.
func (n *network) relays(c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.broker.open && c.dice.roll(3) == 0
}

// tap keeps what is said on a connection that the network relays. The caller holds mu.
func (n *network) tap(c *conn, raw []byte) {
	if !c.relayed {
		return
	}
	n.keep(raw)
	var v any
	if detcbor.Unmarshal(raw, &v) == nil {
		n.dig(v)
	}
}

func (n *network) keep(b []byte) {
	if len(b) < 8 || n.broker.known[string(b)] {
		return
	}
	n.broker.known[string(b)] = true
	if n.broker.heard = append(n.broker.heard, string(b)); len(n.broker.heard) > maxHeard {
		n.broker.heard = n.broker.heard[maxHeard/2:]
	}
}

// dig keeps what is inside of a message.
func (n *network) dig(v any) {
	switch v := v.(type) {
	case []byte:
		n.keep(v)
		var inside any
		if detcbor.Unmarshal(v, &inside) == nil {
			n.dig(inside)
		}
	case map[int64]any:
		for key := int64(-2); key <= 20; key++ {
			n.dig(v[key])
		}
	}
}

// shown is told of a password that a device makes for a connection.
func (n *network) shown(c *conn, id ident.Device, password []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.relayed {
		n.w.facts.violate("%s shows the network a password", id)
		n.tap(c, password)
	}
	if n.broker.leaked = append(n.broker.leaked, leaked{id, password}); len(n.broker.leaked) > maxLeaked {
		n.broker.leaked = n.broker.leaked[1:]
	}
}

// intrude tries all that the network has at those replicas: to connect as each device, with what
// it has tried so before as one of them, and to make a backend believe it.
func (w *World) intrude(at ...*replica) {
	for _, k := range w.stolen {
		w.impersonate(k)
	}
	w.net.mu.Lock()
	heard, proofs := w.net.broker.heard, w.net.broker.leaked
	w.net.mu.Unlock()
	victims := make([][]*device, len(heard))
	for i, b := range heard {
		if victims[i] = w.devices; w.net.broker.tried[b] {
			one := w.fate.dice.roll(len(w.devices))
			victims[i] = w.devices[one : one+1]
		}
	}
	own := sha256.Sum256(fmt.Appendf(nil, "the network's own connection"))
	for _, r := range at {
		d := r.running()
		if d == nil {
			continue
		}
		c := d.core
		try := func(what string, id ident.Device, password []byte) {
			w.facts.count("the network tries " + what)
			_, err := c.Access.Admit(w.ctx, access.Connect{Device: id, ClientID: id.String(), Password: password, Channel: access.Channel{Name: own[:]}})
			if err == nil {
				w.facts.violate("the network connects as %s by %s", id, what)
			}
		}
		for i, b := range heard {
			for _, d := range victims[i] {
				try("what it heard as a password", d.id, []byte(b))
			}
			w.net.broker.tried[b] = true
		}
		for _, p := range proofs {
			try("a connect proof of another connection", p.id, p.password)
		}
		ring, err := c.Keys.Ring(w.ctx, w.pool)
		if err != nil {
			w.facts.violate("keys: %v", err)
			return
		}
		w.convince(ring.Issuer, ring.Verifiers, heard)
	}
}

// convince shows a backend all that was heard, and what was heard of a password.
func (w *World) convince(issuer string, keys []*token.Key, heard []string) {
	set, err := verify.NewKeySet(keys...)
	if err != nil {
		w.facts.violate("keys: %v", err)
		return
	}
	backend, err := verify.New(verify.Config{Issuer: issuer, Audience: w.pool.String(), Algorithms: []token.Alg{token.ES256, token.EdDSA}, Keys: set})
	if err != nil {
		w.facts.violate("keys: %v", err)
		return
	}
	for _, b := range heard {
		w.facts.count("the network tries what it heard at a backend")
		if _, err := backend.Verify(context.Background(), []byte(b)); err == nil {
			w.facts.violate("a backend believes what the network heard")
		}
	}
}

// replay has the network say on a connection of its own what it heard devices say.
func (w *World) replay(number int) {
	c := w.connect(w.fate, "the network", number)
	if err := c.open(w.ctx, w.someReplica(w.fate), c.anonymous()); err != nil {
		return
	}
	w.net.mu.Lock()
	for _, b := range w.net.broker.heard {
		if m, err := protocol.Decode([]byte(b)); err == nil && m.Type() != protocol.TypeGrant && m.Type() != protocol.TypeChallenge && m.Type() != protocol.TypeRefusal {
			w.facts.count("the network says again what it heard")
			w.net.deliver(parcel{c: c, raw: []byte(b)}, w.fate.dice.upTo(time.Second))
		}
	}
	w.net.mu.Unlock()
	w.fate.rest(2 * time.Second)
	if st := c.now(); !st.Device.IsZero() {
		w.facts.violate("a connection of the network's is %s's", st.Device)
	}
	c.end()
}

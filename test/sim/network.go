package sim

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// resend is how often a device repeats a request that has no reply.
// It divides no timeout, so that the two never fall together.
const resend = 1937501113 * time.Nanosecond

// anonymousLife is how long a replica bears a connection on which nobody is admitted.
const anonymousLife = 2 * time.Minute

// A conn is one device's connection through the network. It implements agent.Connection over one
// lane or, where the network relays it, several, which are the network's. Its calls are a link's of
// agent/mqttlink, but it is none itself: the MQTT client of that has goroutines which act when the Go
// scheduler likes, so that one seed would tell more than one story.
type conn struct {
	w       *World
	owner   string
	name    [sha256.Size]byte // of its TLS, as its owner knows it
	relayed bool              // its TLS ends in the network
	key     ident.Device      // whose key is at its end; zero for nobody's
	actor   *actor            // who uses it
	dice    *dice
	doubt   func() error // of the certificate; nil: there is none

	calls mqttlink.Calls

	mu    sync.Mutex // guards the fields below
	lanes []*lane
	asked []byte // the last request
	last  []byte // the last reply handed to the device
	ended bool

	events chan *protocol.Event
	done   chan struct{}
}

func (w *World) connect(who *actor, owner string, number int) *conn {
	c := w.direct(who, owner, number)
	if c.relayed = w.net.relays(c); c.relayed {
		w.facts.count("connection through the network's MQTT broker")
	}
	return c
}

// direct is connect without anybody in between.
func (w *World) direct(who *actor, owner string, number int) *conn {
	c := &conn{
		w: w, owner: owner, name: sha256.Sum256(fmt.Appendf(nil, "connection %d of %s", number, owner)), actor: who, dice: w.newDice("connection %d of %s", number, owner),
		events: make(chan *protocol.Event), done: make(chan struct{}),
	}
	c.calls.Resend, c.calls.Done, c.calls.Err = resend, c.done, func() error { return errClosed }
	c.calls.Send = func(_ context.Context, request []byte) error {
		who.turn()
		w.net.send(c, request)
		return nil
	}
	return c
}

// keeps makes l one of the connection's, unless that has ended.
func (c *conn) keeps(l *lane) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lanes = append(c.lanes, l)
	return !c.ended
}

// way is the lane that the next message takes, nil if there is none.
func (c *conn) way() *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended || len(c.lanes) == 0:
		return nil
	case len(c.lanes) == 1:
		return c.lanes[0]
	}
	return c.lanes[c.dice.roll(len(c.lanes))]
}

// now is what the connection stands on, zero if it has ended or is nobody's.
func (c *conn) now() access.Standing {
	l := c.way()
	if l == nil || c.relayed {
		return access.Standing{}
	}
	return l.standing()
}

func (c *conn) end() { c.finish((*lane).cut) }

// lose ends the connection for its owner alone.
func (c *conn) lose() { c.finish((*lane).abandon) }

// finish ends the connection, and each of its lanes in that way; again does nothing.
func (c *conn) finish(leave func(*lane)) {
	c.mu.Lock()
	lanes := c.lanes
	was := c.ended
	c.ended = true
	c.mu.Unlock()
	if was {
		return
	}
	close(c.done)
	for _, l := range lanes {
		leave(l)
	}
}

// End names it; all replicas have one key, and the network another.
func (c *conn) End() agent.End {
	server := "replicas"
	if c.relayed {
		server = "the network"
	}
	return agent.End{Channel: c.name[:], Server: []byte(server)}
}

// Doubt says why the certificate is not believed now.
func (c *conn) Doubt() error {
	if c.doubt == nil {
		return nil
	}
	return c.doubt()
}

// Events gives hints.
func (c *conn) Events() <-chan *protocol.Event { return c.events }

// Done is closed at the connection's end.
func (c *conn) Done() <-chan struct{} { return c.done }

// Close ends it, now and then without a word.
func (c *conn) Close() error {
	c.actor.turn()
	c.mu.Lock()
	lanes, over := c.lanes, c.ended
	c.mu.Unlock()
	if !over && c.actor.dice.roll(2) == 0 {
		for _, l := range lanes {
			l.goodbye()
		}
	}
	c.end()
	return nil
}

// RoundTrip sends request until something with its call id comes back.
func (c *conn) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	return c.ask(ctx, request, c.calls.RoundTrip)
}

// Listen is RoundTrip for a request that was sent.
func (c *conn) Listen(ctx context.Context, request []byte) ([]byte, error) {
	c.w.facts.count("late message passed over by an agent")
	return c.ask(ctx, request, c.calls.Listen)
}

// ask notes what is asked and what came of it.
func (c *conn) ask(ctx context.Context, request []byte, by func(context.Context, []byte) ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	c.asked = request
	c.mu.Unlock()
	reply, err := by(ctx, request)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = reply
	return reply, nil
}

var (
	_ agent.Connection = (*conn)(nil)
	_ agent.Listener   = (*conn)(nil)
	_ agent.Bound      = (*conn)(nil)
	_ agent.Doubtful   = (*conn)(nil)
)

// A parcel is a message that the network remembers.
type parcel struct {
	c     *conn
	raw   []byte
	reply bool
}

// overheard is what the network knows of one call.
type overheard struct {
	said  protocol.Transcript
	base  protocol.Transcript // before the last challenge's answer
	seal  []byte
	nonce []byte
	ours  bool // a message of the call asked to seal to the network
}

// A network carries messages, honestly when calm and otherwise as badly as it can.
type network struct {
	w    *World
	mine *ecdh.PrivateKey // what it would like grants to be sealed to

	mu      sync.Mutex // guards the fields below
	calm    bool
	doubles bool // nothing worse than that
	history []parcel
	calls   map[protocol.CallID]*overheard
	tried   map[[32]byte]bool              // grants that it has tried to open
	loot    map[string]*protocol.GrantBody // old grants of devices, by owner
	broker  mqttBroker
	stolen  []*token.Signer // anchors that were replaced, in order
}

func (n *network) settle() {
	n.mu.Lock()
	n.calm, n.broker.open = true, false
	n.mu.Unlock()
}

// kind reports whether nobody is to be ambushed.
func (n *network) kind() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calm || n.doubles
}

// send carries a request to some replica.
func (n *network) send(c *conn, raw []byte) { n.carry(parcel{c: c, raw: raw}) }

// reply carries a reply to the connection that it answers.
func (n *network) reply(c *conn, raw []byte) { n.carry(parcel{c: c, raw: raw, reply: true}) }

func (n *network) carry(p parcel) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.w.facts.hear(p.raw)
	n.tap(p.c, p.raw)
	dice := p.c.dice
	if n.calm {
		n.deliver(p, dice.upTo(20*time.Millisecond))
		return
	}
	if n.doubles {
		n.double(p)
		return
	}
	if n.history = append(n.history, p); len(n.history) > 200 {
		n.history = n.history[100:]
	}
	switch dice.roll(20) {
	case 0:
		n.w.facts.count("message dropped")
	case 1: // the copies out of step
		n.w.facts.count("message doubled")
		n.deliver(p, dice.upTo(time.Second))
		n.deliver(p, dice.upTo(10*time.Second))
	case 2: // and overtaken by others
		n.w.facts.count("message late")
		n.deliver(p, dice.upTo(20*time.Second))
	case 3: // something old comes as well
		old := n.history[dice.roll(len(n.history))]
		n.w.facts.count("message replayed")
		if dice.roll(2) == 0 && old.c != p.c {
			n.w.facts.count("message replayed to another")
			old.c = p.c
		}
		n.deliver(old, dice.upTo(time.Second))
		n.deliver(p, dice.upTo(time.Second))
	case 4, 5:
		p.raw = n.edit(p)
		n.deliver(p, dice.upTo(100*time.Millisecond))
	case 6:
		if raw := n.forge(p); raw != nil {
			n.deliver(parcel{c: p.c, raw: raw, reply: true}, dice.upTo(time.Millisecond))
		}
		n.deliver(p, dice.upTo(time.Second))
	case 7:
		if raw := n.ask(p); raw != nil {
			n.deliver(parcel{c: p.c, raw: raw, reply: true}, dice.upTo(time.Millisecond))
		}
		n.deliver(p, dice.upTo(20*time.Millisecond))
	default:
		n.deliver(p, dice.upTo(20*time.Millisecond))
	}
}

// double delivers p twice. Of an answer's copies one brings a grant, the other a
// refusal, which may overtake it.
func (n *network) double(p parcel) {
	n.deliver(p, p.c.dice.upTo(20*time.Millisecond))
	n.deliver(p, p.c.dice.upTo(60*time.Millisecond))
}

// deliver lets p arrive after delay, a request at the replica that its connection leads to, or
// where the network relays that, at any. The caller holds mu.
func (n *network) deliver(p parcel, delay time.Duration) {
	n.overhear(p)
	who := n.w.newActor(p.c.dice.more())
	n.w.busy.Go(func() {
		if !who.sleep(n.w.ctx, delay) {
			return
		}
		if p.reply {
			p.c.calls.Arrive(p.raw)
		} else {
			if l := p.c.way(); l == nil || !l.ask(p.raw, who) {
				n.w.facts.count("message on a connection that has ended")
			}
		}
	})
}

// overhear follows a call's transcript, and tries to open what it may open.
func (n *network) overhear(p parcel) {
	m, err := protocol.Decode(p.raw)
	if err != nil {
		return
	}
	o := n.calls[m.Call()]
	if o == nil {
		o = &overheard{}
		n.calls[m.Call()] = o
	}
	switch m := m.(type) {
	case *protocol.Start:
		o.said, o.seal, o.nonce = protocol.Transcript{}.Add(p.raw), m.SealTo, m.Nonce
	case *protocol.Enroll:
		o.said, o.seal, o.nonce = protocol.Transcript{}.Add(p.raw), m.SealTo, m.Nonce
	case *protocol.Challenge:
		o.base = o.said.Add(m.Body)
	case *protocol.Answer:
		o.said = o.base.Add(p.raw)
	case *protocol.Refresh:
		o.said = protocol.Transcript{}.Add(m.Body)
		if body, err := protocol.DecodeRefreshBody(m.Body); err == nil {
			o.seal, o.nonce = body.SealTo, body.Nonce
		}
	case *protocol.Grant:
		n.pry(p.c.owner, o, m)
	}
	o.ours = o.ours || bytes.Equal(o.seal, n.mine.PublicKey().Bytes())
}

// pry tries to open a grant with the network's own key, if it may be sealed to that.
func (n *network) pry(owner string, o *overheard, g *protocol.Grant) {
	seen := sha256.Sum256(g.Sealed)
	if !o.ours || n.tried[seen] || !n.w.facts.isMade(g) {
		return
	}
	n.tried[seen] = true
	n.w.facts.count("the network tries to open a grant")
	if _, err := protocol.OpenGrant(n.mine, o.said, g.Sealed); err == nil {
		n.w.facts.violate("the network opened a grant of %s", owner)
	}
}

// forge seals an old grant of the device's to its new call, if a thief gave one away.
func (n *network) forge(p parcel) []byte {
	body := n.loot[p.c.owner]
	id, err := protocol.CallOf(p.raw)
	if body == nil || p.reply || err != nil {
		return nil
	}
	n.overhear(p)
	o := n.calls[id]
	if o == nil || o.seal == nil {
		return nil
	}
	what, forged := "grant forged", *body
	if p.c.dice.roll(2) == 0 && n.pretend(p, &forged, o.nonce) {
		what = "grant forged with a replaced anchor"
	}
	plain, err := detcbor.Marshal(&forged)
	if err != nil {
		return nil
	}
	sealed, err := protocol.SealGrant(o.seal, o.said, plain)
	if err != nil {
		return nil
	}
	raw, err := protocol.Encode(&protocol.Grant{Head: protocol.Head{ID: id}, Sealed: sealed})
	if err != nil {
		return nil
	}
	n.w.facts.happens(what, "the network forges a grant for %s", p.c.owner)
	return raw
}

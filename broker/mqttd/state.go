package mqttd

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker/mqttd/deadline"
	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/session"
	"github.com/signetd/signet/broker/mqttd/subscription"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// A stateKey is whose a session is: a client id is its device's own, so that nobody comes by
// another's session. Ids of the protocol's grammar say themselves whose they are, and have no
// device here: the connection of an anonymous one becomes a device's and keeps its key.
type stateKey struct {
	device ident.Device
	id     string
}

// A state is what the standard calls Session State (MQTT 5, section 4.1): subscriptions and
// messages of one client, with a connection or without. It has one connection at a time.
type state struct {
	srv    *Server
	key    stateKey
	room   *message.Room // of its messages
	shared *message.Room // of all of its device's; nil for one that had none when it began

	// standing is what its client may do. It is of the connection while there is one, and
	// that of the last one after it; a Review changes both alike.
	standing atomic.Pointer[Standing]

	// Guarded by the registry's mutex.
	owner  *conn  // the connection that has claimed it; nil: its client is away
	next   *state // another of the same device
	number uint64 // of its last connection; one of its own before the first
	bound  bool   // it is in the list of its device's
	dead   bool   // it is in none, but for its key, which it keeps while a request is in work

	place deadline.Place // of its absence

	mu      sync.Mutex // guards the rest
	flow    *session.Session
	index   subscription.Subscriber[*state] // its subscriptions
	replies listening                       // to its own reply topic, which is in no index
	events  listening                       // to its own event topic
	owed    []owed                          // of what is retained
	conn    *conn                           // that it is delivered to; nil: it is away, or its CONNACK is not out
	will    *will                           // that its connection left
	ends    time.Time                       // of a session without a connection; zero: never
	expiry  uint32                          // seconds for which it outlives its connection; never: for ever
	over    bool                            // it is to end: nothing is added any more
	ended   bool                            // it has: nothing is left of it
}

// isOver reports whether the session is to end, or has.
func (st *state) isOver() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.over
}

// endsAt is when a session without a connection ends; far away if never.
func (st *state) endsAt() time.Time {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ends.IsZero() {
		return time.Now().AddDate(1000, 0, 0)
	}
	return st.ends
}

// never is the session expiry interval of one that does not expire (section 3.1.2.11.2).
const never = 1<<32 - 1

// listening is a subscription to one of the client's own two topics.
type listening struct {
	on         bool
	identifier uint32
}

func (s *Server) newState(k stateKey, within *message.Room) *state {
	st := &state{srv: s, key: k, room: message.NewRoom(s.cfg.SessionMessages, s.cfg.SessionBytes, within)}
	if within != s.room {
		st.shared = within
	}
	st.index.Owner = st
	st.flow = session.New(session.Limits{Inflight: maxInflight, Incoming: maxInflight}, st.room)
	return st
}

// bar takes from the session's device whatever it may do.
func (st *state) bar() { st.standing.Store(&Standing{Device: st.standing.Load().Device}) }

// letNoWillWait forgets a will that waits, or will when the connection ends.
func (st *state) letNoWillWait(connected bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.will != nil && (!connected || st.will.delay > 0 && st.expiry > 0) {
		st.will = nil
	}
}

// mayRead reports whether a message of this topic may be delivered now.
func (st *state) mayRead(n topic.Name) bool { return mayRead(st.standing.Load(), n.Filter()) }

// owed is what is retained for a new subscription and not yet on its way.
type owed struct {
	filter  topic.Filter
	options subscription.Options
	after   uint64 // the place of the last message that was
}

// owe has what is retained for a subscription sent, from the beginning. st.mu is held.
func (st *state) owe(f topic.Filter, o subscription.Options) {
	st.forgive(f)
	st.owed = append(st.owed, owed{f, o, 0})
}

// forgive ends owe. st.mu is held.
func (st *state) forgive(f topic.Filter) {
	if st.owed = slices.DeleteFunc(st.owed, func(o owed) bool { return o.filter == f }); len(st.owed) == 0 {
		st.owed = nil
	}
}

// retainedAtOnce is how many retained messages are taken up when nothing else waits: a client that
// subscribes to many gets them as it takes them, and its room is not full of them.
const retainedAtOnce = 128

// payOff takes up some of what is owed, and reports whether that was anything. st.mu is held.
func (st *state) payOff(now time.Time) bool {
	if len(st.owed) == 0 || st.over {
		return false
	}
	o := &st.owed[0]
	ids := identifiersOf(o.options)
	before := st.flow.Len()
	found, last := st.srv.retained.Next(now, o.filter, o.after, retainedAtOnce)
	for _, k := range found {
		if o.options.NoLocal && k.Client == st.key.id && k.Owner == st.standing.Load().Device || !st.mayRead(k.Topic) {
			continue
		}
		d := session.Delivery{Message: k.Message, QoS: min(k.QoS, o.options.QoS), Retain: true, Identifiers: ids}
		switch err := st.flow.Add(now, d); {
		case err == nil:
		case st.flow.Len() > 0:
			return st.flow.Len() > before // once some of that is gone there is room for it
		default:
			st.srv.dropped(DropSlow)
		}
		o.after = k.Place()
	}
	if last == 0 {
		if st.owed = slices.Delete(st.owed, 0, 1); len(st.owed) == 0 {
			st.owed = nil
		}
	} else {
		o.after = last
	}
	return true
}

// outcome is what became of a delivery.
type outcome byte

const (
	delivered  outcome = iota // it is on its way, or waits
	passedOver                // it may not have it, or is away and the message is not kept for it
	full                      // there is no room for it
)

// deliver adds a message to what the client is to get.
func (st *state) deliver(d session.Delivery, now time.Time) outcome {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.mayRead(d.Message.Topic) || st.over || st.conn == nil && d.QoS == message.AtMostOnce {
		return passedOver
	}
	if st.pass(&d, now) {
		return delivered
	}
	defer st.tell()
	if err := st.flow.Add(now, d); err != nil {
		if d.QoS == message.AtMostOnce || !errors.Is(err, session.ErrFull) {
			st.srv.dropped(DropSlow)
			return passedOver
		}
		return full
	}
	st.send(now)
	return delivered
}

// pass sends a delivery that the client may have at once, if nothing waits before it. st.mu is held.
func (st *state) pass(d *session.Delivery, now time.Time) bool {
	c := st.conn
	if c == nil || c.isEnding() || !c.stream.Ready() || !c.fits(d, now) {
		return false
	}
	out, ok := st.flow.Send(now, *d)
	if ok {
		c.deliver(&out, now)
	}
	return ok
}

// wants reports whether a message would be added to what the client is to get.
func (st *state) wants(m *message.Message) bool {
	return st.mayRead(m.Topic) && !st.isOver()
}

// reserve takes room for a delivery; false if there is none.
func (st *state) reserve(size int, now time.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	defer st.tell()
	return st.flow.MakeRoom(now, size) && st.room.Take(size)
}

// pump sends what may be sent now. st.mu is held.
func (st *state) pump(now time.Time) {
	defer st.tell()
	st.send(now)
}

func (st *state) send(now time.Time) {
	c := st.conn
	if c == nil || c.isEnding() {
		return
	}
	judge := func(d session.Delivery) session.Cause {
		switch {
		case !st.mayRead(d.Message.Topic):
			return session.Forbidden
		case !c.fits(&d, now):
			return session.TooLarge
		}
		return session.None
	}
	for c.stream.Ready() {
		out, ok := st.flow.Next(now, judge)
		switch {
		case ok:
			c.deliver(&out, now)
		case len(st.owed) == 0:
			return
		case st.flow.Expire(now): // and it may have been all that waits
		case st.flow.Queued() > 0 || !st.payOff(now):
			return
		}
	}
}

// dropsOf are the causes of package session in this package's words.
var dropsOf = [session.Causes]Drop{
	session.Expired: DropExpired, session.Forbidden: DropDenied, session.TooLarge: DropDenied, session.Gone: DropGone, session.Crowded: DropSlow,
}

// tell tells of deliveries that the session has dropped since it last did. st.mu is held.
func (st *state) tell() {
	for cause, n := range st.flow.Dropped() {
		if n > 0 {
			st.srv.cfg.OnDrop(dropsOf[cause], n)
		}
	}
}

// note counts an acknowledgement that fits nothing. st.mu is held.
func (st *state) note(err error) {
	if err != nil {
		st.srv.dropped(DropUnknownAck)
	}
}

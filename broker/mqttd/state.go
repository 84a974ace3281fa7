package mqttd

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

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
	owner *conn  // the connection that has claimed it; nil: its client is away
	next  *state // another of the same device
	bound bool   // it is in the list of its device's
	dead  bool   // it is in none, but for its key, which it keeps while a request is in work

	mu      sync.Mutex // guards the rest
	flow    *session.Session
	told    *[session.Causes]uint64         // what was told of deliveries that it dropped; nil: there were none
	index   subscription.Subscriber[*state] // its subscriptions
	replies listening                       // to its own reply topic, which is in no index
	events  listening                       // to its own event topic
	conn    *conn                           // that it is delivered to; nil: it is away, or its CONNACK is not out
	expiry  uint32                          // seconds for which it outlives its connection; never: for ever
	will    *will                           // that its connection left
	ends    time.Time                       // of a session without a connection; zero: never
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

// mayRead reports whether a message of this topic may be delivered now.
func (st *state) mayRead(n topic.Name) bool { return mayRead(st.standing.Load(), n.Filter()) }

// outcome is what became of a delivery.
type outcome byte

const (
	delivered  outcome = iota // it is on its way, or waits
	passedOver                // it may not have it, or is away and the message is not kept for it
	full                      // there is no room for it
)

// deliver adds a message to what the client is to get.
func (st *state) deliver(d session.Delivery, now time.Time) outcome {
	if !st.mayRead(d.Message.Topic) {
		return passedOver
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over || st.conn == nil && d.QoS == message.AtMostOnce {
		return passedOver
	}
	if err := st.flow.Add(now, d); err != nil {
		if d.QoS == message.AtMostOnce || !errors.Is(err, session.ErrFull) {
			st.srv.dropped(DropSlow)
			return passedOver
		}
		return full
	}
	st.pump(now)
	return delivered
}

// pump sends what may be sent now. st.mu is held.
func (st *state) pump(now time.Time) {
	defer st.tell()
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
		if !ok {
			return
		}
		c.deliver(&out, now)
	}
}

// dropsOf are the causes of package session in this package's words.
var dropsOf = [session.Causes]Drop{
	session.Expired: DropExpired, session.Forbidden: DropDenied, session.TooLarge: DropDenied, session.Gone: DropGone, session.Crowded: DropSlow,
}

// tell tells of deliveries that the session has dropped since it last did. st.mu is held.
func (st *state) tell() {
	drops := st.flow.Dropped()
	if drops == [session.Causes]uint64{} {
		return
	}
	if st.told == nil {
		st.told = new([session.Causes]uint64)
	}
	for cause, n := range drops {
		if more := n - st.told[cause]; more > 0 {
			st.srv.cfg.OnDrop(dropsOf[cause], int(more))
		}
	}
	*st.told = drops
}

// note counts an acknowledgement that fits nothing. st.mu is held.
func (st *state) note(err error) {
	if err != nil {
		st.srv.dropped(DropUnknownAck)
	}
}

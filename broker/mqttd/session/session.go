// Package session is one MQTT session's deliveries: what waits to be sent to the client,
// what it has not acknowledged yet, and which identifiers of its own publishing are under
// way (MQTT 5, sections 4.1, 4.3, 4.4, 4.6 and 4.9; the same for MQTT 3.1.1).
//
// It does no I/O, starts nothing, reads no clock, takes no lock of its own and knows no
// packets: its owner calls it one call at a time, and writes what Next gives.
//
// # Order
//
// Deliveries of QoS 1 and 2 leave in the order of Add, whatever their topics. QoS 0 keeps its
// place among them while the client's window is open; where it is not, QoS 0 passes those
// that wait for it (section 4.9 allows that), in order among themselves. So the order
// that section 4.6 asks for, that of each topic and QoS, always holds. After a new connection
// PUBRELs are sent again in the order of their PUBRECs, then PUBLISHes in the order in
// which they were sent first, then what is new. The PUBREL that answers a PUBREC comes from Next,
// too, before all else; no window holds it.
//
// # Bounds
//
// Each delivery takes its message's size of a [message.Room] from Add until the client has it
// (PUBACK, PUBREC, or sent at QoS 0). When that is full, what has expired goes first, then, for
// a delivery of QoS 1 or 2, the session's own of QoS 0, oldest first; and if that is not
// enough, Add says ErrFull. A packet identifier is given to nobody while the client may
// still know it. The window is not counted up and down: it is what the client allows less what is
// in flight.
package session

import (
	"errors"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/topic"
)

// Limits of a session, in packets. What lies outside 1 to 65535 counts as the nearest of them.
// Identifiers are looked for one by one, so limits of thousands cost time.
type Limits struct {
	// Inflight is our own bound on deliveries of QoS 1 and 2 that were sent and are not
	// acknowledged, whatever the client allows.
	Inflight int
	// Incoming is the Receive Maximum that the server promises: PUBLISHes of QoS 1 and 2 on one connection
	// that it has not answered for good (section 3.1.2.11.3). Of QoS 2 identifiers, which stay
	// over connections, twice as many are kept.
	Incoming int
}

// What Add may say.
var (
	ErrFull   = errors.New("session: no room for the message; end the session or refuse its publisher (0x97)")
	ErrAbsent = errors.New("session: the client is not connected, nothing of QoS 0 is kept for it")
	ErrClosed = errors.New("session: it is closed")
)

// A Cause says why a delivery was dropped. The zero Cause is none.
type Cause byte

// The causes.
const (
	None      Cause = iota
	Expired         // its time was over before it was first sent (section 3.3.2.3.3)
	Forbidden       // the client may not have it any more
	TooLarge        // for the client's Maximum Packet Size (section 3.1.2.11.4)
	Gone            // QoS 0, and the connection ended before it was sent
	Crowded         // QoS 0, and its room was needed for QoS 1 or 2
	Causes          // how many there are
)

func (c Cause) String() string {
	if c >= Causes {
		return "unknown"
	}
	return [Causes]string{"none", "expired", "forbidden", "too_large", "gone", "crowded"}[c]
}

// A Delivery is a message on its way to one client.
type Delivery struct {
	Message     *message.Message
	Identifiers []uint32            // of the subscriptions that it is for (section 3.3.2.3.8); shared, never changed
	Share       *topic.Subscription // the shared subscription that it is for, or nil; shared, never changed
	QoS         message.QoS         // the lower of the message's and the subscription's
	Retain      bool                // the flag to be sent
}

// Size is the room that a Delivery takes, in bytes.
func (d *Delivery) Size() int { return size(d.Message, d.Identifiers) }

func size(m *message.Message, identifiers []uint32) int { return m.Size() + 4*len(identifiers) }

// A Judge says whether a delivery may be sent now, or for which Cause it is dropped. It is
// asked before each PUBLISH, those that are sent again included; one of QoS 2 that it drops then is
// ended by a PUBREL, so that its identifier is free on both sides. It may not call the session.
type Judge func(Delivery) Cause

// An Out is a packet for the client: the delivery as a PUBLISH or, with Release, a PUBREL of no
// more than an ID.
type Out struct {
	Delivery
	ID      uint16 // 0 at QoS 0
	Dup     bool
	Release bool
}

// A Session is one client's. Its zero value is not usable: New makes it.
type Session struct {
	room  *message.Room
	bytes int

	// acked holds deliveries of QoS 1 and 2, oldest first: the first sent of them are in
	// flight with an id, and the first resent of these were sent on this connection.
	acked  queue
	sent   int
	resent int
	plain  queue // deliveries of QoS 0

	// released holds the ids whose message the client has and which it has not forgotten yet, in the
	// order of PUBREC; for the first told of them PUBREL was sent on this connection.
	released []uint16
	told     int

	incoming []arrival
	spare    int // how many more than promised the client may send on this connection

	soonest   int64        // no message that waits expires before this Unix time in milliseconds
	dropped   *[Causes]int // since Dropped was called last; nil: none were
	added     uint32       // how many came into either queue, modulo 2^32
	inflight  uint16       // Limits.Inflight
	promised  uint16       // Limits.Incoming
	window    uint16       // what may be in flight on this connection
	lastID    uint16
	connected bool
	closed    bool
}

// New makes an empty session without a connection, whose messages lie in room.
func New(l Limits, room *message.Room) *Session {
	packets := func(n int) uint16 { return uint16(min(max(n, 1), math.MaxUint16)) }
	return &Session{room: room, inflight: packets(l.Inflight), promised: packets(l.Incoming), soonest: math.MaxInt64}
}

// Connect begins a network connection whose client takes so many PUBLISHes of QoS 1 and 2
// before it acknowledges (Receive Maximum; 0 is the same as 65535). All that is
// in flight is sent again on it. A connection that was there is gone: Connect then is
// Disconnect as well.
func (s *Session) Connect(receiveMaximum uint16) {
	s.Disconnect()
	if receiveMaximum == 0 {
		receiveMaximum = math.MaxUint16
	}
	s.window = min(receiveMaximum, s.inflight)
	s.connected = !s.closed
}

// Disconnect ends the connection: deliveries of QoS 0 that wait are dropped, and PUBLISHes of
// QoS 1 from the client that are not answered are forgotten: it sends them again.
func (s *Session) Disconnect() {
	s.connected, s.resent, s.told = false, 0, 0
	for s.plain.len() > 0 {
		s.drop(&s.plain, 0, Gone)
	}
	s.forgetUnanswered()
}

// Add takes a delivery to be sent in its turn. The errors are ErrFull, ErrAbsent and
// ErrClosed; the session then has not taken it.
func (s *Session) Add(now time.Time, d Delivery) error {
	switch {
	case s.closed:
		return ErrClosed
	case d.QoS == message.AtMostOnce && !s.connected:
		return ErrAbsent
	case !s.take(now, d):
		return ErrFull
	}
	if expires := d.Message.Expires; !expires.IsZero() {
		s.soonest = min(s.soonest, expires.UnixMilli())
	}
	q := &s.acked
	if d.QoS == message.AtMostOnce {
		q = &s.plain
	}
	s.added++
	q.push(slotOf(d, s.added, now))
	return nil
}

// take makes room for d.
func (s *Session) take(now time.Time, d Delivery) bool {
	size := d.Size()
	ok := s.claim(now, size, d.QoS)
	if ok {
		s.bytes += size
	}
	return ok
}

func (s *Session) claim(now time.Time, size int, qos message.QoS) bool {
	ok := s.room.Take(size)
	if !ok && s.Expire(now) {
		ok = s.room.Take(size)
	}
	for !ok && qos != message.AtMostOnce && s.plain.len() > 0 {
		s.drop(&s.plain, 0, Crowded)
		ok = s.room.Take(size)
	}
	return ok
}

// MakeRoom reports whether Add would find room for a message of that size now, and makes it as
// Add does for a delivery of QoS 1 or 2. It takes none.
func (s *Session) MakeRoom(now time.Time, size int) bool {
	if s.closed || !s.claim(now, size, message.AtLeastOnce) {
		return false
	}
	s.room.Give(1, size)
	return true
}

// Send is Add and Next in one for a delivery that can be sent at once: nothing waits before it, it has not
// expired, the client is connected and its window open, and there is room; one of QoS 0 takes none, and passes
// nothing that the client has not acknowledged. Otherwise it does nothing and says so: Add is for that.
// No Judge is asked.
func (s *Session) Send(now time.Time, d Delivery) (out Out, ok bool) {
	if !s.connected || s.Waiting() || d.Message.Expired(now) {
		return Out{}, false
	}
	if d.QoS == message.AtMostOnce {
		return Out{Delivery: d}, s.Len() == 0
	}
	size := d.Size()
	if !s.open() || !s.room.Take(size) {
		return Out{}, false
	}
	s.bytes += size
	s.added++
	at := slotOf(d, s.added, now)
	at.id = s.newID()
	s.acked.push(at)
	s.sent++
	s.resent++
	return Out{Delivery: d, ID: at.id}, true
}

// Waiting reports whether anything waits to be sent, on this connection or the next.
func (s *Session) Waiting() bool {
	return s.resent < s.acked.len() || s.plain.len() > 0 || s.told < len(s.released)
}

// Next gives what is to be sent now, if anything is. What it gives counts as sent. A nil
// judge lets everything pass.
func (s *Session) Next(now time.Time, judge Judge) (Out, bool) {
	if !s.connected {
		return Out{}, false
	}
	if s.told < len(s.released) {
		s.told++
		return Out{ID: s.released[s.told-1], Release: true}, true
	}
	for s.resent < s.sent && s.open() {
		at := s.acked.at(s.resent)
		cause := s.judged(judge, at)
		if cause == None {
			s.resent++
			return at.out(true), true
		}
		id, qos := at.id, at.qos
		s.sent--
		s.drop(&s.acked, s.resent, cause)
		if qos == message.ExactlyOnce {
			// The client may have it and know its id, and would take the next message under that
			// id for the same one. So the id is not free before the client says so.
			s.released = append(s.released, id)
			s.told++
			return Out{ID: id, Release: true}, true
		}
	}
	// Where a PUBLISH is still to be sent again, the window is not open.
	for {
		may := s.sent < s.acked.len() && s.open()
		if s.plain.len() > 0 && (!may || s.plain.at(0).before(s.acked.at(s.sent))) {
			at := s.plain.at(0)
			if cause := s.fresh(now, judge, at); cause != None {
				s.drop(&s.plain, 0, cause)
				continue
			}
			out := at.out(false)
			s.forget(&s.plain, 0)
			return out, true
		}
		if !may {
			return Out{}, false
		}
		at := s.acked.at(s.sent)
		if cause := s.fresh(now, judge, at); cause != None {
			s.drop(&s.acked, s.sent, cause)
			continue
		}
		at.id = s.newID()
		s.sent++
		s.resent++
		return at.out(false), true
	}
}

// open reports whether the client's window lets another PUBLISH of QoS 1 or 2 through. Of what an
// earlier connection left, PUBLISHes count from when they are sent again (the quota begins anew,
// section 4.9), PUBRELs always.
func (s *Session) open() bool { return s.resent+len(s.released) < int(s.window) }

// fresh is what there is against a delivery that was never sent.
func (s *Session) fresh(now time.Time, judge Judge, at *slot) Cause {
	if at.message.Expired(now) {
		return Expired
	}
	return s.judged(judge, at)
}

func (s *Session) judged(judge Judge, at *slot) Cause {
	if judge == nil {
		return None
	}
	if cause := judge(at.delivery()); cause < Causes {
		return cause
	}
	return Forbidden
}

// newID is the next packet identifier that is not in use (section 2.2.1). There is one: less than
// 65535 are in flight when it is called.
func (s *Session) newID() uint16 {
	for {
		s.lastID++
		if s.lastID == 0 {
			s.lastID = 1
		}
		if s.inFlight(s.lastID) < 0 && !slices.Contains(s.released, s.lastID) {
			return s.lastID
		}
	}
}

// inFlight is the place in acked of what was sent under id, or -1.
func (s *Session) inFlight(id uint16) int {
	for i, at := range s.acked.all()[:s.sent] {
		if at.id == id {
			return i
		}
	}
	return -1
}

// Expire drops what waits and has expired, and reports whether there was anything. It costs
// nothing where nothing can have expired. Next and Add do it where they need to; it is
// for sessions whose client stays away.
func (s *Session) Expire(now time.Time) bool {
	if now.UnixMilli() < s.soonest {
		return false
	}
	s.soonest = math.MaxInt64
	gone, bytes := 0, 0
	keep := func(at *slot) bool {
		m := at.message
		switch {
		case m.Expired(now):
			gone++
			bytes += at.size()
			return false
		case !m.Expires.IsZero():
			s.soonest = min(s.soonest, m.Expires.UnixMilli())
		}
		return true
	}
	s.acked.filter(s.sent, keep)
	s.plain.filter(0, keep)
	s.count(Expired, gone)
	s.bytes -= bytes
	s.room.Give(gone, bytes)
	return gone > 0
}

// drop forgets what lies at i of q, and counts why.
func (s *Session) drop(q *queue, i int, cause Cause) {
	s.count(cause, 1)
	s.forget(q, i)
}

// count counts deliveries that are dropped.
func (s *Session) count(cause Cause, n int) {
	if n == 0 {
		return
	}
	if s.dropped == nil {
		s.dropped = new([Causes]int)
	}
	s.dropped[cause] += n
}

// forget takes what lies at i out of q, and gives its room back.
func (s *Session) forget(q *queue, i int) {
	size := q.at(i).size()
	s.bytes -= size
	s.room.Give(1, size)
	q.remove(i)
}

// Len is how many deliveries the session holds, and Bytes what room they take; Queued counts those
// never sent, Inflight those of QoS 1 and 2 that the client is not done with, the ids
// alone of QoS 2 messages that it has included.
func (s *Session) Len() int      { return s.acked.len() + s.plain.len() }
func (s *Session) Bytes() int    { return s.bytes }
func (s *Session) Queued() int   { return s.Len() - s.sent }
func (s *Session) Inflight() int { return s.sent + len(s.released) }

// Oldest is when the oldest delivery of QoS 1 or 2 that the client does not have yet was
// added, to the second.
func (s *Session) Oldest() (time.Time, bool) {
	if s.acked.len() == 0 {
		return time.Time{}, false
	}
	return time.Unix(int64(s.acked.at(0).added), 0), true
}

// Dropped counts the deliveries that were dropped since it was called last, by Cause.
func (s *Session) Dropped() (n [Causes]int) {
	if s.dropped != nil {
		n, s.dropped = *s.dropped, nil
	}
	return n
}

// A Left is a delivery that a session did not bring to its end.
type Left struct {
	Delivery
	Sent bool // the client may have it
}

// HandOver reports whether another member of the shared subscription is to get it (section 4.8.2): never
// one of QoS 2 that was sent ([MQTT-4.8.2-5]).
func (l Left) HandOver() bool {
	return l.Share != nil && (!l.Sent || l.QoS != message.ExactlyOnce)
}

// Close ends the session for good and gives its room back. What it had not brought to its
// end comes from the iterator, oldest first, QoS 0 last; it may be left unread.
func (s *Session) Close() iter.Seq[Left] {
	s.room.Give(s.Len(), s.bytes)
	acked, plain, sent := s.acked, s.plain, s.sent
	*s = Session{room: s.room, inflight: s.inflight, promised: s.promised, dropped: s.dropped, soonest: math.MaxInt64, closed: true}
	return func(yield func(Left) bool) {
		for i, at := range acked.all() {
			if !yield(Left{at.delivery(), i < sent}) {
				return
			}
		}
		for _, at := range plain.all() {
			if !yield(Left{at.delivery(), false}) {
				return
			}
		}
	}
}

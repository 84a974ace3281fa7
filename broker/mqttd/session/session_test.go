package session_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/session"
	"github.com/signetd/signet/protocol/topic/topictest"
)

var start = time.Unix(1800000000, 0)

// published makes a message whose payload is text.
func published(t testing.TB, text string) *message.Message {
	t.Helper()
	name := topictest.Name(t, "t/"+text)
	return &message.Message{Topic: name, Payload: []byte(text)}
}

func add(t testing.TB, s *session.Session, qos message.QoS, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := s.Add(start, session.Delivery{Message: published(t, text), QoS: qos}); err != nil {
			t.Fatalf("add %s: %v", text, err)
		}
	}
}

// show writes an Out as "pub 1 a" (its id and payload), "dup 1 a" or "rel 1".
func show(out session.Out) string {
	switch {
	case out.Release:
		return fmt.Sprintf("rel %d", out.ID)
	case out.Dup:
		return fmt.Sprintf("dup %d %s", out.ID, out.Message.Payload)
	default:
		return fmt.Sprintf("pub %d %s", out.ID, out.Message.Payload)
	}
}

// sends checks that Next gives these and nothing after them.
func sends(t testing.TB, s *session.Session, judge session.Judge, want ...string) {
	t.Helper()
	var got []string
	for out, ok := s.Next(start, judge); ok; out, ok = s.Next(start, judge) {
		got = append(got, show(out))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sends %q, want %q", got, want)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
}

func connected(t testing.TB, window uint16) *session.Session {
	t.Helper()
	s := session.New(session.Limits{Inflight: 64, Incoming: 4}, message.NewRoom(100, 1<<20, nil))
	s.Connect(window)
	return s
}

// TestQoS1 and TestQoS2 follow one delivery (section 4.3).
func TestQoS1(t *testing.T) {
	s := connected(t, 0)
	add(t, s, 1, "a")
	sends(t, s, nil, "pub 1 a")
	is(t, s.Pubrec(1, 0), session.ErrUnexpected)
	is(t, s.Pubcomp(1), session.ErrUnexpected)
	is(t, s.Puback(2), session.ErrUnknown)
	is(t, s.Puback(1), nil)
	is(t, s.Puback(1), session.ErrUnknown)
	if s.Len() != 0 || s.Bytes() != 0 || s.Inflight() != 0 || s.Waiting() {
		t.Errorf("%d deliveries of %d bytes, %d in flight", s.Len(), s.Bytes(), s.Inflight())
	}
}

func TestQoS2(t *testing.T) {
	s := connected(t, 0)
	add(t, s, 2, "a")
	sends(t, s, nil, "pub 1 a")
	is(t, s.Puback(1), session.ErrUnexpected)
	is(t, s.Pubcomp(1), session.ErrUnexpected)
	is(t, s.Pubrec(1, 0), nil)
	if s.Len() != 0 || s.Bytes() != 0 || s.Inflight() != 1 {
		t.Errorf("%d deliveries of %d bytes, %d in flight", s.Len(), s.Bytes(), s.Inflight())
	}
	sends(t, s, nil, "rel 1")
	is(t, s.Pubrec(1, 0x10), nil) // again
	sends(t, s, nil, "rel 1")
	is(t, s.Pubrec(1, 0x80), session.ErrUnexpected)
	is(t, s.Puback(1), session.ErrUnexpected)
	is(t, s.Pubcomp(1), nil)
	is(t, s.Pubcomp(1), session.ErrUnknown)
	if s.Inflight() != 0 {
		t.Errorf("%d in flight", s.Inflight())
	}
}

// The mistakes that MQTT servers make with packet identifiers.

// TestTwoIdentifierSpaces: the client's identifiers and ours have nothing to do with each other.
func TestTwoIdentifierSpaces(t *testing.T) {
	s := connected(t, 0)
	add(t, s, 2, "ours")
	sends(t, s, nil, "pub 1 ours")
	if got, err := s.Receive(1, 2); got != session.Fresh || err != nil {
		t.Errorf("%v %v", got, err)
	}
	s.Received(1, 0)
	if !s.Release(1) {
		t.Error("the client's own is unknown")
	}
	is(t, s.Pubrec(1, 0), nil)
	if s.Release(1) {
		t.Error("ours was released as if it were the client's")
	}
	is(t, s.Pubcomp(1), nil)
}

// TestIdentifierInUse: an identifier is given again only after the client has let go of it, also when all
// 65535 were given in between [MQTT-2.2.1-4].
func TestIdentifierInUse(t *testing.T) {
	s := connected(t, 0)
	add(t, s, 1, "held")
	add(t, s, 2, "released")
	sends(t, s, nil, "pub 1 held", "pub 2 released")
	is(t, s.Pubrec(2, 0), nil)
	sends(t, s, nil, "rel 2")
	d := session.Delivery{Message: published(t, "x"), QoS: 1}
	for i := range 1<<16 + 10 {
		if err := s.Add(start, d); err != nil {
			t.Fatal(err)
		}
		out, ok := s.Next(start, nil)
		if !ok || out.ID < 3 {
			t.Fatalf("delivery %d has the identifier %d", i, out.ID)
		}
		is(t, s.Puback(out.ID), nil)
	}
}

// The mistakes with flow control.

// TestPubrelPassesTheWindow: what makes room in the window does not wait for room [MQTT-4.9.0-3].
func TestPubrelPassesTheWindow(t *testing.T) {
	s := connected(t, 2)
	add(t, s, 2, "a", "b", "c")
	sends(t, s, nil, "pub 1 a", "pub 2 b")
	is(t, s.Pubrec(2, 0), nil)
	is(t, s.Pubrec(1, 0), nil)
	sends(t, s, nil, "rel 2", "rel 1") // in the order of PUBREC [MQTT-4.6.0-4]
	is(t, s.Pubcomp(2), nil)
	sends(t, s, nil, "pub 3 c")
	s.Connect(1) // with two in flight
	sends(t, s, nil, "rel 1")
	is(t, s.Pubcomp(1), nil)
	sends(t, s, nil, "dup 3 c")
}

// TestSlotComesBackOnce: an acknowledgement that comes twice does not widen the window.
func TestSlotComesBackOnce(t *testing.T) {
	s := connected(t, 1)
	add(t, s, 1, "a", "b", "c")
	sends(t, s, nil, "pub 1 a")
	is(t, s.Puback(1), nil)
	is(t, s.Puback(1), session.ErrUnknown)
	sends(t, s, nil, "pub 2 b")
	add(t, s, 2, "d")
	is(t, s.Puback(2), nil)
	sends(t, s, nil, "pub 3 c")
	is(t, s.Puback(3), nil)
	sends(t, s, nil, "pub 4 d")
	add(t, s, 1, "e")
	for range 2 {
		is(t, s.Pubrec(4, 0), nil)
		sends(t, s, nil, "rel 4")
	}
	is(t, s.Pubcomp(4), nil)
	is(t, s.Pubcomp(4), session.ErrUnknown)
	sends(t, s, nil, "pub 5 e")
}

// TestFailedPubrecGivesItsSlotBack: there is no PUBREL and no PUBCOMP after it [MQTT-4.4.0-2].
func TestFailedPubrecGivesItsSlotBack(t *testing.T) {
	s := connected(t, 1)
	add(t, s, 2, "a", "b")
	sends(t, s, nil, "pub 1 a")
	is(t, s.Pubrec(1, 0x97), nil)
	sends(t, s, nil, "pub 2 b")
	is(t, s.Pubcomp(1), session.ErrUnknown)
	s.Connect(1)
	sends(t, s, nil, "dup 2 b")
}

// TestWindowIsTheConnections: it begins anew with each, and is the lower of the client's and ours
// [MQTT-3.3.4-9].
func TestWindowIsTheConnections(t *testing.T) {
	s := session.New(session.Limits{Inflight: 4}, nil)
	s.Connect(2)
	add(t, s, 1, "a", "b", "c", "d", "e", "f")
	sends(t, s, nil, "pub 1 a", "pub 2 b")
	s.Connect(0)
	sends(t, s, nil, "dup 1 a", "dup 2 b", "pub 3 c", "pub 4 d")
	s.Connect(3)
	is(t, s.Puback(2), nil) // one that was not sent again yet
	sends(t, s, nil, "dup 1 a", "dup 3 c", "dup 4 d")
	is(t, s.Puback(1), nil)
	sends(t, s, nil, "pub 5 e")
}

// TestQoS0PassesWhatWaits: it keeps its place while the window is open; when it is not, it does
// not wait for it.
func TestQoS0PassesWhatWaits(t *testing.T) {
	s := connected(t, 2)
	add(t, s, 1, "a")
	add(t, s, 0, "b")
	add(t, s, 1, "c", "d")
	add(t, s, 0, "e")
	add(t, s, 1, "f")
	sends(t, s, nil, "pub 1 a", "pub 0 b", "pub 2 c", "pub 0 e")
	is(t, s.Puback(1), nil)
	sends(t, s, nil, "pub 3 d")
}

// TestReceiveMaximum: what the client may have under way towards us is what we promised, counted for each
// connection.
func TestReceiveMaximum(t *testing.T) {
	receive := func(s *session.Session, id uint16, qos message.QoS, want session.Receipt, wantErr error) {
		t.Helper()
		if got, err := s.Receive(id, qos); got != want || err != wantErr {
			t.Errorf("PUBLISH %d: %v %v, want %v %v", id, got, err, want, wantErr)
		}
	}
	s := connected(t, 0) // promises 4
	receive(s, 1, 2, session.Fresh, nil)
	receive(s, 2, 2, session.Fresh, nil)
	receive(s, 3, 1, session.Fresh, nil)
	receive(s, 4, 1, session.Fresh, nil)
	receive(s, 4, 1, session.Pending, nil)
	receive(s, 4, 2, 0, session.ErrInUse)
	receive(s, 5, 1, 0, session.ErrReceiveMaximum)
	s.Received(4, 0)
	receive(s, 5, 1, session.Fresh, nil)
	s.Received(1, 0x87) // refused: over
	receive(s, 6, 2, session.Fresh, nil)
	receive(s, 7, 2, 0, session.ErrReceiveMaximum)
	s.Received(2, 0)
	receive(s, 7, 2, 0, session.ErrReceiveMaximum) // accepted, not released
	if s.Release(6) {
		t.Error("one that was not accepted was released")
	}
	s.Connect(0) // 2 and 6 stay
	for id := uint16(10); id < 14; id++ {
		receive(s, id, 2, session.Fresh, nil)
	}
	receive(s, 14, 2, 0, session.ErrReceiveMaximum)
	receive(s, 2, 2, 0, session.ErrReceiveMaximum)
	if !s.Release(2) { // its PUBCOMP allows one more
		t.Error("2 is unknown")
	}
	receive(s, 14, 2, session.Fresh, nil)
	receive(s, 15, 2, 0, session.ErrReceiveMaximum)
	s.Connect(0) // six are left: who releases nothing may hold twice the promise, and no more
	receive(s, 20, 2, session.Fresh, nil)
	receive(s, 21, 2, session.Fresh, nil)
	receive(s, 22, 2, 0, session.ErrReceiveMaximum)
	s.Received(20, 0x80)
	receive(s, 22, 2, session.Fresh, nil)
}

// The mistakes with queues.

// TestFull: at the bound of messages or bytes Add says so, and has changed nothing.
func TestFull(t *testing.T) {
	size := published(t, "a").Size()
	for _, room := range []*message.Room{message.NewRoom(2, 1<<20, nil), message.NewRoom(99, 2*size+1, nil)} {
		all := message.NewRoom(99, 1<<20, room)
		s := session.New(session.Limits{Inflight: 9}, all)
		add(t, s, 1, "a")
		add(t, s, 2, "b")
		for range 3 {
			is(t, s.Add(start, session.Delivery{Message: published(t, "c"), QoS: 1}), session.ErrFull)
		}
		if n, bytes := room.Taken(); n != 2 || bytes != 2*size || s.Len() != 2 || s.Bytes() != 2*size {
			t.Errorf("%d messages of %d bytes are in the room", n, bytes)
		}
		s.Connect(0)
		sends(t, s, nil, "pub 1 a", "pub 2 b")
		is(t, s.Add(start, session.Delivery{Message: published(t, "c"), QoS: 1}), session.ErrFull) // in flight counts
		is(t, s.Pubrec(2, 0), nil)
		add(t, s, 1, "c")
		sends(t, s, nil, "rel 2", "pub 3 c")
	}
}

// TestQoS0GivesWay: what may be lost never keeps out what may not, and does not outlive its
// connection.
func TestQoS0GivesWay(t *testing.T) {
	room := message.NewRoom(3, 1<<20, nil)
	s := session.New(session.Limits{Inflight: 9}, room)
	is(t, s.Add(start, session.Delivery{Message: published(t, "a")}), session.ErrAbsent)
	s.Connect(0)
	add(t, s, 0, "a", "b", "c")
	is(t, s.Add(start, session.Delivery{Message: published(t, "d")}), session.ErrFull)
	add(t, s, 1, "e")
	sends(t, s, nil, "pub 0 b", "pub 0 c", "pub 1 e")
	add(t, s, 0, "f")
	s.Disconnect()
	if n, _ := room.Taken(); n != 1 {
		t.Errorf("%d messages are kept", n)
	}
	if d := s.Dropped(); d[session.Crowded] != 1 || d[session.Gone] != 1 {
		t.Errorf("dropped: %v", d)
	}
}

// TestExpiredMakesRoom: what nobody is to get any more keeps nothing out, wherever it lies in the queue
// [MQTT-3.3.2-5].
func TestExpiredMakesRoom(t *testing.T) {
	room := message.NewRoom(3, 1<<20, nil)
	s := session.New(session.Limits{Inflight: 9}, room)
	add(t, s, 1, "a")
	short := published(t, "b")
	short.Expires = start.Add(time.Second)
	if err := s.Add(start, session.Delivery{Message: short, QoS: 2}); err != nil {
		t.Fatal(err)
	}
	add(t, s, 1, "c")
	d := session.Delivery{Message: published(t, "d"), QoS: 1}
	is(t, s.Add(start, d), session.ErrFull)
	is(t, s.Add(start.Add(time.Second), d), nil)
	s.Connect(0)
	sends(t, s, nil, "pub 1 a", "pub 2 c", "pub 3 d")
	if s.Dropped()[session.Expired] != 1 || s.Expire(start.Add(time.Hour)) {
		t.Errorf("dropped: %v", s.Dropped())
	}
}

// The mistakes with QoS 2.

// TestThirdDuplicate: a PUBLISH is accepted once however often it comes [MQTT-4.3.3-10], and its identifier
// is free after PUBREL [MQTT-4.3.3-12], or when it was refused [MQTT-4.3.3-9].
func TestThirdDuplicate(t *testing.T) {
	s := connected(t, 0)
	for range 2 {
		for i, want := range []session.Receipt{session.Fresh, session.Accepted, session.Accepted, session.Accepted} {
			if got, err := s.Receive(7, 2); got != want || err != nil {
				t.Errorf("%v %v, want %v", got, err, want)
			}
			s.Received(7, 0)
			if i == 1 {
				s.Connect(0)
			}
		}
		if !s.Release(7) || s.Release(7) {
			t.Error("not released once")
		}
	}
	s.Receive(7, 2)
	s.Received(7, 0x97)
	if got, err := s.Receive(7, 2); got != session.Fresh || err != nil {
		t.Errorf("%v %v after it was refused", got, err)
	}
}

// TestExpiryIsForWhatWasNeverSent: a delivery under way goes on to its end [MQTT-4.3.3-7].
func TestExpiryIsForWhatWasNeverSent(t *testing.T) {
	s := connected(t, 0)
	for i, text := range []string{"a", "b", "c", "d"} {
		m := published(t, text)
		m.Expires = start.Add(time.Second)
		if err := s.Add(start, session.Delivery{Message: m, QoS: byte(1 + i/2)}); err != nil {
			t.Fatal(err)
		}
		if text == "c" {
			sends(t, s, nil, "pub 1 a", "pub 2 b", "pub 3 c")
		}
	}
	is(t, s.Puback(1), nil)
	is(t, s.Pubrec(3, 0), nil)
	late := start.Add(time.Hour)
	s.Expire(late)
	s.Connect(0)
	var got []string
	for out, ok := s.Next(late, nil); ok; out, ok = s.Next(late, nil) {
		got = append(got, show(out))
	}
	if fmt.Sprint(got) != "[rel 3 dup 2 b]" || s.Dropped()[session.Expired] != 1 {
		t.Errorf("%q, dropped %v", got, s.Dropped())
	}
}

// TestResendByState: after PUBREC it is PUBREL that is sent again, before it PUBLISH with DUP
// [MQTT-4.3.3-6, MQTT-4.4.0-1], in order [MQTT-4.6.0-1, MQTT-4.6.0-4], as often as there are connections.
func TestResendByState(t *testing.T) {
	s := connected(t, 0)
	add(t, s, 2, "a", "b", "c")
	add(t, s, 1, "d", "e")
	add(t, s, 0, "f")
	sends(t, s, nil, "pub 1 a", "pub 2 b", "pub 3 c", "pub 4 d", "pub 5 e", "pub 0 f")
	is(t, s.Pubrec(3, 0), nil)
	is(t, s.Pubrec(1, 0), nil)
	is(t, s.Puback(4), nil)
	for range 3 {
		s.Disconnect()
		sends(t, s, nil)
		s.Connect(0)
		sends(t, s, nil, "rel 3", "rel 1", "dup 2 b", "dup 5 e")
	}
}

// TestForbiddenUnderWay: who lost the right to a message is not sent it, queued or in flight. An
// identifier under which he may have it at QoS 2 is not free before he says so.
func TestForbiddenUnderWay(t *testing.T) {
	s := connected(t, 0)
	add(t, s, 1, "a", "ok")
	add(t, s, 2, "b")
	sends(t, s, nil, "pub 1 a", "pub 2 ok", "pub 3 b")
	add(t, s, 1, "c")
	add(t, s, 2, "ok")
	add(t, s, 0, "d")
	judge := func(d session.Delivery) session.Cause {
		if string(d.Message.Payload) == "ok" {
			return session.None
		}
		return session.Forbidden
	}
	sends(t, s, judge, "pub 4 ok")
	s.Connect(0)
	sends(t, s, judge, "dup 2 ok", "rel 3", "dup 4 ok")
	is(t, s.Pubrec(3, 0), nil) // as if it had been on its way
	sends(t, s, judge, "rel 3")
	is(t, s.Pubcomp(3), nil)
	is(t, s.Puback(1), session.ErrUnknown)
	if got := s.Dropped()[session.Forbidden]; got != 4 {
		t.Errorf("%d were dropped as forbidden", got)
	}
	if s.Len() != 2 {
		t.Errorf("%d are left", s.Len())
	}
	sends(t, s, func(session.Delivery) session.Cause { return 77 }) // no Cause of ours, still a no
}

// TestClose: what is left comes out with whether it was sent, and with whether the group's other members
// are to get it [MQTT-4.8.2-5]; the room is free.
func TestClose(t *testing.T) {
	room := message.NewRoom(99, 1<<20, nil)
	s := session.New(session.Limits{Inflight: 4}, room)
	s.Connect(0)
	filter := topictest.Subscription(t, "$share/g/t/+")
	for i := range 6 {
		d := session.Delivery{Message: published(t, string(rune('a'+i))), QoS: byte(1 + i%2), Share: &filter}
		if i > 3 {
			d.QoS = 2
		}
		if err := s.Add(start, d); err != nil {
			t.Fatal(err)
		}
	}
	add(t, s, 1, "g")
	sends(t, s, nil, "pub 1 a", "pub 2 b", "pub 3 c", "pub 4 d")
	is(t, s.Puback(1), nil)
	is(t, s.Pubrec(2, 0), nil)
	left := s.Close()
	if n, bytes := room.Taken(); n != 0 || bytes != 0 || s.Len() != 0 || s.Bytes() != 0 || s.Inflight() != 0 {
		t.Errorf("%d messages of %d bytes are in the room", n, bytes)
	}
	var got []string
	for l := range left {
		got = append(got, fmt.Sprintf("%s %t %t", l.Message.Payload, l.Sent, l.HandOver()))
	}
	if want := "[c true true d true false e false true f false true g false false]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	is(t, s.Add(start, session.Delivery{Message: published(t, "z"), QoS: 1}), session.ErrClosed)
	s.Connect(0)
	sends(t, s, nil)
	for range s.Close() {
		t.Error("closed twice, and something is left")
	}
}

func TestOldest(t *testing.T) {
	s := connected(t, 0)
	if at, ok := s.Oldest(); ok {
		t.Error(at)
	}
	add(t, s, 1, "a")
	if err := s.Add(start.Add(time.Minute), session.Delivery{Message: published(t, "b"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	sends(t, s, nil, "pub 1 a", "pub 2 b")
	for i, want := range []time.Time{start, start.Add(time.Minute)} {
		if at, ok := s.Oldest(); !ok || !at.Equal(want) {
			t.Errorf("%v %t, want %v", at, ok, want)
		}
		is(t, s.Puback(uint16(i+1)), nil)
	}
}

// What it costs.

// TestAllocations: a delivery and an arrival allocate nothing once the session has its two slots.
func TestAllocations(t *testing.T) {
	s := connected(t, 0)
	m := published(t, "a")
	judge := func(session.Delivery) session.Cause { return session.None }
	n := testing.AllocsPerRun(1000, func() {
		for qos := range byte(3) {
			if err := s.Add(start, session.Delivery{Message: m, QoS: qos}); err != nil {
				t.Fatal(err)
			}
			out, _ := s.Next(start, judge)
			switch qos {
			case 1:
				_ = s.Puback(out.ID)
			case 2:
				_ = s.Pubrec(out.ID, 0)
				s.Next(start, judge)
				_ = s.Pubcomp(out.ID)
			}
		}
		s.Receive(1, 2)
		s.Received(1, 0)
		s.Release(1)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkDelivery is one delivery of QoS 1, its acknowledgement included.
func BenchmarkDelivery(b *testing.B) {
	s := connected(b, 0)
	m := published(b, "a")
	judge := func(session.Delivery) session.Cause { return session.None }
	b.ReportAllocs()
	for b.Loop() {
		_ = s.Add(start, session.Delivery{Message: m, QoS: 1})
		out, _ := s.Next(start, judge)
		_ = s.Puback(out.ID)
	}
}

// A delivery takes room for the identifiers of all subscriptions that it is for: there may be more of them than the
// message has bytes.
func TestIdentifiersTakeRoom(t *testing.T) {
	m := published(t, "a")
	room := message.NewRoom(1<<20, 1<<20, nil)
	s := session.New(session.Limits{Inflight: 2, Incoming: 2}, room)
	d := session.Delivery{Message: m, QoS: message.AtLeastOnce, Identifiers: make([]uint32, 128)}
	for range 3 {
		if err := s.Add(start, d); err != nil {
			t.Fatal(err)
		}
	}
	if _, bytes := room.Taken(); bytes != 3*(m.Size()+4*128) || s.Bytes() != bytes {
		t.Errorf("%d bytes are taken, %d of them the session's", bytes, s.Bytes())
	}
	s.Close()
	if n, bytes := room.Taken(); n != 0 || bytes != 0 {
		t.Errorf("left: %d messages of %d bytes", n, bytes)
	}
}

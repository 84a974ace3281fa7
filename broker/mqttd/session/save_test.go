package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/session"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/topic"
	"github.com/signetd/signet/protocol/topic/topictest"
)

// save gives a session's records, and the messages by their numbers.
func save(t testing.TB, s *session.Session) (records [][]byte, messages []*message.Message) {
	t.Helper()
	number := func(m *message.Message) (uint64, error) {
		i := slices.Index(messages, m)
		if i < 0 {
			i = len(messages)
			messages = append(messages, m)
		}
		return uint64(i), nil
	}
	write := func(record []byte) error {
		records = append(records, bytes.Clone(record))
		return nil
	}
	if err := s.Save(number, write); err != nil {
		t.Fatal(err)
	}
	return records, messages
}

func restore(records [][]byte, l session.Limits, room *message.Room, messages []*message.Message) (*session.Session, error) {
	read := func() ([]byte, error) {
		if len(records) == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		record := records[0]
		records = records[1:]
		return record, nil
	}
	find := func(n uint64) *message.Message {
		if n >= uint64(len(messages)) {
			return nil
		}
		return messages[n]
	}
	return session.Restore(l, room, read, find)
}

// TestRestart: a restored session goes on where the saved one was, as after any other end of the connection, and
// sessions that shared a message still do.
func TestRestart(t *testing.T) {
	room := message.NewRoom(99, 1<<20, nil)
	s := session.New(session.Limits{Inflight: 4, Incoming: 4}, room)
	s.Connect(0)
	sub := topictest.Subscription(t, "$share/g/t/+")
	add(t, s, 2, "a", "b")
	for _, text := range []string{"c", "d"} {
		d := session.Delivery{Message: published(t, text), QoS: 1, Retain: true, Identifiers: []uint32{7, 268_435_455}, Share: &sub}
		if err := s.Add(start, d); err != nil {
			t.Fatal(err)
		}
	}
	add(t, s, 1, "e")
	add(t, s, 0, "never")
	sends(t, s, nil, "pub 1 a", "pub 2 b", "pub 3 c", "pub 4 d", "pub 0 never")
	is(t, s.Pubrec(2, 0), nil)
	for id := range uint16(4) {
		if _, err := s.Receive(10+id, 1+byte(id%2)); err != nil {
			t.Fatal(err)
		}
	}
	s.Received(11, 0) // accepted; 13 has no answer, and 10 and 12 are of QoS 1

	records, messages := save(t, s)
	if n, bytes := room.Taken(); n != s.Len() || bytes != s.Bytes() {
		t.Errorf("saving took: %d messages of %d bytes", n, bytes)
	}
	later := message.NewRoom(99, 1<<20, nil)
	s, err := restore(records, session.Limits{Inflight: 9, Incoming: 4}, later, messages)
	if err != nil {
		t.Fatal(err)
	}
	if n, bytes := later.Taken(); n != 4 || n != s.Len() || bytes != s.Bytes() || s.Inflight() != 4 || s.Queued() != 1 {
		t.Errorf("restored: %d messages of %d bytes, %d in flight", n, bytes, s.Inflight())
	}
	if at, ok := s.Oldest(); !ok || !at.Equal(start) {
		t.Errorf("the oldest is of %v", at)
	}
	sends(t, s, nil)
	s.Connect(0)
	var shares []*topic.Subscription
	for want := range slices.Values([]string{"rel 2", "dup 1 a", "dup 3 c", "dup 4 d", "pub 5 e"}) {
		out, ok := s.Next(start, nil)
		if !ok || show(out) != want {
			t.Errorf("sends %+v, want %s", out, want)
		}
		if out.ID == 3 || out.ID == 4 {
			shares = append(shares, out.Share)
			if !out.Retain || fmt.Sprint(out.Identifiers) != "[7 268435455]" || *out.Share != sub {
				t.Errorf("%+v", out)
			}
		}
	}
	if len(shares) != 2 || shares[0] != shares[1] {
		t.Error("deliveries for one share have two of it")
	}
	for id, want := range []session.Receipt{session.Fresh, session.Accepted, session.Fresh, session.Fresh} {
		if got, err := s.Receive(10+uint16(id), 2); got != want || err != nil {
			t.Errorf("id %d: %v %v, want %v", 10+id, got, err, want)
		}
	}
}

func ids(ids ...uint16) []byte {
	var b []byte
	for _, id := range ids {
		b = append(b, byte(id>>8), byte(id))
	}
	return b
}

func headRecord(lastID uint64, released, accepted []byte, deliveries uint64) []byte {
	b := detcbor.AppendHead(detcbor.AppendHead(nil, detcbor.Array, 4), detcbor.Uint, lastID)
	b = detcbor.AppendBytes(detcbor.AppendBytes(b, released), accepted)
	return detcbor.AppendHead(b, detcbor.Uint, deliveries)
}

func deliveryRecord(number, flags, id, added uint64, identifiers []byte, share string) []byte {
	b := detcbor.AppendHead(nil, detcbor.Array, 6)
	for _, n := range []uint64{number, flags, id, added} {
		b = detcbor.AppendHead(b, detcbor.Uint, n)
	}
	return detcbor.AppendText(detcbor.AppendBytes(b, identifiers), share)
}

// TestRestoreRefuses: what Save would not have written is no session, and takes no room.
func TestRestoreRefuses(t *testing.T) {
	messages := []*message.Message{published(t, "a")}
	good := deliveryRecord(0, 5, 9, 1, nil, "$share/g/a")
	if _, err := restore([][]byte{headRecord(9, ids(1, 2), ids(1), 2), good, deliveryRecord(0, 2, 0, 1, []byte{0, 0, 0, 1}, "")}, session.Limits{}, nil, messages); err != nil {
		t.Fatal(err)
	}
	one := func(delivery []byte) [][]byte { return [][]byte{headRecord(1, ids(1), nil, 2), good, delivery} }
	for what, records := range map[string][][]byte{
		"a large last id":           {headRecord(1<<16, nil, nil, 0)},
		"released twice":            {headRecord(1, ids(1, 2, 1), nil, 0)},
		"released 0":                {headRecord(1, ids(0), nil, 0)},
		"half an id":                {headRecord(1, []byte{1, 2, 3}, nil, 0)},
		"accepted twice":            {headRecord(1, nil, ids(1, 1), 0)},
		"no CBOR":                   {{0xff}},
		"another item":              {{0}},
		"one member more":           {append([]byte{0x85}, append(headRecord(1, nil, nil, 0)[1:], 0)...)},
		"negative":                  {{0x84, 0, 0x40, 0x40, 0x20}},
		"no message":                one(deliveryRecord(1, 1, 0, 1, nil, "")),
		"QoS 0":                     one(deliveryRecord(0, 0, 0, 1, nil, "")),
		"QoS 3":                     one(deliveryRecord(0, 3, 0, 1, nil, "")),
		"another flag":              one(deliveryRecord(0, 9, 0, 1, nil, "")),
		"a large id":                one(deliveryRecord(0, 1, 1<<16, 1, nil, "")),
		"an id that was released":   one(deliveryRecord(0, 1, 1, 1, nil, "")),
		"an id in flight":           one(deliveryRecord(0, 1, 9, 1, nil, "")),
		"after 2106":                one(deliveryRecord(0, 1, 0, 1<<32, nil, "")),
		"half an identifier":        one(deliveryRecord(0, 1, 0, 1, []byte{1, 2}, "")),
		"identifier 0":              one(deliveryRecord(0, 1, 0, 1, []byte{0, 0, 0, 0}, "")),
		"a large identifier":        one(deliveryRecord(0, 1, 0, 1, []byte{0x10, 0, 0, 0}, "")),
		"a share that is none":      one(deliveryRecord(0, 1, 0, 1, nil, "a/b")),
		"a share without a filter":  one(deliveryRecord(0, 1, 0, 1, nil, "$share/g")),
		"sent after what was not":   {headRecord(1, nil, nil, 2), deliveryRecord(0, 1, 0, 1, nil, ""), good},
		"a head where a message is": {headRecord(1, nil, nil, 1), headRecord(1, nil, nil, 1)},
	} {
		room := message.NewRoom(9, 1<<20, nil)
		if _, err := restore(records, session.Limits{}, room, messages); !errors.Is(err, session.ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
		if n, bytes := room.Taken(); n != 0 || bytes != 0 {
			t.Errorf("%s: %d messages of %d bytes are in the room", what, n, bytes)
		}
	}
	full := message.NewRoom(1, 1<<20, nil)
	_, err := restore(one(deliveryRecord(0, 1, 0, 1, nil, "")), session.Limits{}, full, messages)
	is(t, err, session.ErrFull)
	_, err = restore([][]byte{headRecord(1, nil, nil, 1<<62), good}, session.Limits{}, full, messages)
	is(t, err, io.ErrUnexpectedEOF)
	if n, _ := full.Taken(); n != 0 {
		t.Errorf("%d messages are in the room", n)
	}
}

// TestSaveFails: what number and write say comes back.
func TestSaveFails(t *testing.T) {
	s := connected(t, 0)
	add(t, s, 1, "a")
	broken := errors.New("broken")
	number := func(*message.Message) (uint64, error) { return 0, nil }
	for after := range 2 {
		n := 0
		is(t, s.Save(number, func([]byte) error {
			if n++; n > after {
				return broken
			}
			return nil
		}), broken)
	}
	is(t, s.Save(func(*message.Message) (uint64, error) { return 0, broken }, func([]byte) error { return nil }), broken)
}

// FuzzRestore: what is restored is what Save writes, holds together, and gives its room back.
func FuzzRestore(f *testing.F) {
	frame := func(records ...[]byte) (b []byte) {
		for _, record := range records {
			b = append(append(b, byte(len(record))), record...)
		}
		return b
	}
	f.Add(frame(headRecord(65535, ids(1, 2), ids(1), 2), deliveryRecord(0, 6, 9, 1, nil, "$share/g/a"), deliveryRecord(1, 1, 0, 1, []byte{0, 0, 0, 1}, "")))
	messages := []*message.Message{published(f, "a"), published(f, "b")}
	f.Fuzz(func(t *testing.T, data []byte) {
		var records [][]byte
		for len(data) > 0 && len(data) > int(data[0]) {
			n := 1 + int(data[0])
			records = append(records, data[1:n])
			data = data[n:]
		}
		room := message.NewRoom(99, 1<<20, nil)
		s, err := restore(records, session.Limits{Inflight: 1 << 16}, room, messages)
		if err == nil {
			again, _ := save(t, s)
			for i, record := range again { // a message may have another number now
				if i == 0 && !bytes.Equal(record, records[i]) || len(record) != len(records[i]) {
					t.Errorf("restored %x from %x", record, records[i])
				}
			}
			s.Connect(0)
			given := map[uint16]bool{}
			for out, ok := s.Next(start, nil); ok; out, ok = s.Next(start, nil) {
				if out.ID == 0 || given[out.ID] {
					t.Errorf("id %d is given twice", out.ID)
				}
				given[out.ID] = true
			}
			s.Close()
		}
		if n, bytes := room.Taken(); n != 0 || bytes != 0 {
			t.Errorf("%d messages of %d bytes are in the room", n, bytes)
		}
	})
}

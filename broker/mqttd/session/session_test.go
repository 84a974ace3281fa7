package session_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/session"
	"github.com/signetd/signet/protocol/topic"
)

var start = time.Unix(1800000000, 0)

// published makes a message whose payload is text.
func published(t testing.TB, text string) *message.Message {
	t.Helper()
	name, err := topic.ParseName("t/" + text)
	if err != nil {
		t.Fatal(err)
	}
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

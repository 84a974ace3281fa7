package retained

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/topic/topictest"
)

// record is one with these members.
func record(m []byte, owner, client string) []byte {
	b := detcbor.AppendBytes(detcbor.AppendHead(nil, detcbor.Array, 3), m)
	return detcbor.AppendText(detcbor.AppendText(b, owner), client)
}

// anybody may have what he retained.
func anybody(ident.Device) bool { return true }

// TestRestore: what was saved is kept again, as it was and whose it was, unless it has
// expired or bounds are lower now.
func TestRestore(t *testing.T) {
	s := New(plenty, wide())
	d := identtest.Device(t, "p:n")
	m := &message.Message{Topic: topictest.Name(t, "a/b"), Payload: []byte("x"), Properties: []byte{1, 0}, QoS: 2, Retain: true, Expires: now.Add(time.Minute)}
	if err := errors.Join(s.Set(now, d, "c", m), s.Set(now, d, "c", text(t, "a/c", "y"))); err != nil {
		t.Fatal(err)
	}
	records := saved(t, s)
	if len(records) != 2 || !bytes.Equal(records[0], record(m.Append(nil), "p:n", "c")) {
		t.Fatalf("%x", records)
	}
	k := restored(t, s).Match(now, topictest.Filter(t, "a/b"))[0]
	if k.Owner != d || k.Client != "c" || !bytes.Equal(k.Message.Append(nil), m.Append(nil)) {
		t.Errorf("%+v", k)
	}

	later := New(Limits{1, 1 << 20, 1, 1 << 20}, wide())
	if err := later.Restore(now.Add(time.Hour), records[0], anybody); err != nil {
		t.Errorf("expired: %v", err)
	}
	if err := later.Restore(now, records[1], anybody); err != nil {
		t.Error(err)
	}
	if err := later.Restore(now, records[0], anybody); !errors.Is(err, ErrFull) || errors.Is(err, message.ErrMalformed) {
		t.Errorf("beyond its bounds: %v", err)
	}
	if err := later.Restore(now, records[0], func(owner ident.Device) bool { return owner != d }); err != nil {
		t.Errorf("its owner may not have it: %v", err)
	}
	if got := all(later, now, topictest.Filter(t, "#")); got != "a/c=y" {
		t.Error(got)
	}

	stop := errors.New("stop")
	if err := s.Save(func([]byte) error { return stop }); err != stop {
		t.Errorf("the error of who writes: %v", err)
	}
}

// TestRestoreRefuses: bytes that Save does not write change nothing.
func TestRestoreRefuses(t *testing.T) {
	m := text(t, "a", "x").Append(nil)
	good := record(m, "p:n", "c")
	s := New(plenty, wide())
	for name, b := range map[string][]byte{
		"nothing":           {},
		"cut":               good[:len(good)-1],
		"more behind":       append(bytes.Clone(good), 0),
		"another item":      {0x01},
		"a member less":     append([]byte{0x82}, good[1:len(good)-2]...),
		"a member more":     append(append([]byte{0x84}, good[1:]...), 0),
		"a length too long": append([]byte{0x98, 3}, good[1:]...),
		"numbers for texts": {0x83, 1, 1, 1},
		"no message":        record([]byte{1}, "p:n", "c"),
		"no payload":        record(text(t, "a", "").Append(nil), "p:n", "c"),
		"no device":         record(m, "n", "c"),
		"a client id":       record(m, "p:n", string(make([]byte, 1<<16))),
	} {
		if err := s.Restore(now, b, anybody); !errors.Is(err, message.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty(t, s)
	if err := s.Restore(now, good, anybody); err != nil {
		t.Error(err)
	}
	if err := s.Restore(now, good, anybody); !errors.Is(err, message.ErrMalformed) {
		t.Errorf("a second time: %v", err)
	}
}

// FuzzRestore: what is read is written again as the same bytes.
func FuzzRestore(f *testing.F) {
	m := text(f, "a/b", "x")
	f.Add(record(m.Append(nil), "p:n", "c"))
	m.Expires, m.QoS = now.Add(time.Hour), 2
	f.Add(record(m.Append(nil), "", ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := New(plenty, wide())
		if err := s.Restore(now, b, anybody); err != nil {
			if !errors.Is(err, message.ErrMalformed) {
				t.Error(err)
			}
			empty(t, s)
			return
		}
		if n, _ := s.Taken(); n == 0 {
			return // expired
		}
		if again := saved(t, s); len(again) != 1 || !bytes.Equal(again[0], b) {
			t.Errorf("read %x, wrote %x", b, again)
		}
	})
}

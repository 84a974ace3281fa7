package cli_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/ident"
)

// fakeMQTT is an MQTT server with two connections of demo:lamp-1 that do not end.
type fakeMQTT struct{}

func (fakeMQTT) all() []broker.Connection {
	pool, _ := ident.ParsePool("demo")
	name, _ := ident.ParseName("lamp-1")
	d := ident.Device{Pool: pool, Name: name}
	began := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	return []broker.Connection{
		{Number: 1, Device: d, ClientID: "demo:lamp-1", Remote: "192.0.2.7:1000", TLS: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", MQTT: "5", Began: began, Heard: began,
			Admitted: broker.AdmittedToken, KeepAlive: time.Minute, Filters: []string{"devices/demo/lamp-1/#"}, Subscriptions: 1, Expiry: -1},
		{Number: 2, Device: d, ClientID: "\x1b[2Jx", Away: true, Queued: 7, Bytes: 700, Expiry: time.Hour, Ends: began},
	}
}

func (f fakeMQTT) List(q broker.ConnectionQuery) (some []broker.Connection, next string, err error) {
	for _, c := range f.all() {
		if (!c.Away || q.Away) && !q.Strangers {
			some = append(some, c)
		}
	}
	return some, "", q.Validate()
}

func (f fakeMQTT) Find(numbers ...uint64) []broker.Connection {
	return slices.DeleteFunc(f.all(), func(c broker.Connection) bool { return !slices.Contains(numbers, c.Number) })
}

// Trace gives a few packets, and that the server is closed.
func (fakeMQTT) Trace(ident.Device, bool) (broker.PacketTrace, error) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	return &fakeTrace{[]broker.TracedPacket{
		{At: at, Connection: 1, Type: "PUBLISH", ID: 9, QoS: 1, Retain: true, Topic: "t/\x1bx", Size: 20, Length: 5, Payload: []byte("a\nb\x1bc")},
		{At: at, Connection: 1, Sent: true, Type: "PUBACK", ID: 9, Codes: []string{"0x00 success"}, Size: 4, Lost: 12},
		{At: at, Connection: 1, Type: "SUBSCRIBE", ID: 3, Filters: []string{"=1", "b"}, Size: 9, Properties: []string{"User Property"}},
	}}, nil
}

type fakeTrace struct{ left []broker.TracedPacket }

func (t *fakeTrace) Next(context.Context) (p broker.TracedPacket, ok bool) {
	if len(t.left) == 0 {
		return p, false
	}
	p, t.left = t.left[0], t.left[1:]
	return p, true
}

func (*fakeTrace) Lost() uint64 { return 0 }
func (*fakeTrace) Close()       {}

func (fakeMQTT) Kick(numbers ...uint64) []uint64 { return numbers }

// TestConnections: what list and show say, and that a kick of many ends nothing until it is told to.
func TestConnections(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	if got := s.ok(t, "connection list -o csv"); strings.Count(got, "\n") != 2 || !strings.Contains(got, "run1-1,demo:lamp-1,demo:lamp-1,192.0.2.7:1000,TLS 1.3,5,token,2026-01-31T12:00:00Z,") {
		t.Error(got)
	}
	if got := s.ok(t, "connection list --all --sort queued"); !strings.Contains(got, "(away)") || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	if got := s.ok(t, "connection show run1-1"); !strings.Contains(got, "FILTERS         devices/demo/lamp-1/#") || !strings.Contains(got, "SESSION EXPIRY  never") {
		t.Error(got)
	}
	if r := s.run(t, "", "connection", "show", "run1-9"); r.code != 4 || !strings.Contains(r.err, "not found") {
		t.Errorf("%+v", r)
	}
	for _, line := range []string{"kick", "kick run1-1 --device lamp-1", "kick run1-1 --yes", "kick --yes", "list --limit -1", "list --older x"} {
		if r := s.run(t, "", strings.Fields("connection "+line)...); r.code != 2 {
			t.Errorf("%s: %+v", line, r)
		}
	}
	journal := func() int { return strings.Count(s.ok(t, "audit list --kind connection -o csv"), "\n") - 1 }
	r := s.run(t, "", "connection", "kick", "--device", "lamp-1")
	if r.code != 0 || !strings.Contains(r.err, "1 connection to broker here would end; to end them: the same with --yes") || journal() != 0 {
		t.Errorf("%+v, and %d in the journal", r, journal())
	}
	r = s.run(t, "", "connection", "kick", "--device", "lamp-1", "--yes", "--reason", "hangs")
	if r.code != 0 || !strings.Contains(r.err, "ended 1 connection to broker here") || journal() != 1 {
		t.Errorf("%+v, and %d in the journal", r, journal())
	}
	if got := s.ok(t, "connection kick run1-1 -o json"); !strings.Contains(got, "\"run1-1\"") || journal() != 2 {
		t.Error(got)
	}
	if got := s.ok(t, "__complete connection kick "+emptyWord); !strings.Contains(got, "run1-1\n") {
		t.Error(got)
	}
}

// TestTrace: a line a packet, in each format; what others chose moves no terminal and is no formula.
func TestTrace(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	s.ok(t, "device create lamp-1")
	r := s.run(t, "", "connection", "trace", "lamp-1", "--payload")
	want := []string{
		`12:00:00.000 run1-1 -> PUBLISH #9 q1 retain t/`, `x 20 B payload 5 B "a\nb\x1bc"`, "12:00:00.000 run1-1 <- PUBACK #9 0x00 success 4 B",
		"12:00:00.000 run1-1 -> SUBSCRIBE #3 =1 b [User Property] 9 B",
	}
	for _, w := range want {
		if !strings.Contains(r.out, w) {
			t.Errorf("%q lacks %q", r.out, w)
		}
	}
	if r.code != 0 || strings.Contains(r.out, "\x1b") || strings.Count(r.out, "\n") != 3 || !strings.Contains(r.err, "12 packets left out before this") || !strings.Contains(r.err, "the time is over: 3 packets") {
		t.Errorf("%+v", r)
	}
	lines := strings.Split(strings.TrimSpace(s.ok(t, "connection trace lamp-1 -o json")), "\n")
	var last adminapi.TracedPacket
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(lines) != 4 || last.Type != "end" {
		t.Errorf("%q, %v", lines, err)
	}
	if got := s.ok(t, "connection trace lamp-1 -o csv"); strings.Count(got, "12:00:00.000,run1-1,") != 3 || !strings.Contains(got, "'=1,b") && !strings.Contains(got, `"'=1,b"`) {
		t.Error(got)
	}
	for _, line := range []string{"trace", "trace lamp-1 --for 1h", "trace lamp-1 --for x", "trace none"} {
		if r := s.run(t, "", strings.Fields("connection "+line)...); r.code == 0 || r.err == "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

package message_test

import (
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
)

// TestRoom: what does not fit into one Room is in none, and all is given back.
func TestRoom(t *testing.T) {
	all := message.NewRoom(3, 100, nil)
	a, b := message.NewRoom(2, 100, all), message.NewRoom(9, 90, all)
	for _, step := range []struct {
		in    *message.Room
		bytes int
		want  bool
	}{
		{a, 10, true},
		{a, 101, false}, // more than there is
		{a, 10, true},
		{a, 10, false}, // a third message in a
		{b, 81, false}, // more bytes than are left in all
		{b, 80, true},
		{b, 0, false}, // a fourth message in all
	} {
		if got := step.in.Take(step.bytes); got != step.want {
			t.Fatalf("%+v: %t", step, got)
		}
	}
	if n, bytes := all.Taken(); n != 3 || bytes != 100 {
		t.Errorf("%d messages of %d bytes", n, bytes)
	}
	a.Give(2, 20)
	b.Give(1, 80)
	for _, r := range []*message.Room{all, a, b} {
		if n, bytes := r.Taken(); n != 0 || bytes != 0 {
			t.Errorf("%d messages of %d bytes are left", n, bytes)
		}
	}
}

// TestResize: a message is replaced in its own room, unless the new one fits no Room around it.
func TestResize(t *testing.T) {
	all := message.NewRoom(1, 100, nil)
	r := message.NewRoom(1, 90, all)
	if !r.Take(80) || !all.Resize(0, 5) {
		t.Fatal("no room")
	}
	for _, step := range []struct {
		from, to int
		want     bool
	}{{80, 90, true}, {90, 91, false}, {90, 20, true}, {20, 95, false}, {20, 20, true}} {
		if got := r.Resize(step.from, step.to); got != step.want {
			t.Errorf("%+v: %t", step, got)
		}
	}
	if n, bytes := r.Taken(); n != 1 || bytes != 20 {
		t.Errorf("%d messages of %d bytes", n, bytes)
	}
	if n, bytes := all.Taken(); n != 1 || bytes != 25 {
		t.Errorf("%d messages of %d bytes in all", n, bytes)
	}
}

// TestRoomAtOnce: many take and give at the same time; never more than there is.
func TestRoomAtOnce(t *testing.T) {
	all := message.NewRoom(10, 1000, nil)
	var wg sync.WaitGroup
	for range 8 {
		mine := message.NewRoom(5, 400, all)
		wg.Go(func() {
			for range 2000 {
				if mine.Take(100) {
					if n, bytes := all.Taken(); n > 10 || bytes > 1000 {
						t.Errorf("%d messages of %d bytes", n, bytes)
					}
					mine.Give(1, 100)
				}
			}
		})
	}
	wg.Wait()
	if n, bytes := all.Taken(); n != 0 || bytes != 0 {
		t.Errorf("%d messages of %d bytes are left", n, bytes)
	}
}

func TestExpiry(t *testing.T) {
	now := time.Unix(1800000000, 0)
	for _, tt := range []struct {
		expires time.Time
		expired bool
		left    uint32
	}{
		{time.Time{}, false, 0},
		{now.Add(time.Second), false, 1},
		{now.Add(1500 * time.Millisecond), false, 2},
		{now, true, 1},
		{now.Add(1 << 33 * time.Second), false, 1<<32 - 1},
	} {
		m := &message.Message{Expires: tt.expires}
		if m.Expired(now) != tt.expired || m.Left(now) != tt.left {
			t.Errorf("%v: expired %t, left %d", tt.expires.Sub(now), m.Expired(now), m.Left(now))
		}
	}
}

package retained

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/topic"
	"github.com/signetd/signet/protocol/topic/topictest"
)

var now = time.Unix(1800000000, 0)

// plenty is more than any test keeps.
var plenty = Limits{1 << 20, 1 << 30, 1 << 20, 1 << 30}

func wide() *message.Room { return message.NewRoom(1<<20, 1<<30, nil) }

func text(t testing.TB, name, payload string) *message.Message {
	return &message.Message{Topic: topictest.Name(t, name), Payload: []byte(payload), Retain: true}
}

// all says what a filter finds, in one line.
func all(s *Store, at time.Time, f topic.Filter) string {
	var found []string
	for _, k := range s.Match(at, f) {
		found = append(found, k.Topic.String()+"="+string(k.Payload))
	}
	return strings.Join(found, " ")
}

// TestSet: one message for a topic, the newest [MQTT-3.3.1-5]; an empty one removes it
// [MQTT-3.3.1-6] and is not kept [MQTT-3.3.1-7]; they come in the order in which they were
// stored, whose first byte is '$' only by its name [MQTT-4.7.2-1].
func TestSet(t *testing.T) {
	room := wide()
	s := New(plenty, room)
	d := identtest.Device(t, "p:n")
	for _, step := range []struct{ name, payload, want string }{
		{"b/1", "x", "b/1=x"},
		{"a/1", "y", "b/1=x a/1=y"},
		{"b/1", "z", "a/1=y b/1=z"},
		{"$s/1", "s", "a/1=y b/1=z"},
		{"c", "", "a/1=y b/1=z"},
		{"a/1", "", "b/1=z"},
	} {
		if err := s.Set(now, d, "c", text(t, step.name, step.payload)); err != nil {
			t.Fatal(err)
		}
		if got := all(s, now, topictest.Filter(t, "#")); got != step.want {
			t.Errorf("after %+v: %s", step, got)
		}
	}
	if got := all(s, now, topictest.Filter(t, "$s/+")); got != "$s/1=s" {
		t.Errorf("by name: %s", got)
	}
	if k := s.Match(now, topictest.Filter(t, "b/1"))[0]; k.Owner != d || k.Client != "c" {
		t.Errorf("stored by %v %s", k.Owner, k.Client)
	}
	for range 2 {
		for _, name := range []string{"b/1", "$s/1"} {
			if err := s.Set(now, d, "", text(t, name, "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	empty(t, s)
}

// empty checks that nothing is kept, counted or taken.
func empty(t *testing.T, s *Store) {
	t.Helper()
	n, b := s.room.Taken()
	if n != 0 || b != 0 || s.all != (share{}) || len(s.devices)+len(s.pools)+len(s.expiring)+len(s.names.chunks) > 0 {
		t.Errorf("left: %d messages of %d bytes, %+v", n, b, s)
	}
}

// TestExpiry: what has expired is not found [MQTT-3.3.2-5], and its room is there for others; what replaces
// a message takes its expiry, too.
func TestExpiry(t *testing.T) {
	s := New(Limits{2, 1 << 20, 2, 1 << 20}, wide())
	d := identtest.Device(t, "p:n")
	set := func(at time.Time, name, payload string, life time.Duration) error {
		m := text(t, name, payload)
		if life > 0 {
			m.Expires = at.Add(life)
		}
		return s.Set(at, d, "", m)
	}
	any := topictest.Filter(t, "#")
	if err := errors.Join(set(now, "a", "1", 5*time.Second), set(now, "b", "1", 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := set(now, "c", "1", 0); !errors.Is(err, ErrFull) {
		t.Fatalf("a third: %v", err)
	}
	if got := all(s, now.Add(5*time.Second-1), any); got != "a=1 b=1" {
		t.Errorf("before: %s", got)
	}
	if got := all(s, now.Add(5*time.Second), any); got != "b=1" {
		t.Errorf("after: %s", got)
	}
	if n, _ := s.Taken(); n != 2 {
		t.Errorf("Match removed one: %d are left", n)
	}
	if err := errors.Join(set(now.Add(5*time.Second), "c", "1", 0), set(now.Add(5*time.Second), "b", "2", 0)); err != nil {
		t.Errorf("in the room of what has expired: %v", err)
	}
	if got := all(s, now.Add(time.Hour), any); got != "c=1 b=2" {
		t.Errorf("what replaces it never expires: %s", got)
	}
	if err := set(now, "b", "3", time.Second); err != nil {
		t.Fatal(err)
	}
	gone := text(t, "c", "2")
	gone.Expires = now
	if err := s.Set(now, d, "", gone); err != nil {
		t.Fatal(err)
	}
	if got := all(s, now, any); got != "b=3" {
		t.Errorf("what had expired before it came: %s", got)
	}
	if n := s.Expire(now.Add(time.Second)); n != 1 {
		t.Errorf("%d expired", n)
	}
	empty(t, s)
}

// TestBounds: a device takes no more than its bounds from its pool, a pool no more than its
// own from all, and what is refused changes nothing. What is replaced makes room for what
// replaces it.
func TestBounds(t *testing.T) {
	one := (&Kept{Message: text(t, "a/1", "x"), Owner: identtest.Device(t, "p:a"), Client: "c"}).size()
	room := message.NewRoom(5, 6*one, nil)
	s := New(Limits{2, 3 * one, 4, 5 * one}, room)
	full := func(err error) Bound {
		if full, ok := errors.AsType[*FullError](err); ok && errors.Is(err, ErrFull) {
			return full.Bound
		}
		return ""
	}
	big := strings.Repeat("x", one)
	for i, step := range []struct {
		by, name, payload string
		want              Bound
	}{
		{"p:a", "a/1", "x", ""},
		{"p:a", "a/2", big + big, OfDevice}, // bytes
		{"p:a", "a/2", "x", ""},
		{"p:a", "a/3", "x", OfDevice}, // messages
		{"p:a", "a/2", big, ""},       // instead
		{"p:a", "a/2", big + "xx", OfDevice},
		{"p:b", "b/1", "x", ""},
		{"p:b", "b/2", "x", ""},       // four of four in the pool, five of five in bytes
		{"p:c", "c/1", "x", OfPool},   // messages
		{"p:b", "b/2", "xxx", OfPool}, // bytes
		{"p:b", "a/2", big, OfDevice}, // another's topic: to the bounds of who publishes
		{"p:b", "a/1", "x", OfDevice},
		{"p:c", "a/1", "x", ""},       // instead of p:a's
		{"q:d", "d/1", "x", ""},       // five of five in all
		{"q:d", "d/2", "x", OfServer}, // messages
		{"q:d", "d/1", "xxx", OfServer},
		{"q:d", "a/2", "x", ""}, // instead of p:a's
		{"p:b", "b/2", big, ""},
		{"p:c", "a/1", "", ""},
		{"p:b", "b/1", "", ""},
		{"p:b", "b/2", "", ""},
		{"p:b", "a/2", "", ""}, // whoever removes it
		{"q:d", "d/1", "", ""},
	} {
		before := all(s, now, topictest.Filter(t, "#"))
		if got := full(s.Set(now, identtest.Device(t, step.by), "c", text(t, step.name, step.payload))); got != step.want {
			t.Fatalf("%d, %+v: %q", i, step, got)
		}
		if step.want != "" && before != all(s, now, topictest.Filter(t, "#")) {
			t.Errorf("%d, %+v: refused and changed", i, step)
		}
		n, b := room.Taken()
		if sn, sb := s.Taken(); sn != n || sb != b || n > 5 || b > 6*one {
			t.Fatalf("%d, %+v: %d messages of %d bytes, the room says %d of %d", i, step, sn, sb, n, b)
		}
	}
	empty(t, s)
}

// TestLowerBounds: what was kept under higher bounds can be replaced by what is no larger.
func TestLowerBounds(t *testing.T) {
	s := New(plenty, wide())
	d := identtest.Device(t, "p:n")
	for _, name := range []string{"a", "b", "c"} {
		if err := s.Set(now, d, "", text(t, name, "xx")); err != nil {
			t.Fatal(err)
		}
	}
	s.limits = Limits{1, 1, 1, 1}
	for _, tt := range []struct {
		name, payload string
		fits          bool
	}{{"a", "yy", true}, {"a", "y", true}, {"a", "yy", false}, {"d", "y", false}, {"b", "", true}} {
		if err := s.Set(now, d, "", text(t, tt.name, tt.payload)); (err == nil) != tt.fits {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// TestDelete: a device's messages go, those of its pool stay, and then they go.
func TestDelete(t *testing.T) {
	s := New(plenty, wide())
	for i, by := range []string{"p:a", "p:b", "q:a"} {
		for n := range 300 {
			m := text(t, fmt.Sprintf("%d/%d", i, n), "x")
			if n%2 == 0 {
				m.Expires = now.Add(time.Hour)
			}
			if err := s.Set(now, identtest.Device(t, by), "", m); err != nil {
				t.Fatal(err)
			}
		}
	}
	a := identtest.Device(t, "p:a")
	if n := s.Delete(func(k *Kept) bool { return k.Owner == a }); n != 300 {
		t.Errorf("%d of a device", n)
	}
	if n := s.Delete(func(k *Kept) bool { return k.Owner.Pool == a.Pool }); n != 300 {
		t.Errorf("%d of a pool", n)
	}
	if got := s.Match(now, topictest.Filter(t, "#")); len(got) != 300 || got[0].Topic.String() != "2/0" {
		t.Errorf("%d are left", len(got))
	}
	if n := s.Expire(now.Add(time.Hour)); n != 150 {
		t.Errorf("%d expired", n)
	}
	s.Delete(func(*Kept) bool { return true })
	empty(t, s)
}

// TestAgainstOracle: whatever is stored, replaced, expires and is removed, a filter finds
// what a list of all messages has, in its order; counts are those of the list; and a Store
// that is restored from what was saved is the same.
func TestAgainstOracle(t *testing.T) {
	runs := 400
	if testing.Short() {
		runs = 20
	}
	found := 0
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		owners := []ident.Device{identtest.Device(t, "p:a"), identtest.Device(t, "p:b"), identtest.Device(t, "q:a"), {}}
		type kept struct {
			*message.Message
			owner ident.Device
		}
		var list []kept
		s := New(plenty, wide())
		at := now
		keep := 30 + r.IntN(600)
		for range 700 {
			m := text(t, topictest.AnyName(r), fmt.Sprint(r.IntN(1000)))
			m.QoS = byte(r.IntN(3))
			if r.IntN(2) == 0 {
				m.Expires = at.Add(time.Duration(1+r.IntN(1000)) * time.Second)
			}
			if len(list) > keep || r.IntN(10) == 0 {
				m.Payload = nil
				if len(list) > 0 {
					m.Topic = list[r.IntN(len(list))].Topic
				}
			}
			owner := owners[r.IntN(len(owners))]
			at = at.Add(time.Duration(r.IntN(3)) * time.Second)
			if err := s.Set(at, owner, fmt.Sprint(seed), m); err != nil {
				t.Fatal(err)
			}
			list = slices.DeleteFunc(list, func(k kept) bool { return k.Topic == m.Topic || k.Expired(at) })
			if len(m.Payload) > 0 && !m.Expired(at) {
				list = append(list, kept{m, owner})
			}
			if r.IntN(300) == 0 {
				gone := owners[r.IntN(len(owners))]
				before := len(list)
				list = slices.DeleteFunc(list, func(k kept) bool { return k.owner == gone })
				if had, n := s.Has(gone), s.DeleteOf(gone); n != before-len(list) || had != (n > 0) || s.Has(gone) {
					t.Fatalf("seed %d: %d of %v removed of %d, had any: %t", seed, n, gone, before-len(list), had)
				}
			}
			f := topictest.Filter(t, topictest.AnyFilter(r))
			var want []string
			for _, k := range list {
				if f.Matches(k.Topic) {
					want = append(want, k.Topic.String()+"="+string(k.Payload))
				}
			}
			if got, want := all(s, at, f), strings.Join(want, " "); got != want {
				t.Fatalf("seed %d, %s: %s\nwant %s", seed, f, got, want)
			}
			found += len(want)
			devices := map[ident.Device]int{}
			for _, k := range list {
				devices[k.owner]++
			}
			for _, o := range owners {
				if s.devices[o].messages != devices[o] {
					t.Fatalf("seed %d: %d of %v, want %d", seed, s.devices[o].messages, o, devices[o])
				}
			}
		}
		if records, again := saved(t, s), restored(t, s); !slices.EqualFunc(records, saved(t, again), bytes.Equal) || len(records) != len(list) {
			t.Fatalf("seed %d: restored is not what was saved", seed)
		}
		s.Delete(func(*Kept) bool { return true })
		empty(t, s)
	}
	if found < 100*runs {
		t.Errorf("only %d found: that proves little", found)
	}
}

func saved(t *testing.T, s *Store) (records [][]byte) {
	t.Helper()
	if err := s.Save(func(r []byte) error { records = append(records, bytes.Clone(r)); return nil }); err != nil {
		t.Fatal(err)
	}
	return records
}

func restored(t *testing.T, s *Store) *Store {
	t.Helper()
	again := New(plenty, wide())
	for _, r := range saved(t, s) {
		if err := again.Restore(now, r, anybody); err != nil {
			t.Fatal(err)
		}
	}
	if s.all != again.all {
		t.Fatalf("%+v, want %+v", again.all, s.all)
	}
	return again
}

// TestAtOnce: many store, look up and remove at the same time, in a room that others use.
func TestAtOnce(t *testing.T) {
	room := message.NewRoom(100, 1<<20, nil)
	s := New(Limits{40, 1 << 20, 80, 1 << 20}, room)
	var wg sync.WaitGroup
	for w := range 4 {
		d := identtest.Device(t, fmt.Sprintf("p:%d", w%2))
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			for i := range 1000 {
				at := now.Add(time.Duration(i) * time.Second)
				m := text(t, topictest.AnyName(r), strings.Repeat("x", r.IntN(10)))
				m.Expires = at.Add(time.Minute)
				if err := s.Set(at, d, "", m); err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				for _, k := range s.Match(at, topictest.Filter(t, topictest.AnyFilter(r))) {
					if len(k.Payload) == 0 {
						t.Error("an empty one")
					}
				}
				if room.Take(100) {
					room.Give(1, 100)
				}
			}
		})
	}
	wg.Wait()
	s.Delete(func(*Kept) bool { return true })
	empty(t, s)
}

// TestMemory: what is counted for a message is at least what it takes, when each device has
// one.
func TestMemory(t *testing.T) {
	const n = 10000
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	s := New(plenty, wide())
	before := heap()
	for i := range n {
		m := text(t, fmt.Sprintf("devices/pool/device-%06d/state", i), "on")
		m.Expires = now.Add(time.Hour)
		if err := s.Set(now, identtest.Device(t, fmt.Sprintf("pool:device-%06d", i)), "", m); err != nil {
			t.Fatal(err)
		}
	}
	took := heap() - before
	_, counted := s.Taken()
	t.Logf("%d bytes a message, %d counted", took/n, counted/n)
	if took > counted {
		t.Errorf("%d bytes, %d counted", took, counted)
	}
	runtime.KeepAlive(s)
}

// FuzzMatch: a filter finds what it matches and nothing else, whatever else there is.
func FuzzMatch(f *testing.F) {
	f.Add("a/b/c\na\na b\na/\x01\n$s/a\n/\na//b", "a/+/c")
	f.Add("a\na/b\nb\n%", "+")
	f.Fuzz(func(t *testing.T, names, by string) {
		f, err := topic.ParseFilter(by)
		if err != nil {
			return
		}
		s, want := New(plenty, wide()), 0
		seen := map[topic.Name]bool{}
		for _, name := range strings.Split(names, "\n") {
			n, err := topic.ParseName(name)
			if err != nil || seen[n] {
				continue
			}
			seen[n] = true
			if f.Matches(n) {
				want++
			}
			if err := s.Set(now, ident.Device{}, "", &message.Message{Topic: n, Payload: []byte{1}}); err != nil {
				t.Fatal(err)
			}
		}
		found := s.Match(now, f)
		for _, k := range found {
			if !f.Matches(k.Topic) {
				t.Errorf("%q does not match %q", f, k.Topic)
			}
		}
		if len(found) != want {
			t.Errorf("%q: %d found, want %d", f, len(found), want)
		}
	})
}

// BenchmarkMatch: what a subscription costs depends on what it may match, not on what else
// is kept.
func BenchmarkMatch(b *testing.B) {
	s := New(plenty, wide())
	for i := range 100_000 {
		m := text(b, fmt.Sprintf("devices/pool/device-%06d/%s", i/4, []string{"a", "b", "c/d", "state"}[i%4]), "on")
		if err := s.Set(now, identtest.Device(b, "p:n"), "", m); err != nil {
			b.Fatal(err)
		}
	}
	for _, bench := range []struct {
		filter string
		found  int
	}{
		{"devices/pool/device-010000/#", 4}, {"devices/pool/device-010000/state", 1}, {"+/+/device-010000/+", 3},
		{"+/x", 0}, {"+/+/+/+/+/+/#", 0}, {"devices/+/+/state", 25_000}, {"#", 100_000},
	} {
		b.Run(strings.ReplaceAll(bench.filter, "/", "|"), func(b *testing.B) {
			f := topictest.Filter(b, bench.filter)
			for b.Loop() {
				if got := len(s.Match(now, f)); got != bench.found {
					b.Fatal(got)
				}
			}
		})
	}
}

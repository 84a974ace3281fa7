package session

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/signetd/signet/broker/mqttd/message"
)

// beside is how many bytes a session holds beside its struct, messages not counted.
func (s *Session) beside() int {
	n := cap(s.released)*2 + cap(s.incoming)*int(unsafe.Sizeof(arrival{}))
	for _, q := range []queue{s.acked, s.plain} {
		if q.array != nil {
			n += int(unsafe.Sizeof(array{})) + cap(q.slots)*int(unsafe.Sizeof(slot{}))
		}
	}
	return n
}

// forgotten reports whether no message is held by a place that is not in use.
func (q *queue) forgotten() bool {
	if q.array == nil {
		return true
	}
	for _, unused := range [][]slot{q.slots[:q.head], q.slots[len(q.slots):cap(q.slots)]} {
		for _, at := range unused {
			if at.message != nil {
				return false
			}
		}
	}
	return true
}

// TestSmallWhenIdle: a session that has had its storm and is idle again is as small as a new one, nearly.
func TestSmallWhenIdle(t *testing.T) {
	if n := unsafe.Sizeof(Session{}); n > 144 {
		t.Errorf("a session is %d bytes", n)
	}
	if n := unsafe.Sizeof(slot{}); n > 56 {
		t.Errorf("a delivery is %d bytes", n)
	}
	s := New(Limits{Inflight: 64, Incoming: 64}, nil)
	if n := s.beside(); n != 0 {
		t.Errorf("%d bytes beside a new one", n)
	}
	now := time.Unix(1800000000, 0)
	m := &message.Message{Payload: []byte{1}}
	peak := 0
	for range 3 {
		s.Connect(0)
		for i := range 3000 {
			_ = s.Add(now, Delivery{Message: m, QoS: byte(i % 3)})
			_, _ = s.Receive(uint16(1+i), 2)
			s.Received(uint16(1+i), 0)
		}
		peak = max(peak, s.beside())
		for s.Waiting() || s.Inflight() > 0 {
			if out, ok := s.Next(now, nil); ok && out.Release {
				_ = s.Pubcomp(out.ID)
			} else if ok && out.QoS == 2 {
				_ = s.Pubrec(out.ID, 0)
			} else if ok && out.QoS == 1 {
				_ = s.Puback(out.ID)
			}
			if s.Len()%97 == 0 && (!s.acked.forgotten() || !s.plain.forgotten()) {
				t.Fatal("a message that is over is still held")
			}
			if n := s.Len() * int(unsafe.Sizeof(slot{})); s.beside() > 8*n+8192 {
				t.Fatalf("%d bytes for %d deliveries", s.beside(), s.Len())
			}
		}
		for i := range 3000 {
			s.Release(uint16(1 + i))
		}
	}
	if n := s.beside(); n > 256 || peak < 100_000 {
		t.Errorf("%d bytes beside an idle one, %d at most", n, peak)
	}
}

// TestQueue holds a queue against a plain slice; it keeps nothing that is out of it.
func TestQueue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	var q queue
	var plain []uint32
	for i := range uint32(20_000) {
		switch n := len(plain); {
		case i%2000 < 1000 && r.IntN(3) > 0, n == 0: // it grows, and shrinks
			q.push(slot{message: &message.Message{}, place: i})
			plain = append(plain, i)
		case r.IntN(50) == 0:
			from, odd := r.IntN(n), r.Uint32()%7
			q.filter(from, func(at *slot) bool { return at.place%7 != odd })
			kept := slices.DeleteFunc(slices.Clone(plain[from:]), func(p uint32) bool { return p%7 == odd })
			plain = append(plain[:from], kept...)
		default:
			at := min(r.IntN(n), r.IntN(8))
			q.remove(at)
			plain = slices.Delete(plain, at, at+1)
		}
		same := slices.EqualFunc(q.all(), plain, func(at slot, p uint32) bool { return at.place == p && at.message != nil })
		if !same || q.len() != len(plain) || !q.forgotten() {
			t.Fatalf("step %d: %d in the queue, want %d", i, q.len(), len(plain))
		}
	}
}

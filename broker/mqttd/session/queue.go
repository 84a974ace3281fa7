package session

import (
	"math"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/topic"
)

// A slot is a delivery in a queue: 56 bytes, fewer than a Delivery and what is kept beside it.
type slot struct {
	message     *message.Message
	identifiers []uint32
	share       *topic.Subscription
	place       uint32 // in the order of Add, modulo 2^32
	added       uint32 // Unix seconds
	id          uint16 // 0 until it is first sent
	qos         message.QoS
	retain      bool
}

func slotOf(d Delivery, place uint32, added time.Time) slot {
	unix := uint32(min(max(added.Unix(), 0), math.MaxUint32))
	return slot{d.Message, d.Identifiers, d.Share, place, unix, 0, d.QoS, d.Retain}
}

// before reports whether at was added before other.
func (at *slot) before(other *slot) bool { return int32(at.place-other.place) < 0 }

func (at *slot) size() int { return size(at.message, at.identifiers) }

func (at *slot) delivery() Delivery {
	return Delivery{at.message, at.identifiers, at.share, at.qos, at.retain}
}

func (at *slot) out(dup bool) Out {
	return Out{Delivery: at.delivery(), ID: at.id, Dup: dup}
}

// idle is how many slots an empty queue may keep.
const idle = 2

// A queue is slots in order, in an array that shrinks with them. What lies near its front is
// taken out at little cost.
type queue struct {
	*array // nil: it is empty, as most are
}

type array struct {
	slots []slot
	head  int // slots before it are empty
}

func (q *queue) at(i int) *slot { return &q.slots[q.head+i] }

func (q *queue) all() []slot {
	if q.array == nil {
		return nil
	}
	return q.slots[q.head:]
}

func (q *queue) len() int { return len(q.all()) }

func (q *queue) push(at slot) {
	if q.array == nil {
		q.array = new(array)
	}
	if n := q.len(); len(q.slots) == cap(q.slots) {
		if q.head > n {
			copy(q.slots, q.all())
			clear(q.slots[n:])
			q.slots, q.head = q.slots[:n], 0
		} else {
			q.move(max(idle, 2*n))
		}
	}
	q.slots = append(q.slots, at)
}

// remove takes the slot at i out. Those before it move.
func (q *queue) remove(i int) {
	copy(q.slots[q.head+1:], q.slots[q.head:q.head+i])
	q.slots[q.head] = slot{}
	q.head++
	q.shrink()
}

// filter takes out those from i on that are not kept, in one pass.
func (q *queue) filter(i int, keep func(*slot) bool) {
	if q.len() == 0 {
		return
	}
	kept := q.slots[:q.head+i]
	for _, at := range q.all()[i:] {
		if keep(&at) {
			kept = append(kept, at)
		}
	}
	clear(q.slots[len(kept):])
	q.slots = kept
	q.shrink()
}

func (q *queue) shrink() {
	switch n := q.len(); {
	case n == 0 && cap(q.slots) <= idle:
		q.slots, q.head = q.slots[:0], 0
	case n == 0:
		*q = queue{}
	case cap(q.slots) > 32 && 4*n <= cap(q.slots):
		q.move(2 * n)
	}
}

// move puts the slots into an array of so many.
func (q *queue) move(room int) {
	slots := make([]slot, q.len(), room)
	copy(slots, q.all())
	q.slots, q.head = slots, 0
}

// Package deadline does things when their time has come: one goroutine and one heap for all of
// them, where a timer each would take several times the memory.
//
// It knows nothing of what it does.
package deadline

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// maxSleep bounds how late a deadline is noticed after the wall clock was set.
const maxSleep = time.Minute

// A Queue calls a function for each member once its time has come. It is safe for concurrent use.
type Queue[M any] struct {
	fire  func(M)
	place func(M) *Place
	wake  chan struct{}

	mu   sync.Mutex // guards heap and its members' places
	heap entries[M]
}

// A Place is where a member is in the one Queue that it is a member of, and is a field of it. It is the
// Queue's alone. The zero Place: nowhere.
type Place int32

// first is the place of the member whose deadline comes first.
const first Place = 1

// New makes a Queue whose Run calls fire, of members that have their Place where place says.
func New[M any](fire func(M), place func(M) *Place) *Queue[M] {
	return &Queue[M]{fire: fire, place: place, wake: make(chan struct{}, 1), heap: entries[M]{place: place}}
}

// Set replaces the deadline of a member; the zero time takes it away. A deadline is over once fire is called for it.
func (q *Queue[M]) Set(m M, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch i := int(*q.place(m) - first); {
	case at.IsZero() && i >= 0:
		heap.Remove(&q.heap, i)
	case at.IsZero():
	case i >= 0:
		q.heap.all[i].at = at
		heap.Fix(&q.heap, i)
	default:
		heap.Push(&q.heap, entry[M]{at, m})
	}
	if *q.place(m) == first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// Len is how many members have a deadline.
func (q *Queue[M]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.heap.all)
}

// Run fires deadlines, one after the other, until ctx ends.
func (q *Queue[M]) Run(ctx context.Context) {
	timer := time.NewTimer(maxSleep)
	defer timer.Stop()
	for {
		due, next := q.due(time.Now())
		for _, m := range due {
			q.fire(m)
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
	}
}

// due takes out what is due and says how long to sleep.
func (q *Queue[M]) due(now time.Time) (due []M, next time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.heap.all) > 0 {
		if wait := q.heap.all[0].at.Sub(now); wait > 0 {
			return due, min(wait, maxSleep)
		}
		due = append(due, heap.Pop(&q.heap).(entry[M]).member)
	}
	return due, maxSleep
}

// entries is a heap whose members know their places in it.
type entries[M any] struct {
	all   []entry[M]
	place func(M) *Place
}

type entry[M any] struct {
	at     time.Time
	member M
}

var _ heap.Interface = (*entries[int])(nil)

func (h *entries[M]) Len() int           { return len(h.all) }
func (h *entries[M]) Less(i, j int) bool { return h.all[i].at.Before(h.all[j].at) }
func (h *entries[M]) Swap(i, j int) {
	h.all[i], h.all[j] = h.all[j], h.all[i]
	*h.place(h.all[i].member), *h.place(h.all[j].member) = first+Place(i), first+Place(j)
}

func (h *entries[M]) Push(x any) {
	e := x.(entry[M])
	*h.place(e.member) = first + Place(len(h.all))
	h.all = append(h.all, e)
}

func (h *entries[M]) Pop() any {
	last := len(h.all) - 1
	e := h.all[last]
	h.all[last] = entry[M]{}
	h.all = h.all[:last]
	*h.place(e.member) = 0
	return e
}

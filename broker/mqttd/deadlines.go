package mqttd

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// maxSleep bounds how late a deadline is noticed after the wall clock was set.
const maxSleep = time.Minute

// deadlines calls fire for each key once its time has come: one goroutine and
// one heap for all of them.
type deadlines[K comparable] struct {
	fire func(K)
	wake chan struct{}

	mu    sync.Mutex // guards heap and at, which hold the same entries
	heap  deadlineHeap[K]
	byKey map[K]*deadline[K]
}

type deadline[K comparable] struct {
	key   K
	at    time.Time
	index int // in the heap
}

func newDeadlines[K comparable](fire func(K)) *deadlines[K] {
	return &deadlines[K]{fire: fire, wake: make(chan struct{}, 1), byKey: map[K]*deadline[K]{}}
}

// set replaces the deadline of key; the zero time takes it away.
func (d *deadlines[K]) set(key K, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.byKey[key]; ok {
		heap.Remove(&d.heap, old.index)
		delete(d.byKey, key)
	}
	if at.IsZero() {
		return
	}
	e := &deadline[K]{key: key, at: at}
	d.byKey[key] = e
	heap.Push(&d.heap, e)
	if e.index == 0 {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// run fires deadlines until ctx ends.
func (d *deadlines[K]) run(ctx context.Context) {
	timer := time.NewTimer(maxSleep)
	defer timer.Stop()
	for {
		due, next := d.due(time.Now())
		for _, key := range due {
			d.fire(key)
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case <-timer.C:
		}
	}
}

// due takes out what is due and says how long to sleep.
func (d *deadlines[K]) due(now time.Time) (keys []K, next time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.heap) > 0 {
		if wait := d.heap[0].at.Sub(now); wait > 0 {
			return keys, min(wait, maxSleep)
		}
		e := heap.Pop(&d.heap).(*deadline[K])
		delete(d.byKey, e.key)
		keys = append(keys, e.key)
	}
	return keys, maxSleep
}

type deadlineHeap[K comparable] []*deadline[K]

func (h deadlineHeap[K]) Len() int           { return len(h) }
func (h deadlineHeap[K]) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h deadlineHeap[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *deadlineHeap[K]) Push(x any) {
	e := x.(*deadline[K])
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *deadlineHeap[K]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

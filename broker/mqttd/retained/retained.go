// Package retained keeps the retained messages of the MQTT server (MQTT 5, section
// 3.3.1.3): one for a topic, bounded for each device, each pool and in all, until they
// expire.
//
// It asks nobody who may store or read one, knows no subscriptions and sends nothing.
package retained

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// Limits are how much of the server's room one device's messages and those of all devices
// of one pool may take. Bytes are counted with what keeping a message takes.
type Limits struct {
	DeviceMessages, DeviceBytes int
	PoolMessages, PoolBytes     int
}

// A Bound is what a message did not fit into.
type Bound string

// The three of them.
const (
	OfDevice Bound = "the device"
	OfPool   Bound = "the pool"
	OfServer Bound = "the server"
)

// ErrFull is wrapped by every FullError.
var ErrFull = errors.New("no room for a retained message")

// A FullError says which bound a message did not fit into. Nothing was changed.
type FullError struct{ Bound Bound }

func (e *FullError) Error() string { return fmt.Sprintf("%s has %v", e.Bound, ErrFull) }

func (e *FullError) Unwrap() error { return ErrFull }

// A Kept is a message and who stored it. It is shared, and never changed.
type Kept struct {
	*message.Message
	Owner  ident.Device // zero: the server itself, bounded like one device
	Client string       // the client id that it was stored by: for a subscription with No Local

	order uint64 // of storing
	cost  int

	// Under the Store's lock.
	index      int   // in the heap of those that expire; -1 if it does not
	prev, next *Kept // of the same owner
}

// Place is where k stands in the order of storing, from 1.
func (k *Kept) Place() uint64 { return k.order }

// overhead is what a Kept and what counts its device take, beside the Message, rounded up.
const overhead = 176

// size is what k takes, in bytes.
func (k *Kept) size() int {
	return overhead + k.Message.Size() + len(k.Client) + len(k.Owner.Pool.String()) + len(k.Owner.Name.String())
}

// A Store holds them. It is safe for concurrent use.
type Store struct {
	limits Limits
	room   *message.Room // of all; others may take of it as well

	mu       sync.RWMutex // guards the rest
	names    ordered
	expiring expiring
	devices  map[ident.Device]share
	pools    map[ident.Pool]share
	all      share
	last     uint64 // order given out
}

// A share is what is kept of one.
type share struct {
	messages, bytes int
	first           *Kept // of a device
}

// New makes a Store that takes what it keeps from room.
func New(limits Limits, room *message.Room) *Store {
	return &Store{limits: limits, room: room, devices: make(map[ident.Device]share), pools: make(map[ident.Pool]share)}
}

// Set keeps m for its topic instead of what is there, or only removes that when m has no
// payload (MQTT-3.3.1-6, MQTT-3.3.1-7) or has expired. The errors are FullErrors; a message
// that takes no more room than the one it replaces, and is of the same device, always fits.
func (s *Store) Set(now time.Time, owner ident.Device, client string, m *message.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	return s.set(now, &Kept{Message: m, Owner: owner, Client: client})
}

func (s *Store) set(now time.Time, k *Kept) error {
	at := s.names.seek(k.Topic.String())
	old := s.names.at(at)
	if old != nil && old.Topic != k.Topic {
		old = nil
	}
	if len(k.Payload) == 0 || k.Expired(now) {
		if old != nil {
			s.names.remove(at)
			s.forget(old)
		}
		return nil
	}
	k.index, k.cost = -1, k.size()
	if err := s.take(k, old); err != nil {
		return err
	}
	s.last++
	k.order = s.last
	if old != nil {
		s.names.replace(at, k)
		s.unschedule(old)
	} else {
		s.names.insert(at, k)
	}
	if !k.Expires.IsZero() {
		heap.Push(&s.expiring, k)
	}
	return nil
}

// take makes room for k, to which that of old goes if that is not nil, or changes nothing.
func (s *Store) take(k, old *Kept) error {
	device, pool := s.devices[k.Owner], s.pools[k.Owner.Pool]
	after := func(sh share, same bool) share {
		if old != nil && same {
			return share{messages: sh.messages, bytes: sh.bytes - old.cost + k.cost}
		}
		return share{messages: sh.messages + 1, bytes: sh.bytes + k.cost}
	}
	newDevice := after(device, old != nil && old.Owner == k.Owner)
	if newDevice.exceeds(device, s.limits.DeviceMessages, s.limits.DeviceBytes) {
		return &FullError{OfDevice}
	}
	if after(pool, old != nil && old.Owner.Pool == k.Owner.Pool).exceeds(pool, s.limits.PoolMessages, s.limits.PoolBytes) {
		return &FullError{OfPool}
	}
	if old == nil && !s.room.Take(k.cost) || old != nil && !s.room.Resize(old.cost, k.cost) {
		return &FullError{OfServer}
	}
	if old != nil {
		s.count(old, -1)
	}
	s.count(k, +1)
	return nil
}

// exceeds reports whether what is to be taken is beyond these bounds, and more than before:
// bounds may be lower than when that was taken.
func (sh share) exceeds(before share, messages, bytes int) bool {
	return sh.messages > messages && sh.messages > before.messages || sh.bytes > bytes && sh.bytes > before.bytes
}

// count counts a message in, +1, or out, -1, but for the room of all.
func (s *Store) count(k *Kept, sign int) {
	add(s.devices, k.Owner, sign, k.cost, k)
	add(s.pools, k.Owner.Pool, sign, k.cost, nil)
	s.all.messages += sign
	s.all.bytes += sign * k.cost
}

// add counts, and links k, if it is not nil, with the others of its share, or unlinks it.
func add[K comparable](of map[K]share, key K, sign, cost int, k *Kept) {
	sh := of[key]
	sh.messages += sign
	sh.bytes += sign * cost
	switch {
	case k == nil:
	case sign > 0:
		if k.next = sh.first; k.next != nil {
			k.next.prev = k
		}
		sh.first = k
	default:
		if k.next != nil {
			k.next.prev = k.prev
		}
		if k.prev != nil {
			k.prev.next = k.next
		} else {
			sh.first = k.next
		}
		k.prev, k.next = nil, nil
	}
	if sh.messages == 0 {
		delete(of, key)
	} else {
		of[key] = sh
	}
}

// forget gives back what is taken for a message that names has no more.
func (s *Store) forget(k *Kept) {
	s.unschedule(k)
	s.count(k, -1)
	s.room.Give(1, k.cost)
}

func (s *Store) unschedule(k *Kept) {
	if k.index >= 0 {
		heap.Remove(&s.expiring, k.index)
	}
}

// Expire removes what has expired, of which Match says nothing anyway, and gives back its
// room. It returns how many there were.
func (s *Store) Expire(now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expire(now)
}

func (s *Store) expire(now time.Time) (n int) {
	for ; len(s.expiring) > 0 && s.expiring[0].Expired(now); n++ {
		k := s.expiring[0]
		s.names.remove(s.names.seek(k.Topic.String()))
		s.forget(k)
	}
	return n
}

// DeleteOf removes all messages of one owner, and returns how many.
func (s *Store) DeleteOf(owner ident.Device) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := s.devices[owner].first; k != nil; k = s.devices[owner].first {
		s.names.remove(s.names.seek(k.Topic.String()))
		s.forget(k)
		n++
	}
	return n
}

// Has reports whether anything is kept of an owner.
func (s *Store) Has(owner ident.Device) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.devices[owner].messages > 0
}

// Delete removes all messages for which gone says so, such as those of a pool
// that is no more, and returns how many. It goes through all of them.
func (s *Store) Delete(gone func(*Kept) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kept ordered
	for k := range s.names.from(position{}) {
		if gone(k) {
			n++
			s.forget(k)
		} else {
			kept.push(k)
		}
	}
	s.names = kept
	return n
}

// Taken is how much is kept.
func (s *Store) Taken() (messages, bytes int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.all.messages, s.all.bytes
}

// Match gives the messages whose topics f matches and that have not expired, in the order in
// which they were stored.
func (s *Store) Match(now time.Time, f topic.Filter) []*Kept {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []*Kept
	for k := range s.names.match(f) {
		if !k.Expired(now) {
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(a, b *Kept) int { return cmp.Compare(a.order, b.order) })
	return found
}

// Next gives at most so many of what Match gives, the first that were stored after the one of
// place after (0: from the beginning), and the place of the last of them; 0 if none comes behind it.
// A message that replaces another has a place of its own.
func (s *Store) Next(now time.Time, f topic.Filter, after uint64, most int) (found []*Kept, last uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var first latest // of those, the most that come first
	more := false
	for k := range s.names.match(f) {
		if k.order <= after || k.Expired(now) {
			continue
		}
		heap.Push(&first, k)
		if len(first) > most {
			heap.Pop(&first)
			more = true
		}
	}
	slices.SortFunc(first, func(a, b *Kept) int { return cmp.Compare(a.order, b.order) })
	if more {
		last = first[len(first)-1].order
	}
	return first, last
}

// latest is a heap of messages, the one that was stored last first.
type latest []*Kept

func (l latest) Len() int           { return len(l) }
func (l latest) Less(i, j int) bool { return l[i].order > l[j].order }
func (l latest) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }

// Push is for package heap.
func (l *latest) Push(x any) { *l = append(*l, x.(*Kept)) }

// Pop is for package heap.
func (l *latest) Pop() any {
	last := len(*l) - 1
	k := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	return k
}

// expiring is a heap of messages by when they expire.
type expiring []*Kept

func (e expiring) Len() int           { return len(e) }
func (e expiring) Less(i, j int) bool { return e[i].Expires.Before(e[j].Expires) }
func (e expiring) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].index, e[j].index = i, j
}

// Push is for package heap.
func (e *expiring) Push(x any) {
	k := x.(*Kept)
	k.index = len(*e)
	*e = append(*e, k)
}

// Pop is for package heap.
func (e *expiring) Pop() any {
	last := len(*e) - 1
	k := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	k.index = -1
	return k
}

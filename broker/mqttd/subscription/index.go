// Package subscription knows who is subscribed to what, and says who gets a message:
// each subscriber once, however many of its filters match, and of each group of a shared
// subscription its members in the order in which they are to be tried.
//
// It asks nobody whether a subscription is allowed, reads no packets, knows no
// connections and sends nothing.
package subscription

import (
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/topic"
)

// Options are what a client asks for with a filter (MQTT 5, section 3.8.3.1) and the
// identifier that it gave it (section 3.8.2.1.2).
type Options struct {
	QoS               message.QoS // the highest that it is to get
	NoLocal           bool        // not what it published itself; without meaning in a group (MQTT-3.8.3-4)
	RetainAsPublished bool
	RetainHandling    byte
	Identifier        uint32 // 0: none
}

// A Subscription is one of a subscriber's, as it asked for it.
type Subscription struct {
	topic.Subscription
	Options
}

// A Subscriber is one session in an Index. It is a field of the session, is not copied, and
// belongs to one Index from its first subscription until RemoveAll.
type Subscriber[S any] struct {
	Owner S // whose it is: set before the first subscription, and not changed

	number uint32 // among the Index's subscribers, while holds is not empty
	holds  []hold[S]
}

// A hold is one subscription, among those of its subscriber.
type hold[S any] struct {
	in    *Group[S]
	entry uint32 // its index in the group
}

// A Group is the subscriptions by one filter that share a name (section 4.8.2). Those that
// share nothing are a Group inside this package, without a name.
type Group[S any] struct {
	sub     topic.Subscription
	entries []entry[S]
	left    uint32        // how many members have left
	index   uint32        // among the shared groups at its node
	turn    atomic.Uint32 // who is tried first; under the Index's lock for reading
}

// Subscription is the name and the filter of the group.
func (g *Group[S]) Subscription() topic.Subscription { return g.sub }

// An entry is the same subscription as a hold, among those of the group.
type entry[S any] struct {
	*Subscriber[S]
	Options
}

// An Index holds the subscriptions of many. It is safe for concurrent use; looking up blocks
// nobody who looks up.
//
// Filters are cut at their '+' levels. What stands between two of them is found by one look
// into a table. So a filter costs the same whatever its levels, and a name is never compared
// with filters that begin otherwise.
type Index[S any] struct {
	mu     sync.RWMutex // guards the rest, and what hangs on it
	nodes  map[place[S]]*node[S]
	groups map[topic.Subscription]*Group[S] // those with a name
	top    node[S]                          // before any level: "#" and filters that begin with '+'
	first  lengths                          // of texts from the beginning

	numbers uint32   // of subscribers, given out
	free    []uint32 // of them, those of nobody now
	count   int

	path []place[S] // scratch of node
}

// New makes an Index in which nobody is.
func New[S any]() *Index[S] {
	return &Index[S]{nodes: make(map[place[S]]*node[S]), groups: make(map[topic.Subscription]*Group[S])}
}

// A place is where a node is found: behind the '+' that follows another or, if that is nil,
// from the beginning; then these levels. Behind a '+' text is empty or begins with '/'.
type place[S any] struct {
	after *node[S]
	text  string
}

// A node is the beginning of filters, up to a '+' or to their end.
type node[S any] struct {
	exact, deep *Group[S]  // of the filter that ends here, and of the one that goes on with "/#"
	shared      *shared[S] // the same with names; nil if there are none
	behind      uint32     // nodes behind the '+' that follows this one
	next        lengths    // of their texts
}

type shared[S any] struct{ exact, deep []*Group[S] }

// lengths is a set of numbers of levels, of which there are at most topic.MaxDepth. A
// number stays in it as long as its node is there.
type lengths uint32

var _ [32 - topic.MaxDepth - 1]struct{} // so many bits are there

func (l *lengths) add(n int)     { *l |= 1 << n }
func (l lengths) has(n int) bool { return l>>n&1 == 1 }

// Add subscribes s, or replaces the options of its subscription by the same filter and group
// (MQTT-3.8.4-3), and reports which. It costs time in proportion to the subscriptions of s,
// which are for the caller to bound.
func (x *Index[S]) Add(s *Subscriber[S], sub topic.Subscription, o Options) (existed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if sub.Filter.IsZero() {
		return false
	}
	g := x.group(sub)
	if i := s.find(g); i >= 0 {
		g.entries[s.holds[i].entry].Options = o
		return true
	}
	if g == nil {
		g = x.found(sub)
	}
	if len(s.holds) == 0 {
		s.number = x.number()
	}
	s.holds = append(s.holds, hold[S]{g, uint32(len(g.entries))})
	g.entries = append(g.entries, entry[S]{s, o})
	x.count++
	return false
}

// find gives the index in holds of the subscription in g, or -1.
func (s *Subscriber[S]) find(g *Group[S]) int {
	for i, h := range s.holds {
		if h.in == g {
			return i
		}
	}
	return -1
}

// number gives one to a new subscriber.
func (x *Index[S]) number() uint32 {
	if last := len(x.free) - 1; last >= 0 {
		n := x.free[last]
		x.free = x.free[:last]
		return n
	}
	x.numbers++
	return x.numbers - 1
}

// Remove ends a subscription and reports whether there was one.
func (x *Index[S]) Remove(s *Subscriber[S], sub topic.Subscription) (existed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i := s.find(x.group(sub))
	if i >= 0 {
		x.remove(s, i)
	}
	return i >= 0
}

// RemoveAll ends all subscriptions of s.
func (x *Index[S]) RemoveAll(s *Subscriber[S]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(s.holds) > 0 {
		x.remove(s, len(s.holds)-1)
	}
}

// remove ends the subscription of this index in holds. The last of each list takes the place
// of the one that goes.
func (x *Index[S]) remove(s *Subscriber[S], i int) {
	h := s.holds[i]
	g := h.in
	last := len(s.holds) - 1
	s.holds[i], s.holds[last] = s.holds[last], hold[S]{}
	s.holds = shrink(s.holds[:last])

	last = len(g.entries) - 1
	g.left++
	if moved := g.entries[last].Subscriber; moved != s {
		moved.holds[moved.find(g)].entry = h.entry
	}
	g.entries[h.entry], g.entries[last] = g.entries[last], entry[S]{}
	g.entries = shrink(g.entries[:last])

	x.count--
	if len(s.holds) == 0 {
		x.free = append(x.free, s.number)
	}
	if len(g.entries) == 0 {
		x.drop(g)
	}
}

// shrink gives memory back when three quarters of it are not used any more.
func shrink[T any](s []T) []T {
	switch {
	case len(s) == 0:
		return nil
	case cap(s) > 8 && len(s) <= cap(s)/4:
		return append(make([]T, 0, cap(s)/2), s...)
	}
	return s
}

// Of gives all subscriptions of s, in no order.
func (x *Index[S]) Of(s *Subscriber[S]) []Subscription {
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := make([]Subscription, len(s.holds))
	for i, h := range s.holds {
		all[i] = Subscription{h.in.sub, h.in.entries[h.entry].Options}
	}
	return all
}

// Count is how many subscriptions s has.
func (x *Index[S]) Count(s *Subscriber[S]) int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(s.holds)
}

// Len is how many subscriptions there are.
func (x *Index[S]) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.count
}

// Group gives the group of that name and filter; nil when it has no member or sub no name.
func (x *Index[S]) Group(sub topic.Subscription) *Group[S] {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.groups[sub]
}

// Members goes through the members of a group, in the order in which a message is to be
// offered to them, until one has taken it: the loop ends there. The next message is offered
// first to who follows that one; a loop to the end changes nothing. While the loop's body
// runs nothing is locked; a member that has left meanwhile is not offered, and who was asked
// before may be asked again, so that nobody else is left out.
func (x *Index[S]) Members(g *Group[S]) iter.Seq2[*Subscriber[S], Options] {
	return func(yield func(*Subscriber[S], Options) bool) {
		if g == nil {
			return
		}
		first := g.turn.Add(1) - 1
		for left, again := uint32(0), true; again; {
			for i := uint32(0); ; i++ {
				x.mu.RLock()
				if i == 0 {
					left = g.left
				}
				n := uint32(len(g.entries))
				if i >= n {
					again = left != g.left
					x.mu.RUnlock()
					break
				}
				e := g.entries[(first%n+i)%n]
				x.mu.RUnlock()
				if !yield(e.Subscriber, e.Options) {
					g.turn.Add(i)
					return
				}
			}
		}
		g.turn.Add(^uint32(0))
	}
}

// In goes through the members of a group in no order, and leaves alone whose turn it is. While
// the loop's body runs nothing is locked, as with Members.
func (x *Index[S]) In(g *Group[S]) iter.Seq2[*Subscriber[S], Options] {
	return func(yield func(*Subscriber[S], Options) bool) {
		for i := 0; ; i++ {
			x.mu.RLock()
			if i >= len(g.entries) {
				x.mu.RUnlock()
				return
			}
			e := g.entries[i]
			x.mu.RUnlock()
			if !yield(e.Subscriber, e.Options) {
				return
			}
		}
	}
}

// group gives the group of sub, nil if there is none.
func (x *Index[S]) group(sub topic.Subscription) *Group[S] {
	if sub.Group != "" {
		return x.groups[sub]
	}
	n, deep := x.node(sub.Filter, false)
	switch {
	case n == nil:
		return nil
	case deep:
		return n.deep
	}
	return n.exact
}

// found makes the group of sub, which is not there.
func (x *Index[S]) found(sub topic.Subscription) *Group[S] {
	g := &Group[S]{sub: sub}
	n, deep := x.node(sub.Filter, true)
	if sub.Group == "" {
		if deep {
			n.deep = g
		} else {
			n.exact = g
		}
		return g
	}
	if n.shared == nil {
		n.shared = &shared[S]{}
	}
	list := n.shared.list(deep)
	g.index = uint32(len(*list))
	*list = append(*list, g)
	x.groups[sub] = g
	return g
}

func (s *shared[S]) list(deep bool) *[]*Group[S] {
	if deep {
		return &s.deep
	}
	return &s.exact
}

// drop removes a group that has become empty, and the branch that was there for it alone.
func (x *Index[S]) drop(g *Group[S]) {
	n, deep := x.node(g.sub.Filter, false)
	switch {
	case g.sub.Group != "":
		delete(x.groups, g.sub)
		list := n.shared.list(deep)
		last := (*list)[len(*list)-1]
		(*list)[g.index], last.index = last, g.index
		(*list)[len(*list)-1] = nil
		*list = shrink((*list)[:len(*list)-1])
		if len(n.shared.exact)+len(n.shared.deep) == 0 {
			n.shared = nil
		}
	case deep:
		n.deep = nil
	default:
		n.exact = nil
	}
	for _, at := range slices.Backward(x.path) {
		if n := x.nodes[at]; n.exact != nil || n.deep != nil || n.shared != nil || n.behind > 0 {
			return
		}
		delete(x.nodes, at)
		if at.after != nil {
			if at.after.behind--; at.after.behind == 0 {
				at.after.next = 0
			}
		}
	}
}

// node finds the node of a filter, or makes it with all that lead to it, and tells whether
// the filter goes on with "/#". It leaves the places of all these in path.
func (x *Index[S]) node(f topic.Filter, build bool) (n *node[S], deep bool) {
	x.path = x.path[:0]
	rest := f.String()
	if rest == "#" {
		return &x.top, true
	}
	rest, deep = strings.CutSuffix(rest, "/#")
	if n = &x.top; !strings.HasPrefix(rest, "+") {
		end := literal(rest)
		n, rest = x.child(place[S]{nil, rest[:end]}, build), rest[end:]
	} else {
		n, rest = x.behind(n, rest[len("+"):], build)
	}
	for n != nil && rest != "" {
		n, rest = x.behind(n, rest[len("/+"):], build)
	}
	return n, deep
}

// behind takes the levels up to the next '+' from what follows a '+', and finds their node.
func (x *Index[S]) behind(n *node[S], rest string, build bool) (*node[S], string) {
	end := literal(rest)
	return x.child(place[S]{n, rest[:end]}, build), rest[end:]
}

// literal is how much of rest comes before its next level of '+', which stands alone in it.
func literal(rest string) int {
	if end := strings.Index(rest, "/+"); end >= 0 {
		return end
	}
	return len(rest)
}

func (x *Index[S]) child(at place[S], build bool) *node[S] {
	x.path = append(x.path, at)
	n := x.nodes[at]
	if n != nil || !build {
		return n
	}
	n = &node[S]{}
	x.nodes[at] = n
	if at.after == nil {
		x.first.add(strings.Count(at.text, "/") + 1)
	} else {
		at.after.behind++
		at.after.next.add(strings.Count(at.text, "/"))
	}
	return n
}

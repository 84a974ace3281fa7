package subscription

import (
	"strings"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/topic"
)

// Matches are who gets a message. One value serves one message after the other, and then
// allocates nothing any more; it is not safe for concurrent use. Reset lets go of sessions.
type Matches[S any] struct {
	// Receivers get it each: one of them for a session, whatever number of its filters match.
	Receivers []Receiver[S]
	// Groups get it once each (section 4.8.2): see Index.Members. A session may get it
	// as a member of several, and besides as a receiver.
	Groups []*Group[S]

	publisher *Subscriber[S]
	at        []uint32 // by a subscriber's number, where it is among the receivers, if it is there
	entered   int      // how many of the receivers are in at
	asked     []identifier
	arena     []uint32
}

// A Receiver gets one message once.
type Receiver[S any] struct {
	*Subscriber[S]
	// QoS is the highest that its matching subscriptions grant (MQTT-3.3.4-2); that of the
	// message may be lower.
	QoS message.QoS
	// RetainAsPublished: one of them asks for it, and who asks must be able to tell.
	RetainAsPublished bool
	// Identifiers are those of all of them, in no order, one twice if two have it
	// (MQTT-3.3.4-4). They are the Matches', until its next use.
	Identifiers []uint32

	identifiers uint32 // how many there are to be
}

// An identifier is one that a receiver is to be told.
type identifier struct{ receiver, value uint32 }

// few receivers are searched one by one before a table pays.
const few = 16

// Reset forgets all, but not the memory.
func (m *Matches[S]) Reset() {
	clear(m.Receivers)
	clear(m.Groups)
	m.Receivers, m.Groups, m.asked = m.Receivers[:0], m.Groups[:0], m.asked[:0]
	m.publisher, m.entered = nil, 0
}

// Match says who gets a message of this name that publisher sent, nil if it was nobody who
// subscribes. A subscription with NoLocal is passed over for its own publisher
// (MQTT-3.8.3-3), as if it were not there: another of its filters may still match. What a
// name that begins with '$' says is for no filter that begins with a wildcard (MQTT-4.7.2-1).
func (x *Index[S]) Match(name topic.Name, publisher *Subscriber[S], m *Matches[S]) {
	m.Reset()
	m.publisher = publisher
	rest := name.String()
	if rest == "" {
		return
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if rest[0] != '$' {
		x.ends(m, x.top.deep, x.top.shared, true)
		if x.top.behind > 0 {
			x.walk(m, &x.top, rest[level(rest):])
		}
	}
	for end, n := level(rest), 1; ; n++ {
		if x.first.has(n) {
			if node := x.nodes[place[S]{nil, rest[:end]}]; node != nil {
				x.visit(m, node, rest[end:])
			}
		}
		if end == len(rest) {
			break
		}
		end += 1 + level(rest[end+1:])
	}
	m.identify()
}

// level is the length of the first level of s.
func level(s string) int {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return i
	}
	return len(s)
}

// walk finds all behind the '+' of a node; rest, of the name, is empty or begins with '/'.
func (x *Index[S]) walk(m *Matches[S], n *node[S], rest string) {
	for end, levels := 0, 0; ; levels++ {
		if n.next.has(levels) {
			if next := x.nodes[place[S]{n, rest[:end]}]; next != nil {
				x.visit(m, next, rest[end:])
			}
		}
		if end == len(rest) {
			return
		}
		end += 1 + level(rest[end+1:])
	}
}

// visit adds who is subscribed by filters that end at a node which the name has come to.
func (x *Index[S]) visit(m *Matches[S], n *node[S], rest string) {
	x.ends(m, n.deep, n.shared, true)
	if rest == "" {
		x.ends(m, n.exact, n.shared, false)
	} else if n.behind > 0 {
		x.walk(m, n, rest[1+level(rest[1:]):])
	}
}

func (x *Index[S]) ends(m *Matches[S], plain *Group[S], s *shared[S], deep bool) {
	if plain != nil {
		m.add(plain.entries, int(x.numbers))
	}
	if s != nil {
		m.Groups = append(m.Groups, *s.list(deep)...)
	}
}

// add adds the subscribers by one filter, each of whom is in it once. All have numbers
// below this one.
func (m *Matches[S]) add(entries []entry[S], numbers int) {
	before := len(m.Receivers) // only who is among these can be in it a second time
	if before > few {
		m.enter(numbers)
	}
	for i := range entries {
		e := &entries[i]
		if e.NoLocal && e.Subscriber == m.publisher {
			continue
		}
		at := m.find(e.Subscriber, before)
		if at < 0 {
			at = len(m.Receivers)
			m.Receivers = append(m.Receivers, Receiver[S]{Subscriber: e.Subscriber})
		}
		r := &m.Receivers[at]
		r.QoS = max(r.QoS, e.QoS)
		r.RetainAsPublished = r.RetainAsPublished || e.RetainAsPublished
		if e.Identifier != 0 {
			m.asked = append(m.asked, identifier{uint32(at), e.Identifier})
		}
	}
}

// enter makes at say where all receivers are.
func (m *Matches[S]) enter(numbers int) {
	if len(m.at) < numbers {
		m.at, m.entered = make([]uint32, numbers+numbers/4), 0
	}
	for ; m.entered < len(m.Receivers); m.entered++ {
		m.at[m.Receivers[m.entered].number] = uint32(m.entered)
	}
}

// find gives the index of s among the first receivers, or -1.
func (m *Matches[S]) find(s *Subscriber[S], first int) int {
	if first <= few {
		for i := range m.Receivers[:first] {
			if m.Receivers[i].Subscriber == s {
				return i
			}
		}
		return -1
	}
	// What at says of who is not among them is old.
	if i := int(m.at[s.number]); i < first && m.Receivers[i].Subscriber == s {
		return i
	}
	return -1
}

// identify gives each receiver its identifiers.
func (m *Matches[S]) identify() {
	if len(m.asked) == 0 {
		return
	}
	if m.arena = m.arena[:0]; cap(m.arena) < len(m.asked) {
		m.arena = make([]uint32, 0, len(m.asked)+len(m.asked)/4)
	}
	for _, a := range m.asked {
		m.Receivers[a.receiver].identifiers++
	}
	used := 0
	for i := range m.Receivers {
		if r := &m.Receivers[i]; r.identifiers > 0 {
			r.Identifiers = m.arena[used : used : used+int(r.identifiers)]
			used += int(r.identifiers)
		}
	}
	for _, a := range m.asked {
		r := &m.Receivers[a.receiver]
		r.Identifiers = append(r.Identifiers, a.value)
	}
}

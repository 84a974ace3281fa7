package mqttd

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/broker/mqttd/retained"
)

// The model is a plain, slow server without a connection or a lock: it says of everything that
// a client does what each client must hear, word by word and in order. Where the standard
// leaves a choice it has the one that the packages' documents promise.
type model struct {
	kind
	now      time.Time
	sessions map[string]*mSession // by client id
	born     int
	groups   map[string]*mGroup
	kept     []mKept // in the order of storing
	places   int
	crowded  int               // times that all sessions, or a pool's, had no room
	grants   map[string]mGrant // of devices
}

// A kind is what runs are about. What would come in an order that nobody promises is left out of them.
type kind struct {
	name     string
	clients  []mClient
	room     int  // messages that a session may hold; 0: any. Then there are no wills, groups and retained messages
	all      int  // messages that all sessions together may hold, nine tenths of them of one pool; 0: any. Then none expires
	refuse   bool // publishers are refused. Those of MQTT 3.1.1, which would be held back, publish at QoS 0
	restarts bool // there are planned restarts, and no groups, nor wills that are due when a connection ends, or of several clients
}

// An mClient is a client id of a device.
type mClient struct{ id, device string }

func (c mClient) pool() string { return c.device[:1] }

var mKinds = []kind{
	{name: "plain", clients: []mClient{{"p:a", "p:a"}, {"p:a/2", "p:a"}, {"p:b", "p:b"}, {"p:c", "p:c"}}},
	{name: "restarts", restarts: true, clients: []mClient{{"p:a", "p:a"}, {"p:b", "p:b"}, {"p:c", "p:c"}, {"p:d", "p:d"}}},
	{name: "plain", clients: []mClient{{"p:a", "p:a"}, {"p:b", "p:b"}, {"p:c", "p:c"}, {"p:d", "p:d"}}},
	{name: "end", room: 3, clients: []mClient{{"p:a", "p:a"}, {"p:a/2", "p:a"}, {"p:b", "p:b"}, {"p:c", "p:c"}}},
	{name: "plain", clients: []mClient{{"p:a", "p:a"}, {"p:a/2", "p:a"}, {"p:b", "p:b"}, {"q:c", "q:c"}}},
	{name: "refuse", room: 3, refuse: true, clients: []mClient{{"p:a", "p:a"}, {"p:a/2", "p:a"}, {"p:b", "p:b"}, {"p:c", "p:c"}}},
	{name: "restarts", restarts: true, room: 5, clients: []mClient{{"p:a", "p:a"}, {"p:b", "p:b"}, {"p:c", "p:c"}, {"p:d", "p:d"}}},
	{name: "pool", room: 4, all: 10, refuse: true, clients: []mClient{{"p:a", "p:a"}, {"p:a/2", "p:a"}, {"p:b", "p:b"}, {"p:c", "p:c"}, {"q:d", "q:d"}}},
}

type mGrant struct{ publish, subscribe []string } // filters

type mMessage struct {
	topic, payload string
	qos            byte
	retain         bool
	expires        time.Time
}

type mKept struct {
	*mMessage
	owner, device string
	place         int
}

type mSub struct {
	qos                        byte
	noLocal, retainAsPublished bool
	id                         uint32
}

// A mDelivery is one on its way: not sent yet, sent, or sent on this connection.
type mDelivery struct {
	*mMessage
	qos        byte
	retainFlag bool
	ids        []uint32
	share      string
	id         uint16
	here       bool
}

type mOwed struct {
	filter string
	sub    mSub
}

type mSession struct {
	mClient
	born     int
	grant    mGrant
	subs     map[string]mSub
	queue    []*mDelivery // of QoS 1 and 2 until it has them, of QoS 0 until they are sent
	released []uint16
	told     int
	lastID   uint16
	incoming map[uint16]bool
	owed     []mOwed
	conn     *mConn
	expiry   uint32
	ends     time.Time
	will     *mMessage
	lives    time.Duration
	delay    time.Duration
	willAt   time.Time
}

type mConn struct {
	*client
	most        int    // bytes of a packet; 0: any
	mostAliases uint16 // that it takes
	aliases     map[uint16]string
	window      int
	outlived    bool
	said        []string
}

type mGroup struct {
	members []*mSession
	turn    int
}

func (c *mConn) say(format string, args ...any) {
	c.said = append(c.said, fmt.Sprintf(format, args...))
}

func newModel(k kind) *model {
	return &model{kind: k, sessions: map[string]*mSession{}, groups: map[string]*mGroup{}, grants: map[string]mGrant{}}
}

// matches is said level by level.
func matches311(filter, name string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i >= len(n) || level != "+" && level != n[i]:
			return false
		}
	}
	return len(f) == len(n)
}

func (g mGrant) allows(list []string, name string) bool {
	return slices.ContainsFunc(list, func(f string) bool { return f == name || f == "t/#" && strings.HasPrefix(name, "t/") })
}

func (s *mSession) mayRead(name string) bool { return s.grant.allows(s.grant.subscribe, name) }

// receivers are those who get a message for subscriptions of their own.
func (m *model) receivers(from *mSession, msg *mMessage) map[*mSession]*mDelivery {
	all := map[*mSession]*mDelivery{}
	for _, s := range m.sessions {
		for filter, sub := range s.subs {
			if strings.HasPrefix(filter, "$share") || !matches311(filter, msg.topic) || sub.noLocal && s == from {
				continue
			}
			d := all[s]
			if d == nil {
				d = &mDelivery{mMessage: msg}
				all[s] = d
			}
			d.qos = max(d.qos, sub.qos)
			d.retainFlag = d.retainFlag || sub.retainAsPublished && msg.retain
			if sub.id > 0 {
				d.ids = append(d.ids, sub.id)
			}
		}
	}
	return all
}

// full reports whether a session may have no further message, of so many that are taken besides.
func (m *model) full(s *mSession, besides map[string]int) bool {
	if m.room == 0 {
		return false
	}
	if len(s.queue) >= m.room {
		s.queue = slices.DeleteFunc(s.queue, func(d *mDelivery) bool { return d.id == 0 && d.expired(m.now) })
	}
	pool, all := besides[s.pool()], 0
	for _, n := range besides {
		all += n
	}
	for _, other := range m.sessions {
		if all += len(other.queue); other.pool() == s.pool() {
			pool += len(other.queue)
		}
	}
	if m.all > 0 && (all >= m.all || pool >= m.all-m.all/10) {
		m.crowded++
		return true
	}
	return len(s.queue) >= m.room
}

// publish gives the code of the acknowledgement.
func (m *model) publish(from *mSession, msg *mMessage) packet.Code {
	receivers := m.receivers(from, msg)
	if m.refuse && msg.qos > 0 {
		besides := map[string]int{}
		for s, d := range receivers {
			if d.qos == 0 || !s.mayRead(msg.topic) {
				continue
			}
			if m.full(s, besides) {
				return packet.QuotaExceeded
			}
			besides[s.pool()]++
		}
	}
	if msg.retain {
		m.kept = slices.DeleteFunc(m.kept, func(k mKept) bool { return k.topic == msg.topic })
		if msg.payload != "" {
			m.places++
			m.kept = append(m.kept, mKept{msg, from.id, from.device, m.places})
		}
	}
	reached := 0
	for s, d := range receivers {
		if m.deliver(s, d) {
			reached++
		}
	}
	for _, filter := range []string{"$share/g/t/#", "$share/h/t/0"} {
		if g := m.groups[filter]; g != nil && matches311(strings.SplitN(filter, "/", 3)[2], msg.topic) && m.share(filter, g, msg) {
			reached++
		}
	}
	if reached == 0 {
		return packet.NoMatchingSubscribers
	}
	return packet.Success
}

func (m *model) share(filter string, g *mGroup, msg *mMessage) bool {
	for _, away := range []bool{false, true} {
		n := len(g.members)
		for i := range n {
			s := g.members[(g.turn+i)%n]
			if (s.conn == nil) != away {
				continue
			}
			sub := s.subs[filter]
			d := &mDelivery{mMessage: msg, qos: sub.qos, retainFlag: msg.retain && sub.retainAsPublished, share: filter}
			if sub.id > 0 {
				d.ids = []uint32{sub.id}
			}
			if m.deliver(s, d) {
				g.turn += 1 + i
				return true
			}
		}
	}
	return false
}

func (m *model) deliver(s *mSession, d *mDelivery) bool {
	if d.qos = min(d.qos, d.mMessage.qos); !s.mayRead(d.topic) || s.conn == nil && d.qos == 0 {
		return false
	}
	switch full := !s.passes(d, m.now) && m.full(s, nil); {
	case full && d.qos == 0:
		return false
	case full: // it did not keep up
		if s.conn == nil {
			m.over(s)
		} else {
			s.expiry = 0
			m.end(s, packet.QuotaExceeded)
		}
		return false
	}
	s.queue = append(s.queue, d)
	m.pump(s)
	return true
}

// passes reports whether a message is sent without being kept, and so takes no room.
func (s *mSession) passes(d *mDelivery, now time.Time) bool {
	return d.qos == 0 && s.conn != nil && len(s.queue) == 0 && s.told == len(s.released) && !d.expired(now)
}

func (d *mDelivery) expired(now time.Time) bool { return !d.expires.IsZero() && !now.Before(d.expires) }

// open reports whether another PUBLISH of QoS 1 or 2 may be sent.
func (s *mSession) open() bool {
	n := len(s.released)
	for _, d := range s.queue {
		if d.here {
			n++
		}
	}
	return n < s.conn.window
}

func (s *mSession) remove(d *mDelivery) {
	s.queue = slices.DeleteFunc(s.queue, func(other *mDelivery) bool { return other == d })
}

// pump sends all that may be sent.
func (m *model) pump(s *mSession) {
	for s.conn != nil && m.next(s) {
	}
}

func (m *model) next(s *mSession) bool {
	if s.told < len(s.released) {
		s.conn.say("pubrel #%d", s.released[s.told])
		s.told++
		return true
	}
	var first *mDelivery // what has its turn
	waits := false
	for _, d := range s.queue {
		if d.id == 0 && !d.expired(m.now) {
			waits = true
		}
		if first != nil || d.here || d.qos > 0 && !s.open() {
			continue
		}
		if d.id == 0 && slices.ContainsFunc(s.queue, func(other *mDelivery) bool { return other.id > 0 && !other.here }) && d.qos > 0 {
			continue
		}
		first = d
	}
	if i := slices.IndexFunc(s.queue, func(d *mDelivery) bool { return d.id > 0 && !d.here }); i >= 0 && s.open() {
		first = s.queue[i] // what is to be sent again comes first
	}
	switch d := first; {
	case d == nil && waits:
		return false
	case d == nil:
		return m.payOff(s)
	case d.id > 0:
		if s.mayRead(d.topic) && s.conn.fits(d, m.now) {
			d.here = true
			m.send(s, d, true)
			return true
		}
		if s.remove(d); d.qos == 2 {
			s.released = append(s.released, d.id)
			s.told++
			s.conn.say("pubrel #%d", d.id)
		}
	case d.expired(m.now) || !s.mayRead(d.topic) || !s.conn.fits(d, m.now):
		s.remove(d)
	case d.qos == 0:
		s.remove(d)
		m.send(s, d, false)
	default:
		for used := true; used; {
			if s.lastID++; s.lastID == 0 {
				s.lastID = 1
			}
			used = slices.Contains(s.released, s.lastID) || slices.ContainsFunc(s.queue, func(d *mDelivery) bool { return d.id == s.lastID })
		}
		d.id, d.here = s.lastID, true
		m.send(s, d, false)
	}
	return true
}

// payOff takes up what is retained for a subscription.
func (m *model) payOff(s *mSession) bool {
	if len(s.owed) == 0 {
		return false
	}
	o := s.owed[0]
	s.owed = s.owed[1:]
	for _, k := range m.kept {
		d := &mDelivery{mMessage: k.mMessage, qos: min(k.qos, o.sub.qos), retainFlag: true}
		if o.sub.id > 0 {
			d.ids = []uint32{o.sub.id}
		}
		if matches311(o.filter, k.topic) && !d.expired(m.now) && (!o.sub.noLocal || k.owner != s.id) && s.mayRead(k.topic) {
			s.queue = append(s.queue, d)
		}
	}
	return true
}

// left is how many seconds a message has.
func (d *mDelivery) left(now time.Time) uint32 {
	return uint32(max(1, (d.expires.Sub(now)+time.Second-1)/time.Second))
}

// fits reports whether the client takes a packet of that size.
func (c *mConn) fits(d *mDelivery, now time.Time) bool {
	p := packet.Publish{Topic: []byte(d.topic), Payload: []byte(d.payload), QoS: d.qos, Retain: d.retainFlag, ID: uint16(min(d.qos, 1)), SubscriptionIDs: d.ids}
	if !d.expires.IsZero() {
		p.HasExpiry, p.Expiry = true, d.left(now)
	}
	return c.most == 0 || len(packet.AppendPublish(nil, c.v, &p)) <= c.most
}

func (m *model) send(s *mSession, d *mDelivery, dup bool) {
	payload := d.payload
	if len(payload) > 20 {
		payload = fmt.Sprintf("%d bytes", len(payload))
	}
	out := fmt.Sprintf("%s=%s q%d", d.topic, payload, d.qos)
	if d.qos > 0 {
		out += fmt.Sprintf(" #%d", d.id)
	}
	if dup {
		out += " dup"
	}
	if d.retainFlag {
		out += " retained"
	}
	if s.conn.v == packet.V5 {
		if !d.expires.IsZero() {
			out += fmt.Sprintf(" for=%d", d.left(m.now))
		}
		if len(d.ids) > 0 {
			slices.Sort(d.ids)
			out += fmt.Sprintf(" ids=%v", d.ids)
		}
	}
	s.conn.say("%s", out)
}

// connect gives the session of a new connection.
func (m *model) connect(who mClient, c *mConn, p *packet.Connect) {
	if old := m.sessions[who.id]; old != nil && old.conn != nil {
		m.end(old, packet.SessionTakenOver)
	}
	s := m.sessions[who.id]
	if s != nil && p.CleanStart {
		m.over(s)
		s = nil
	}
	present := ""
	if s != nil {
		present = " present"
	} else {
		m.born++
		s = &mSession{mClient: who, born: m.born, subs: map[string]mSub{}, incoming: map[uint16]bool{}}
		m.sessions[who.id] = s
	}
	s.conn, s.grant, s.ends, s.willAt, s.will = c, m.grants[who.device], time.Time{}, time.Time{}, nil
	s.expiry = p.SessionExpiry
	if p.Version == packet.V311 && !p.CleanStart {
		s.expiry = 24 * 3600
	}
	if w := p.Will; w != nil {
		s.will, s.lives, s.delay = &mMessage{topic: w.Topic, payload: string(w.Payload), qos: w.QoS, retain: w.Retain}, 0, time.Duration(w.Delay)*time.Second
		if w.HasExpiry {
			s.lives = time.Duration(w.Expiry) * time.Second
		}
	}
	c.say("connack 0x0%s", present)
	m.pump(s)
}

// end is a connection that the server ends.
func (m *model) end(s *mSession, code packet.Code) {
	if s.conn.v == packet.V5 {
		s.conn.say("disconnect %#x", byte(code))
	}
	m.detach(s)
}

// detach is the end of a connection, whoever brought it about.
func (m *model) detach(s *mSession) {
	s.conn.say("closed")
	s.conn, s.told = nil, 0
	s.queue = slices.DeleteFunc(s.queue, func(d *mDelivery) bool { d.here = false; return d.qos == 0 })
	if s.expiry == 0 {
		m.over(s)
		return
	}
	s.ends = m.now.Add(time.Duration(s.expiry) * time.Second)
	if s.will != nil && s.delay == 0 {
		m.sendWill(s)
	} else if s.will != nil {
		s.willAt = m.now.Add(s.delay)
	}
}

// over is the end of a session.
func (m *model) over(s *mSession) {
	delete(m.sessions, s.id)
	for filter := range s.subs {
		m.leave(s, filter)
	}
	queue := s.queue
	s.queue = nil
	for _, d := range queue {
		if g := m.groups[d.share]; d.share != "" && g != nil && (d.id == 0 || d.qos == 1) && !d.expired(m.now) {
			m.share(d.share, g, d.mMessage)
		}
	}
	m.sendWill(s)
}

func (m *model) leave(s *mSession, filter string) {
	delete(s.subs, filter)
	if g := m.groups[filter]; g != nil {
		i, last := slices.Index(g.members, s), len(g.members)-1
		g.members[i] = g.members[last]
		if g.members = g.members[:last]; last == 0 {
			delete(m.groups, filter)
		}
	}
}

func (m *model) sendWill(s *mSession) {
	w := s.will
	s.will, s.willAt = nil, time.Time{}
	if w == nil || !s.grant.allows(s.grant.publish, w.topic) {
		return
	}
	if s.lives > 0 {
		w.expires = m.now.Add(s.lives)
	}
	m.publish(s, w)
}

// pass lets time pass until then.
func (m *model) pass(then time.Time) {
	for {
		var due *mSession
		var at time.Time
		for _, s := range m.sessions {
			for _, t := range []time.Time{s.ends, s.willAt} {
				if s.conn == nil && !t.IsZero() && !t.After(then) && (due == nil || t.Before(at)) {
					due, at = s, t
				}
			}
		}
		if due == nil {
			m.now = then
			return
		}
		m.now = at
		m.sendWill(due)
		if !at.Before(due.ends) {
			m.over(due)
		}
	}
}

// A run is a Server and its model, and what was done to both.
type run struct {
	*bubble
	*model
	r     *rand.Rand
	conns []*mConn
	did   []string
	seen  map[string]int // what happened in all runs
}

var (
	mTopics  = []string{"t/0", "t/1", "t/2", "t/0/x"}
	mFilters = []string{"t/0", "t/1", "t/+", "t/#", "t/0/+", "$share/g/t/#", "$share/h/t/0"}
	mGrants  = [][]string{{"t/#"}, {"t/#"}, {"t/0", "t/1"}}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (x *run) grantAnew(d string) {
	g := mGrant{pick(x.r, mGrants), pick(x.r, mGrants)}
	x.grants[d] = g
	x.grant(d, strings.Join(g.publish, " "), strings.Join(g.subscribe, " "))
}

// step does one thing to both.
func (x *run) step() {
	r := x.r
	who := pick(r, x.clients)
	s := x.sessions[who.id]
	did := func(format string, args ...any) { x.did = append(x.did, who.id+": "+fmt.Sprintf(format, args...)) }
	if s == nil || s.conn == nil || r.IntN(12) == 0 {
		if r.IntN(3) == 0 {
			x.other(who, did)
			return
		}
		x.reconnect(who, did)
		return
	}
	c := s.conn
	what := r.IntN(14)
	if x.room > 0 && (what == 7 || what == 8 || what == 11) || x.all > 0 && what > 8 && r.IntN(4) > 0 { // so that bounds are met
		what = 3
	}
	switch what {
	case 0, 1:
		x.subscribeAnew(s, did)
	case 2:
		filter := pick(r, mFilters)
		did("unsubscribe %s", filter)
		c.send(packet.AppendUnsubscribe(nil, c.v, &packet.Unsubscribe{ID: 8, Filters: []string{filter}}))
		_, had := s.subs[filter]
		if had {
			x.leave(s, filter)
		}
		s.owed = slices.DeleteFunc(s.owed, func(o mOwed) bool { return o.filter == filter })
		code := map[bool]string{true: " 0x0", false: " 0x11"}[had]
		if c.v == packet.V311 {
			code = ""
		}
		c.say("unsuback #8%s", code)
	case 3, 4, 5, 6:
		x.publishAnew(s, did)
	case 7, 8, 9:
		x.acknowledgeSome(s, did)
	case 10:
		id := uint16(1 + r.IntN(3))
		did("pubrel %d", id)
		c.ack(packet.PUBREL, id, 0)
		if code := " 0x92"; s.incoming[id] || c.v == packet.V311 {
			c.say("pubcomp #%d", id)
		} else {
			c.say("pubcomp #%d%s", id, code)
		}
		delete(s.incoming, id)
	case 11:
		x.disconnect(s, did)
	default:
		x.other(who, did)
	}
}

// begin connects a client, and then has it subscribe.
func (x *run) begin(who mClient) {
	did := func(format string, args ...any) { x.did = append(x.did, who.id+": "+fmt.Sprintf(format, args...)) }
	if s := x.sessions[who.id]; s == nil || s.conn == nil {
		x.reconnect(who, did)
	} else {
		x.subscribeAnew(s, did)
	}
}

func (x *run) reconnect(who mClient, did func(string, ...any)) {
	r := x.r
	if r.IntN(4) == 0 {
		x.grantAnew(who.device)
	}
	var asked packet.Connect
	change := func(p *packet.Connect) {
		p.ClientID = who.id
		p.Version = pick(r, []packet.Version{packet.V5, packet.V5, packet.V311})
		p.CleanStart = r.IntN(4) == 0
		if p.Version == packet.V5 {
			p.SessionExpiry = pick(r, []uint32{0, 5, 20, 60})
			p.HasSessionExpiry = true
			p.ReceiveMaximum = pick(r, []uint16{1, 2, 3, 65535})
			p.MaximumPacketSize = pick(r, []uint32{0, 0, 0, 30, 45})
			p.TopicAliasMaximum = pick(r, []uint16{0, 0, 1, 2})
		}
		may := x.grants[who.device]
		if w := pick(r, mTopics); r.IntN(2) == 0 && x.room == 0 && may.allows(may.publish, w) && (!x.restarts || who == x.clients[0] && p.Version == packet.V5 && p.SessionExpiry > 0) {
			p.Will = &packet.Will{Topic: w, Payload: []byte("will"), QoS: byte(r.IntN(3)), Retain: r.IntN(4) == 0}
			if p.Version == packet.V5 {
				if p.Will.Delay = pick(r, []uint32{0, 3, 10}); x.restarts {
					p.Will.Delay = max(p.Will.Delay, 3)
				}
				if r.IntN(3) == 0 {
					p.Will.HasExpiry, p.Will.Expiry = true, 7
				}
			}
		}
		asked = *p
	}
	// What the old connection hears comes before what the new one does.
	c, first := x.bubble.dial(who.device, change)
	did("connect version %d clean %t expiry %d receive %d will %+v: %s", asked.Version, asked.CleanStart, asked.SessionExpiry, asked.ReceiveMaximum, asked.Will, first)
	c.mu.Lock()
	c.got = append([]string{first}, c.got...)
	c.mu.Unlock()
	mc := &mConn{client: c, most: int(asked.MaximumPacketSize), mostAliases: asked.TopicAliasMaximum, aliases: map[uint16]string{}, window: min(int(asked.ReceiveMaximum), maxInflight), outlived: asked.SessionExpiry > 0}
	x.conns = append(x.conns, mc)
	x.connect(who, mc, &asked)
}

func (x *run) subscribeAnew(s *mSession, did func(string, ...any)) {
	r, c := x.r, s.conn
	filter := pick(r, mFilters)
	shared := strings.HasPrefix(filter, "$share")
	if shared && (x.room > 0 || x.restarts) || x.restarts && len(s.owed) > 0 {
		return
	}
	sub := mSub{qos: byte(r.IntN(3))}
	if x.all > 0 { // QoS 0 has room or not, by who gets the message first
		sub.qos = max(sub.qos, 1)
	}
	f := packet.Filter{Text: filter, Options: packet.Options{QoS: sub.qos}}
	p := packet.Subscribe{ID: 7}
	if c.v == packet.V5 {
		f.NoLocal, f.RetainAsPublished, f.RetainHandling = !shared && r.IntN(3) == 0, r.IntN(3) == 0, byte(r.IntN(3))
		p.SubscriptionID = uint32(r.IntN(3))
		sub.noLocal, sub.retainAsPublished, sub.id = f.NoLocal, f.RetainAsPublished, p.SubscriptionID
	}
	p.Filters = []packet.Filter{f}
	did("subscribe %+v", p)
	c.send(packet.AppendSubscribe(nil, c.v, &p))
	plain := filter
	if shared {
		plain = strings.SplitN(filter, "/", 3)[2]
	}
	if !slices.Contains(s.grant.subscribe, "t/#") && !slices.Contains(s.grant.subscribe, plain) {
		code := packet.NotAuthorized
		if c.v == packet.V311 {
			code = packet.UnspecifiedError
		}
		c.say("suback #7 %#x", byte(code))
		return
	}
	_, existed := s.subs[filter]
	s.subs[filter] = sub
	if shared && !existed {
		if x.groups[filter] == nil {
			x.groups[filter] = &mGroup{}
		}
		x.groups[filter].members = append(x.groups[filter].members, s)
	}
	c.say("suback #7 %#x", sub.qos)
	if !shared && (f.RetainHandling == 0 || f.RetainHandling == 1 && !existed) {
		s.owed = slices.DeleteFunc(s.owed, func(o mOwed) bool { return o.filter == filter })
		s.owed = append(s.owed, mOwed{filter, sub})
		x.pump(s)
	}
}

func (x *run) publishAnew(s *mSession, did func(string, ...any)) {
	r, c := x.r, s.conn
	msg := &mMessage{topic: pick(r, mTopics), payload: fmt.Sprint(len(x.did)), qos: byte(r.IntN(3)), retain: r.IntN(4) == 0 && x.room == 0}
	switch {
	case msg.retain && r.IntN(4) == 0:
		msg.payload = ""
	case r.IntN(4) == 0:
		msg.payload += strings.Repeat("x", r.IntN(40))
	}
	if x.refuse && c.v == packet.V311 {
		msg.qos = 0
	}
	p := packet.Publish{Topic: []byte(msg.topic), Payload: []byte(msg.payload), QoS: msg.qos, Retain: msg.retain}
	if c.v == packet.V5 && r.IntN(3) == 0 {
		if p.Alias = uint16(1 + r.IntN(3)); c.aliases[p.Alias] == msg.topic {
			p.Topic = nil
			x.seen["an alias of the client's"]++
		}
		c.aliases[p.Alias] = msg.topic
	}
	if msg.qos > 0 {
		p.ID = uint16(1 + r.IntN(3))
	}
	if c.v == packet.V5 && r.IntN(3) == 0 && x.all == 0 {
		p.HasExpiry, p.Expiry = true, uint32(1+r.IntN(30))
		msg.expires = x.now.Add(time.Duration(p.Expiry) * time.Second)
	}
	did("publish %s=%s q%d #%d retain %t expiry %d alias %d", msg.topic, msg.payload, msg.qos, p.ID, msg.retain, p.Expiry, p.Alias)
	c.send(packet.AppendPublish(nil, c.v, &p))
	word := []string{"", "puback", "pubrec"}[msg.qos]
	switch {
	case msg.qos > 0 && s.incoming[p.ID] && msg.qos == 2:
		c.say("pubrec #%d", p.ID)
		return
	case msg.qos > 0 && s.incoming[p.ID] && c.v == packet.V311:
		x.end(s, packet.PacketIDInUse)
		return
	case msg.qos > 0 && s.incoming[p.ID]:
		c.say("puback #%d 0x91", p.ID)
		return
	}
	code := packet.NotAuthorized
	if s.grant.allows(s.grant.publish, msg.topic) {
		if code = x.publish(s, msg); code == packet.QuotaExceeded {
			x.seen["a publisher was refused"]++
		}
	}
	switch {
	case msg.qos == 0 || s.conn == nil: // or it was ended for its own message
	case c.v == packet.V311 && code.Failed():
		x.end(s, code)
	case code == 0 || c.v == packet.V311:
		c.say("%s #%d", word, p.ID)
	default:
		c.say("%s #%d %#x", word, p.ID, byte(code))
	}
	if msg.qos == 2 && !code.Failed() && s.conn != nil {
		s.incoming[p.ID] = true
	}
}

func (x *run) acknowledgeSome(s *mSession, did func(string, ...any)) {
	r, c := x.r, s.conn
	ids := slices.Clone(s.released)
	for _, d := range s.queue {
		if d.id > 0 {
			ids = append(ids, d.id)
		}
	}
	ids = append(ids, 60000)
	id := ids[0]
	if r.IntN(3) == 0 {
		id = pick(r, ids)
	}
	i := slices.IndexFunc(s.queue, func(d *mDelivery) bool { return d.id == id })
	at := slices.Index(s.released, id)
	kind := packet.PUBACK
	switch {
	case at >= 0:
		kind = packet.PUBCOMP
	case i >= 0 && s.queue[i].qos == 2:
		kind = packet.PUBREC
	}
	if r.IntN(8) == 0 {
		kind = pick(r, []packet.Type{packet.PUBACK, packet.PUBREC, packet.PUBCOMP})
	}
	code := packet.Success
	if c.v == packet.V5 && kind != packet.PUBCOMP && r.IntN(8) == 0 {
		code = packet.UnspecifiedError
	}
	did("%v %d %#x", kind, id, byte(code))
	c.ack(kind, id, code)
	unrelease := func() {
		s.released = slices.Delete(s.released, at, at+1)
		if at < s.told {
			s.told--
		}
	}
	switch {
	case kind == packet.PUBACK && i >= 0 && s.queue[i].qos == 1:
		s.remove(s.queue[i])
	case kind == packet.PUBREC && i >= 0 && s.queue[i].qos == 2:
		if s.remove(s.queue[i]); !code.Failed() {
			s.released = append(s.released, id)
		}
	case kind == packet.PUBREC && at >= 0 && !code.Failed():
		unrelease()
		s.released = append(s.released, id)
	case kind == packet.PUBREC && at < 0 && i < 0 && !code.Failed():
		if c.v == packet.V5 {
			c.say("pubrel #%d 0x92", id)
		} else {
			c.say("pubrel #%d", id)
		}
	case kind == packet.PUBCOMP && at >= 0:
		unrelease()
	case at >= 0 || i >= 0: // it waits for another packet
		x.end(s, packet.ProtocolError)
		return
	}
	x.pump(s)
}

func (x *run) disconnect(s *mSession, did func(string, ...any)) {
	r, c := x.r, s.conn
	if r.IntN(2) == 0 {
		did("cut")
		c.nc.Close()
		x.detach(s)
		return
	}
	var d packet.Disconnect
	if c.v == packet.V5 {
		d.Code = pick(r, []packet.Code{packet.NormalDisconnection, packet.DisconnectWithWill})
		if r.IntN(3) == 0 {
			d.HasExpiry, d.Expiry = true, pick(r, []uint32{0, 4, 30})
		}
	}
	did("disconnect %+v", d)
	c.send(packet.AppendDisconnect(nil, c.v, d))
	switch {
	case d.HasExpiry && d.Expiry > 0 && !c.outlived:
		x.end(s, packet.ProtocolError)
		return
	case d.HasExpiry && s.expiry > 0:
		s.expiry = d.Expiry
	}
	if d.Code != packet.DisconnectWithWill {
		s.will = nil
	}
	x.detach(s)
}

// ofDevice are a device's sessions, in the order in which they are ended.
func (x *run) ofDevice(d string) (all []*mSession) {
	for _, s := range x.sessions {
		if s.device == d {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *mSession) int {
		if (a.conn == nil) != (b.conn == nil) { // those with a connection first
			if a.conn == nil {
				return 1
			}
			return -1
		}
		return b.born - a.born
	})
	return all
}

// other is what no client does.
func (x *run) other(who mClient, did func(string, ...any)) {
	kinds := 6
	if x.restarts {
		kinds++
	}
	switch x.r.IntN(kinds) {
	case 0:
		did("end")
		x.End(device(x.t, who.device), ReasonAdministrative)
		for _, s := range x.ofDevice(who.device) {
			if s.conn == nil {
				s.will = nil // it may not be any more
				x.over(s)
				continue
			}
			s.expiry = 0
			x.end(s, packet.AdministrativeAction)
		}
		x.kept = slices.DeleteFunc(x.kept, func(k mKept) bool { return k.device == who.device })
	case 1:
		x.grantAnew(who.device)
		g := x.grants[who.device]
		did("review %+v", g)
		x.review(who.device, strings.Join(g.publish, " "), strings.Join(g.subscribe, " "))
		for _, s := range x.ofDevice(who.device) {
			s.grant = g
		}
	case 6:
		did("restart")
		x.seen["a restart"]++
		for _, s := range x.sessions {
			if s.conn != nil {
				x.end(s, packet.ServerShuttingDown)
			}
		}
		x.bubble.restart()
		x.pass(time.Now())
		for _, s := range x.sessions {
			x.seen["a session went on after a restart"]++
			if s.grant = x.grants[s.device]; s.will != nil {
				s.willAt = x.now.Add(s.delay) // it begins anew
			}
		}
	default:
		d := time.Duration(1+x.r.IntN(8)) * time.Second
		did("sleep %v", d)
		x.sleep(d)
	}
}

func (x *run) sleep(d time.Duration) {
	x.pass(x.now.Add(d))
	time.Sleep(d)
}

// check compares what all clients heard; false ends the run.
func (x *run) check() bool {
	same := true
	for _, c := range x.conns {
		got := c.took()
		for i := range got {
			got[i] = strings.TrimSuffix(got[i], " wordless")
			if name, rest, ok := strings.Cut(strings.TrimPrefix(got[i], "("), ")="); ok { // by its alias
				got[i] = name + "=" + rest
				x.seen["an alias of the server's"]++
			}
		}
		if !slices.Equal(got, c.said) {
			x.t.Errorf("got  %q\nwant %q", got, c.said)
			same = false
		}
		c.said = nil
		c.mu.Lock()
		largest, highest := c.largest, c.highest
		c.mu.Unlock()
		if c.most > 0 && largest > c.most {
			x.t.Errorf("a packet of %d bytes for a client that takes %d", largest, c.most)
			same = false
		}
		if highest > c.mostAliases {
			x.t.Errorf("alias %d for a client that takes %d", highest, c.mostAliases)
			same = false
		}
	}
	x.conns = slices.DeleteFunc(x.conns, func(c *mConn) bool {
		return !slices.ContainsFunc(x.clients, func(who mClient) bool { s := x.sessions[who.id]; return s != nil && s.conn == c })
	})
	return same
}

// TestModel drives the server and the model with the same things at random, a few at a time. It tells the
// seed of the run that they differ in. SIGNET_MODEL_RUNS is how many there are, 100,000 without it.
func TestModel(t *testing.T) {
	runs := 100_000
	if said := os.Getenv("SIGNET_MODEL_RUNS"); said != "" {
		var err error
		if runs, err = strconv.Atoi(said); err != nil {
			t.Fatalf("SIGNET_MODEL_RUNS: %v", err)
		}
	}
	if testing.Short() {
		runs = 100 * len(mKinds)
	}
	const batch = 100
	seen := map[string]int{}
	for seed := uint64(0); seed < uint64(runs); seed += batch {
		k := mKinds[seed/batch%uint64(len(mKinds))]
		inBubble(t, func(c *Config) {
			c.SessionMessages, c.QueuedMessages, c.RefusePublisher, c.Outlive = k.room, k.all, k.refuse, true
			c.Log = slog.New(slog.DiscardHandler)
			c.Limits = intake.Limits{Rate: 1e9, Burst: 1e9}
		}, func(b *bubble) {
			for i := range uint64(batch) {
				if !runModel(b, seed+i, k, seen) {
					return
				}
			}
			seen["a message was too large, or forbidden"] += b.drops(DropDenied)
			seen["a subscriber was ended"] += b.ended(ReasonQuota)
			b.leavesNothing()
		})
		if t.Failed() {
			return
		}
	}
	for _, what := range []string{
		"an alias of the client's", "an alias of the server's", "a publisher was refused", "a restart", "a session went on after a restart",
		"a message was too large, or forbidden", "a subscriber was ended", "all may have no more",
	} {
		if seen[what] == 0 {
			t.Errorf("never: %s", what)
		}
	}
}

func runModel(b *bubble, seed uint64, k kind, seen map[string]int) bool {
	x := &run{bubble: b, model: newModel(k), r: rand.New(rand.NewPCG(seed, 8)), seen: seen}
	for _, who := range k.clients {
		x.grantAnew(who.device)
	}
	b.Server.retained.Delete(func(*retained.Kept) bool { return true })
	x.now = time.Now()
	for i := range 10 + x.r.IntN(40) {
		if i < 2*len(k.clients) && k.room > 0 {
			x.begin(k.clients[i/2])
		} else {
			x.step()
		}
		if !x.check() {
			b.t.Logf("seed %d, %s:\n%s", seed, k.name, strings.Join(x.did, "\n"))
			return false
		}
		x.sleep(7 * time.Millisecond) // so that no two things are due at the same time
		if !x.check() {
			b.t.Logf("seed %d, %s, after:\n%s", seed, k.name, strings.Join(x.did, "\n"))
			return false
		}
	}
	seen["all may have no more"] += x.crowded
	for _, c := range x.conns {
		c.nc.Close()
	}
	for _, who := range k.clients {
		b.End(device(b.t, who.device), ReasonAdministrative)
	}
	return true
}

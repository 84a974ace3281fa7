package session_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/session"
	"github.com/signetd/signet/protocol/topic"
	"github.com/signetd/signet/protocol/topic/topictest"
)

// The model says what a session does in the plainest words: one list of all deliveries, each
// of which is in one of four states, and one map of the client's own packet identifiers.
type state int

const (
	waiting  state = iota // never sent
	sent                  // and neither PUBACK nor PUBREC came
	released              // PUBREC came, or the exchange was given up
	done
)

type modelDelivery struct {
	session.Delivery
	state   state
	id      uint16
	current bool // its PUBLISH or PUBREL was sent on this connection
	recOf   int  // released: the how-manieth PUBREC it was
}

type modelArrival struct {
	id                uint16
	qos               message.QoS
	accepted, current bool
}

type model struct {
	limits      session.Limits
	maxMessages int
	maxBytes    int
	connected   bool
	window      int
	lastID      uint16
	recs        int
	deliveries  []*modelDelivery
	incoming    []*modelArrival
	spare       int // PUBCOMPs on this connection for what did not come on it
	dropped     [session.Causes]int
}

func (m *model) in(states ...state) (in []*modelDelivery) {
	for _, d := range m.deliveries {
		if slices.Contains(states, d.state) {
			in = append(in, d)
		}
	}
	return in
}

func (m *model) byID(id uint16) *modelDelivery {
	for _, d := range m.in(sent, released) {
		if d.id == id {
			return d
		}
	}
	return nil
}

func (m *model) forget(gone *modelDelivery) {
	gone.state = done
	m.deliveries = slices.DeleteFunc(m.deliveries, func(d *modelDelivery) bool { return d == gone })
}

func (m *model) drop(d *modelDelivery, cause session.Cause) {
	m.dropped[cause]++
	m.forget(d)
}

func (m *model) release(d *modelDelivery) {
	m.recs++
	d.state, d.current, d.recOf = released, false, m.recs
}

func (m *model) connect(receiveMaximum uint16) {
	m.disconnect()
	m.connected = true
	m.window = m.limits.Inflight
	if receiveMaximum != 0 {
		m.window = min(m.window, int(receiveMaximum))
	}
}

func (m *model) disconnect() {
	m.connected, m.spare = false, 0
	for _, d := range m.in(waiting, sent, released) {
		d.current = false
		if d.QoS == 0 {
			m.drop(d, session.Gone)
		}
	}
	for _, a := range slices.Clone(m.incoming) {
		a.current = false
		if a.qos == 1 {
			m.over(a)
		}
	}
}

func (m *model) fits(size int) bool {
	held := m.in(waiting, sent)
	bytes := size
	for _, d := range held {
		bytes += d.Size()
	}
	return len(held) < m.maxMessages && bytes <= m.maxBytes
}

func (m *model) expire(now time.Time) {
	for _, d := range m.in(waiting) {
		if d.Message.Expired(now) {
			m.drop(d, session.Expired)
		}
	}
}

func (m *model) add(now time.Time, d session.Delivery) error {
	if d.QoS == 0 && !m.connected {
		return session.ErrAbsent
	}
	if !m.fits(d.Size()) {
		m.expire(now)
	}
	for _, plain := range m.in(waiting) {
		if plain.QoS == 0 && d.QoS > 0 && !m.fits(d.Size()) {
			m.drop(plain, session.Crowded)
		}
	}
	if !m.fits(d.Size()) {
		return session.ErrFull
	}
	m.deliveries = append(m.deliveries, &modelDelivery{Delivery: d})
	return nil
}

// open reports whether the client would take another PUBLISH: it has had window of them on this
// connection without an end, and ids that it holds since an earlier one count as well.
func (m *model) open() bool {
	used := 0
	for _, d := range m.in(sent, released) {
		if d.current || d.state == released {
			used++
		}
	}
	return used < m.window
}

func (m *model) next(now time.Time, judge session.Judge) (session.Out, bool) {
	if !m.connected {
		return session.Out{}, false
	}
	rels := m.in(released)
	slices.SortFunc(rels, func(a, b *modelDelivery) int { return a.recOf - b.recOf })
	for _, d := range rels {
		if !d.current {
			d.current = true
			return session.Out{ID: d.id, Release: true}, true
		}
	}
	again := false // whether some PUBLISH is still to be sent again
	for _, d := range m.in(sent) {
		if d.current {
			continue
		}
		if !m.open() {
			again = true
			break
		}
		cause := judge(d.Delivery)
		switch {
		case cause == session.None:
			d.current = true
			return session.Out{Delivery: d.Delivery, ID: d.id, Dup: true}, true
		case d.QoS == 1:
			m.drop(d, cause)
		default:
			m.dropped[cause]++
			m.release(d)
			d.current = true
			return session.Out{ID: d.id, Release: true}, true
		}
	}
	for _, d := range m.in(waiting) {
		if d.QoS > 0 && (again || !m.open()) {
			continue
		}
		cause := judge(d.Delivery)
		if d.Message.Expired(now) {
			cause = session.Expired
		}
		if cause != session.None {
			m.drop(d, cause)
			continue
		}
		if d.QoS == 0 {
			m.forget(d)
			return session.Out{Delivery: d.Delivery}, true
		}
		for {
			m.lastID = max(1, m.lastID+1)
			if m.byID(m.lastID) == nil {
				break
			}
		}
		d.state, d.id, d.current = sent, m.lastID, true
		return session.Out{Delivery: d.Delivery, ID: d.id}, true
	}
	return session.Out{}, false
}

func (m *model) puback(id uint16) error {
	switch d := m.byID(id); {
	case d == nil:
		return session.ErrUnknown
	case d.state != sent || d.QoS != 1:
		return session.ErrUnexpected
	default:
		m.forget(d)
		return nil
	}
}

func (m *model) pubrec(id uint16, code byte) error {
	switch d := m.byID(id); {
	case d == nil:
		return session.ErrUnknown
	case d.QoS != 2 || d.state == released && code >= 0x80:
		return session.ErrUnexpected
	case code >= 0x80:
		m.forget(d)
		return nil
	default:
		m.release(d)
		return nil
	}
}

func (m *model) pubcomp(id uint16) error {
	switch d := m.byID(id); {
	case d == nil:
		return session.ErrUnknown
	case d.state != released:
		return session.ErrUnexpected
	default:
		m.forget(d)
		return nil
	}
}

func (m *model) arrival(id uint16) *modelArrival {
	for _, a := range m.incoming {
		if a.id == id {
			return a
		}
	}
	return nil
}

func (m *model) over(gone *modelArrival) {
	m.incoming = slices.DeleteFunc(m.incoming, func(a *modelArrival) bool { return a == gone })
}

// exhausted reports whether the client has had all that it may on this connection.
func (m *model) exhausted() bool {
	used := 0
	for _, a := range m.incoming {
		if a.current {
			used++
		}
	}
	return used >= m.limits.Incoming+min(m.spare, m.limits.Incoming)
}

func (m *model) receive(id uint16, qos message.QoS) (session.Receipt, error) {
	a := m.arrival(id)
	switch {
	case a != nil && a.qos != qos:
		return 0, session.ErrInUse
	case (a == nil || !a.current) && m.exhausted(), a == nil && len(m.incoming) >= 2*m.limits.Incoming:
		return 0, session.ErrReceiveMaximum
	case a == nil:
		m.incoming = append(m.incoming, &modelArrival{id: id, qos: qos, current: true})
		return session.Fresh, nil
	}
	a.current = true
	if a.accepted {
		return session.Accepted, nil
	}
	return session.Pending, nil
}

func (m *model) received(id uint16, code byte) {
	if a := m.arrival(id); a != nil && a.qos == 2 && code < 0x80 {
		a.accepted = true
	} else if a != nil {
		m.over(a)
	}
}

func (m *model) pubrel(id uint16) bool {
	a := m.arrival(id)
	known := a != nil && a.accepted
	if known {
		m.over(a)
	}
	if !known || !a.current {
		m.spare++
	}
	return known
}

// A pair is a session beside its model, and what both are in.
type pair struct {
	t        *testing.T
	model    *model
	session  *session.Session
	room     *message.Room
	now      time.Time
	share    *topic.Subscription
	messages int
	log      []string
}

func newPair(t *testing.T, inflight, incoming, messages, bytes int) *pair {
	l := session.Limits{Inflight: inflight, Incoming: incoming}
	room := message.NewRoom(messages, bytes, nil)
	// an identifier that will soon go over 65535: [65530, h'', h'', 0]
	s, err := restore([][]byte{{0x84, 0x19, 0xff, 0xfa, 0x40, 0x40, 0}}, l, room, nil)
	if err != nil {
		t.Fatal(err)
	}
	share := topictest.Subscription(t, "$share/g/a")
	return &pair{
		t: t, room: room, session: s, now: start, share: &share,
		model: &model{limits: l, maxMessages: messages, maxBytes: bytes, lastID: 65530},
	}
}

func (p *pair) fail(format string, args ...any) {
	p.t.Helper()
	for _, line := range p.log {
		p.t.Log(line)
	}
	p.t.Fatalf(format, args...)
}

// same checks what both said to one call, and all that can be seen of the session.
func (p *pair) same(call string, got, want any) {
	p.t.Helper()
	if p.log = append(p.log, call); len(p.log) > 400 {
		p.log = p.log[200:]
	}
	if got != want {
		p.fail("%s: %v, the model says %v", call, got, want)
	}
	held := p.model.in(waiting, sent)
	bytes := 0
	for _, d := range held {
		bytes += d.Size()
	}
	n, taken := p.room.Taken()
	s := p.session
	if s.Len() != len(held) || s.Bytes() != bytes || n != len(held) || taken != bytes {
		p.fail("%s: %d deliveries of %d bytes, %d of %d in the room; the model has %d of %d", call, s.Len(), s.Bytes(), n, taken, len(held), bytes)
	}
	if inflight, queued := len(p.model.in(sent, released)), len(p.model.in(waiting)); s.Inflight() != inflight || s.Queued() != queued {
		p.fail("%s: %d in flight and %d queued; the model has %d and %d", call, s.Inflight(), s.Queued(), inflight, queued)
	}
	if got, want := s.Dropped(), p.model.dropped; got != want {
		p.fail("%s: dropped %v, the model says %v", call, got, want)
	}
	p.model.dropped = [session.Causes]int{}
}

// judge drops by the message alone, so that both ask alike. What it forbids changes with time.
func (p *pair) judge(d session.Delivery) session.Cause {
	switch n := int(d.Message.Payload[0]); {
	case n%13 == p.now.Second()%13:
		return session.Forbidden
	case n%29 == 0:
		return session.TooLarge
	default:
		return session.None
	}
}

// id is one that is in flight, mostly, else any small one.
func (p *pair) id(choose func(int) int) uint16 {
	if all := p.model.in(sent, released); len(all) > 0 && choose(8) > 0 {
		return all[choose(len(all))].id
	}
	return uint16(choose(12))
}

// step does one thing to both; choose gives a number below its argument.
func (p *pair) step(choose func(int) int) {
	s, m := p.session, p.model
	switch choose(19) {
	case 0:
		window := uint16(choose(6))
		s.Connect(window)
		m.connect(window)
		p.same(fmt.Sprint("connect ", window), nil, nil)
	case 1:
		s.Disconnect()
		m.disconnect()
		p.same("disconnect", nil, nil)
	case 17, 18:
		p.send(choose)
	case 2, 3, 4, 5:
		d := p.delivery(choose)
		p.same(fmt.Sprintf("add %d at QoS %d", p.messages, d.QoS), s.Add(p.now, d), m.add(p.now, d))
	case 6, 7, 8:
		got, ok := s.Next(p.now, p.judge)
		want, there := m.next(p.now, p.judge)
		if ok && !got.Release && got.Share != nil && got.Share.String() != "$share/g/a" {
			p.fail("next: %v", got.Share)
		}
		if ok != there || !alike(got, want) {
			p.fail("next: %+v %t, the model says %+v %t", got, ok, want, there)
		}
		p.same(fmt.Sprintf("next: %t %d dup %t release %t", ok, got.ID, got.Dup, got.Release), nil, nil)
	case 9:
		id := p.id(choose)
		p.same(fmt.Sprint("puback ", id), s.Puback(id), m.puback(id))
	case 10:
		id, code := p.id(choose), byte(choose(4)/3*0x80)
		p.same(fmt.Sprint("pubrec ", id, code), s.Pubrec(id, code), m.pubrec(id, code))
	case 11:
		id := p.id(choose)
		p.same(fmt.Sprint("pubcomp ", id), s.Pubcomp(id), m.pubcomp(id))
	case 12:
		id, qos := uint16(1+choose(8)), byte(1+choose(2))
		got, err := s.Receive(id, qos)
		want, wantErr := m.receive(id, qos)
		p.same(fmt.Sprint("receive ", id, qos), err, wantErr)
		p.same(fmt.Sprint("receive ", id, qos), got, want)
	case 13:
		id, code := uint16(1+choose(8)), byte(choose(4)/3*0x80)
		s.Received(id, code)
		m.received(id, code)
		p.same(fmt.Sprint("received ", id, code), nil, nil)
	case 14:
		id := uint16(1 + choose(8))
		p.same(fmt.Sprint("pubrel ", id), s.Release(id), m.pubrel(id))
	case 15:
		p.now = p.now.Add(time.Duration(choose(3000)) * time.Millisecond)
		if choose(3) == 0 {
			s.Expire(p.now)
			m.expire(p.now)
		}
		p.same("time", nil, nil)
	case 16:
		if choose(3) == 0 {
			p.restart()
		}
	}
}

// delivery makes one of a new message.
func (p *pair) delivery(choose func(int) int) session.Delivery {
	p.messages++
	d := session.Delivery{Message: &message.Message{Payload: make([]byte, 1+choose(60))}, QoS: byte(choose(3))}
	d.Message.Payload[0] = byte(p.messages)
	if choose(4) == 0 {
		d.Retain, d.Identifiers, d.Share = true, []uint32{1, 268_435_455}[:choose(3)], p.share
	}
	if choose(4) == 0 {
		d.Message.Expires = p.now.Add(time.Duration(choose(5000)) * time.Millisecond)
	}
	return d
}

func alike(a, b session.Out) bool {
	return a.ID == b.ID && a.Dup == b.Dup && a.Release == b.Release && a.Message == b.Message && a.QoS == b.QoS && a.Retain == b.Retain &&
		slices.Equal(a.Identifiers, b.Identifiers) && (a.Share == nil) == (b.Share == nil)
}

// send is add and next of the model where there is nothing else to be sent, and nothing otherwise.
func (p *pair) send(choose func(int) int) {
	s, m := p.session, p.model
	d := p.delivery(choose)
	before := len(m.in(waiting, sent, released))
	got, ok := s.Send(p.now, d)
	call := fmt.Sprintf("send %d at QoS %d: %t %d", p.messages, d.QoS, ok, got.ID)
	switch {
	case ok && d.QoS == message.AtMostOnce && d.Size() > m.maxBytes: // it takes no room
	case ok:
		if err := m.add(p.now, d); err != nil {
			p.fail("%s: the model says %v", call, err)
		}
		if want, there := m.next(p.now, func(session.Delivery) session.Cause { return session.None }); !there || !alike(got, want) {
			p.fail("%s: %+v, the model says %+v", call, got, want)
		}
	case before == 0 && m.connected && m.window > 0 && d.Size() <= m.maxBytes && m.maxMessages > 0 && !d.Message.Expired(p.now):
		p.fail("%s, and there was nothing against it", call)
	}
	p.same(call, nil, nil)
}

// restart saves the session and goes on with what is restored.
func (p *pair) restart() {
	records, messages := save(p.t, p.session)
	p.session.Close()
	p.room = message.NewRoom(p.model.maxMessages, p.model.maxBytes, nil)
	restored, err := restore(records, p.model.limits, p.room, messages)
	if err != nil {
		p.fail("restore: %v", err)
	}
	again, _ := save(p.t, restored)
	if !slices.EqualFunc(again, records, bytes.Equal) {
		p.fail("saved %x, restored %x", records, again)
	}
	p.session = restored
	p.model.disconnect()
	p.model.dropped = [session.Causes]int{} // the session that was is not asked any more
	for _, a := range slices.Clone(p.model.incoming) {
		if !a.accepted {
			p.model.over(a)
		}
	}
	p.same("restart", nil, nil)
}

// end closes the session: what is left comes out in order, and all room is given back.
func (p *pair) end() {
	var want []session.Left
	for _, qos0 := range []bool{false, true} {
		for _, d := range p.model.in(waiting, sent) {
			if (d.QoS == 0) == qos0 {
				want = append(want, session.Left{Delivery: d.Delivery, Sent: d.state == sent})
			}
		}
	}
	i := 0
	for left := range p.session.Close() {
		if i >= len(want) || left.Message != want[i].Message || left.Sent != want[i].Sent {
			p.fail("left %d is %+v", i, left)
		}
		i++
	}
	if n, bytes := p.room.Taken(); i != len(want) || n != 0 || bytes != 0 {
		p.fail("%d are left of %d, %d of %d bytes in the room", i, len(want), n, bytes)
	}
}

// TestModel holds a session against the model, call by call, through many seeded lives.
func TestModel(t *testing.T) {
	runs := 100_000
	if testing.Short() {
		runs = 5_000
	}
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := newPair(t, 1+r.IntN(6), 1+r.IntN(4), 1+r.IntN(14), 200+r.IntN(3000))
		for range 40 {
			p.step(r.IntN)
		}
		p.end()
		if t.Failed() {
			t.Fatal("seed ", seed)
		}
	}
}

// FuzzModel is TestModel with the fuzzer's choices.
func FuzzModel(f *testing.F) {
	f.Add([]byte{0, 3, 2, 0, 2, 1, 6, 6, 9, 0, 10, 0, 11, 0})
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newPair(t, 3, 2, 6, 1200)
		for len(data) > 0 {
			p.step(func(n int) int {
				if len(data) == 0 {
					return 0
				}
				b := data[0]
				data = data[1:]
				return int(b) * n / 256 // every choice has its bytes, n may be more than 256
			})
		}
		p.end()
	})
}

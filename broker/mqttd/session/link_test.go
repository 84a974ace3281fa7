package session_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/session"
)

// A packet on the link between a session and its client.
type packet struct {
	kind string // PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP
	id   uint16
	qos  message.QoS
	code byte
	dup  bool
	text byte // the payload
}

// A link loses what is on its way when it breaks, and nothing else.
type link struct{ down, up []packet }

func pop(from *[]packet) (packet, bool) {
	if len(*from) == 0 {
		return packet{}, false
	}
	p := (*from)[0]
	*from = (*from)[1:]
	return p, true
}

// A subscriber is a client as section 4.3 has it; it hands a QoS 2 message on when it first comes.
type subscriber struct {
	t       *testing.T
	maximum int // its Receive Maximum
	open    int // what it has of that on this connection
	holds   map[uint16]byte
	got     [3][]byte
}

func (c *subscriber) takes(p packet) (answer packet) {
	switch {
	case p.kind == "PUBREL":
		if _, ok := c.holds[p.id]; !ok {
			return packet{kind: "PUBCOMP", id: p.id, code: 0x92}
		}
		delete(c.holds, p.id)
		return packet{kind: "PUBCOMP", id: p.id}
	case p.qos == 0:
		c.got[0] = append(c.got[0], p.text)
		return packet{}
	}
	if c.open++; c.open > c.maximum {
		c.t.Errorf("%d PUBLISHes at once, at most %d are allowed [MQTT-3.3.4-9]", c.open, c.maximum)
	}
	if p.qos == 1 {
		c.got[1] = append(c.got[1], p.text)
		return packet{kind: "PUBACK", id: p.id}
	}
	switch text, held := c.holds[p.id]; {
	case !held:
		c.holds[p.id] = p.text
		c.got[2] = append(c.got[2], p.text)
	case !p.dup || text != p.text:
		c.t.Errorf("id %d is given to another message while it is in use [MQTT-2.2.1-4]", p.id)
	}
	return packet{kind: "PUBREC", id: p.id}
}

// TestExactlyOnce: over a link that breaks, QoS 2 comes exactly once and QoS 1 at least once, each
// in its order; of what was forbidden at some time, not more than that. Acknowledgements come late.
func TestExactlyOnce(t *testing.T) {
	runs := 2000
	if testing.Short() {
		runs = 200
	}
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(seed, 2))
		s := session.New(session.Limits{Inflight: 1 + r.IntN(8), Incoming: 1}, message.NewRoom(1000, 1<<20, nil))
		c := &subscriber{t: t, holds: map[uint16]byte{}}
		var wire link
		var added [3][]byte
		forbidden := map[byte]bool{}
		judge := func(d session.Delivery) session.Cause {
			if forbidden[d.Message.Payload[0]] {
				return session.Forbidden
			}
			return session.None
		}
		reconnect := func() {
			wire = link{}
			c.open, c.maximum = 0, 1+r.IntN(8)
			s.Disconnect()
			s.Connect(uint16(c.maximum))
		}
		send := func() {
			if out, ok := s.Next(start, judge); ok && out.Release {
				wire.down = append(wire.down, packet{kind: "PUBREL", id: out.ID})
			} else if ok {
				wire.down = append(wire.down, packet{kind: "PUBLISH", id: out.ID, qos: out.QoS, dup: out.Dup, text: out.Message.Payload[0]})
			}
		}
		clientTurn := func() {
			if p, ok := pop(&wire.down); ok {
				if answer := c.takes(p); answer.kind != "" {
					wire.up = append(wire.up, answer)
				}
			}
		}
		serverTurn := func() {
			p, ok := pop(&wire.up)
			if !ok {
				return
			}
			var err error
			switch p.kind {
			case "PUBACK":
				c.open--
				err = s.Puback(p.id)
			case "PUBREC":
				err = s.Pubrec(p.id, p.code)
			case "PUBCOMP":
				c.open = max(0, c.open-1)
				err = s.Pubcomp(p.id)
			}
			if err != nil {
				t.Errorf("%+v: %v", p, err)
			}
		}
		reconnect()
		for range 300 {
			switch r.IntN(24) {
			case 0:
				reconnect()
			case 1:
				if all := slices.Concat(added[1], added[2]); len(all) > 0 && seed%2 == 1 {
					forbidden[all[r.IntN(len(all))]] = true
				}
			case 2, 3, 4, 5:
				text, qos := byte(len(added[0])+len(added[1])+len(added[2])), byte(r.IntN(3))
				if err := s.Add(start, session.Delivery{Message: &message.Message{Payload: []byte{text}}, QoS: qos}); err != nil {
					t.Fatal(err)
				}
				added[qos] = append(added[qos], text)
			case 6, 7, 8, 9, 10, 11:
				send()
			case 12, 13, 14, 15, 16, 17:
				clientTurn()
			default:
				serverTurn()
			}
		}
		reconnect()
		for n := 0; (s.Waiting() || s.Inflight() > 0) && n < 10_000; n++ {
			send()
			clientTurn()
			serverTurn()
		}
		// what was forbidden may have come or not; all else came
		allowed := func(texts []byte) []byte {
			return slices.DeleteFunc(slices.Clone(texts), func(b byte) bool { return forbidden[b] })
		}
		if got := allowed(c.got[2]); !slices.Equal(got, allowed(added[2])) {
			t.Errorf("QoS 2: %d came, want %d", got, allowed(added[2]))
		}
		if all := slices.Sorted(slices.Values(c.got[2])); len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Errorf("QoS 2: some came twice: %d", all)
		}
		var first []byte
		for _, b := range allowed(c.got[1]) {
			if !slices.Contains(first, b) {
				first = append(first, b)
			}
		}
		if !slices.Equal(first, allowed(added[1])) {
			t.Errorf("QoS 1: %d came, want %d", first, allowed(added[1]))
		}
		if !slices.IsSorted(c.got[0]) {
			t.Errorf("QoS 0: %d came", c.got[0])
		}
		if len(c.holds) > 0 || s.Len()+s.Inflight() > 0 || t.Failed() {
			t.Fatalf("seed %d: the client holds %v, the session %d and %d in flight", seed, c.holds, s.Len(), s.Inflight())
		}
	}
}

// TestExactlyOnceFromClient is the same the other way round: what the client publishes at QoS 2 is accepted
// once, whatever breaks and is refused in between.
func TestExactlyOnceFromClient(t *testing.T) {
	runs := 2000
	if testing.Short() {
		runs = 200
	}
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(seed, 3))
		maximum := 1 + r.IntN(5)
		s := session.New(session.Limits{Inflight: 1, Incoming: maximum}, nil)
		type exchange struct {
			packet
			released bool
		}
		var (
			wire      link
			unsettled []exchange // what the client sends again
			quota     int
			lastID    uint16
			next      byte
			accepted  []byte // by the server
			refused   = map[byte]bool{}
			wants     []byte
		)
		reconnect := func() {
			wire, quota = link{}, maximum
			s.Disconnect()
			s.Connect(0)
			for _, x := range unsettled {
				p := packet{kind: "PUBREL", id: x.id}
				if !x.released {
					p = x.packet
					p.dup = true
					quota--
				}
				wire.up = append(wire.up, p)
			}
		}
		publish := func() {
			if quota == 0 {
				return
			}
			quota--
			lastID = lastID%7 + 1
			for slices.ContainsFunc(unsettled, func(x exchange) bool { return x.id == lastID }) {
				lastID++
			}
			next++
			wants = append(wants, next)
			p := packet{kind: "PUBLISH", id: lastID, qos: 2, text: next}
			unsettled = append(unsettled, exchange{packet: p})
			wire.up = append(wire.up, p)
		}
		serverTurn := func() {
			p, ok := pop(&wire.up)
			switch {
			case !ok:
			case p.kind == "PUBREL":
				answer := packet{kind: "PUBCOMP", id: p.id}
				if !s.Release(p.id) {
					answer.code = 0x92
				}
				wire.down = append(wire.down, answer)
			default:
				receipt, err := s.Receive(p.id, 2)
				if err != nil {
					t.Fatalf("seed %d: %+v: %v", seed, p, err)
				}
				answer := packet{kind: "PUBREC", id: p.id}
				if receipt == session.Fresh {
					if r.IntN(5) == 0 {
						answer.code = 0x97
						refused[p.text] = true
					} else {
						accepted = append(accepted, p.text)
					}
					s.Received(p.id, answer.code)
				}
				wire.down = append(wire.down, answer)
			}
		}
		clientTurn := func() {
			p, ok := pop(&wire.down)
			i := slices.IndexFunc(unsettled, func(x exchange) bool { return x.id == p.id })
			switch {
			case !ok || i < 0:
			case p.kind == "PUBCOMP" || p.code >= 0x80:
				unsettled = slices.Delete(unsettled, i, i+1)
				quota = min(quota+1, maximum)
			default:
				unsettled[i].released = true
				wire.up = append(wire.up, packet{kind: "PUBREL", id: p.id})
			}
		}
		reconnect()
		for range 200 {
			switch r.IntN(12) {
			case 0:
				if len(unsettled) <= maximum { // one who resends what he owes before he goes on
					reconnect()
				}
			case 1, 2, 3:
				publish()
			case 4, 5, 6, 7:
				serverTurn()
			default:
				clientTurn()
			}
		}
		for n := 0; len(unsettled) > 0 && n < 10_000; n++ {
			if len(wire.up)+len(wire.down) == 0 {
				reconnect()
			}
			serverTurn()
			clientTurn()
		}
		if len(unsettled) > 0 {
			t.Errorf("seed %d: %v has no end", seed, unsettled)
		}
		all := slices.Clone(accepted)
		slices.Sort(all)
		if len(slices.Compact(all)) != len(accepted) {
			t.Errorf("seed %d: accepted %d", seed, accepted)
		}
		for _, b := range wants {
			if !slices.Contains(accepted, b) && !refused[b] {
				t.Errorf("seed %d: %d was neither accepted nor refused", seed, b)
			}
		}
	}
}

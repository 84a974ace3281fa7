package mqttd

import (
	"sync"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// ackTick bounds for how long a request's PUBACK may wait for its reply: one to two of them. The
// figure is chosen.
const ackTick = 10 * time.Millisecond

// acks are the PUBACKs of requests that wait for a reply, so that both leave in one write, and one
// TLS record: those are most of what a round trip costs. It has each connection pay in time.
type acks struct {
	mu         sync.Mutex // guards the rest
	fresh, old []*conn    // since this tick, and since the one before
	timer      *time.Timer
	armed      bool
	closed     bool
}

// add has the connection pay what it owes after a while.
func (a *acks) add(c *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fresh = append(a.fresh, c)
	switch {
	case a.armed || a.closed:
		return
	case a.timer == nil:
		a.timer = time.AfterFunc(ackTick, a.tick)
	default:
		a.timer.Reset(ackTick)
	}
	a.armed = true
}

func (a *acks) tick() {
	a.mu.Lock()
	late := a.old
	a.old, a.fresh = a.fresh, nil
	if a.armed = len(a.old) > 0 && !a.closed; a.armed {
		a.timer.Reset(ackTick)
	}
	a.mu.Unlock()
	for _, c := range late {
		c.payUp()
	}
}

// stop is for the end.
func (a *acks) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// owe has the PUBACK of a request wait for its reply, not beyond the client's next packet:
// acknowledgements leave in the order of their messages (MQTT 5, section 4.6).
func (c *conn) owe(id uint16, request func()) {
	c.owes.Store(uint32(id))
	request()
	if c.owes.Load() > 0 { // it has not been answered yet
		c.srv.acks.add(c)
	}
}

// payUp sends the PUBACK that the connection owes, if any.
func (c *conn) payUp() {
	if c.owes.Load() == 0 {
		return
	}
	st := c.owned.Load()
	st.mu.Lock()
	defer st.mu.Unlock()
	_ = c.pay(st, func(ack []byte) error { c.send(ack); return nil })
}

// pay has the PUBACK that the connection owes sent, and pays it by that: until then whoever has another
// one to send waits. There may be none. st.mu is held.
func (c *conn) pay(st *state, send func(ack []byte) error) error {
	id := c.owes.Load()
	if id == 0 {
		return send(nil)
	}
	defer c.owes.CompareAndSwap(id, 0) // no other request can come before
	if st.conn != c {
		return send(nil)
	}
	st.flow.Received(uint16(id), byte(packet.Success))
	var b [8]byte
	return send(c.takes.AppendAck(b[:0], packet.PUBACK, uint16(id), packet.Success, ""))
}

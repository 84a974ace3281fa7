package mqttd

import (
	"context"
	"log/slog"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/topic"
)

// A will is the message that a connection leaves (section 3.1.2.5). May it be sent is asked
// when it is left, and again when it is sent.
type will struct {
	message *message.Message
	lives   time.Duration // of the message, from when it is sent; negative: for ever
	delay   time.Duration
}

// attach makes c the connection that st is delivered to, with its CONNACK as the first packet.
func (s *Server) attach(c *conn, st *state, connack []byte, w *will, expiry uint32, receiveMaximum uint16) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	c.mu.Lock()
	if c.isEnding() {
		c.mu.Unlock()
		return errEnding
	}
	if st.over {
		c.mu.Unlock()
		return refuse(packet.ServerUnavailable, "its session was dropped just now")
	}
	c.connected = true
	c.mu.Unlock()
	s.absences.Set(st, time.Time{})
	if c.isTraced() {
		c.admittedOrNot(st.standing.Load().Device, connack)
	}
	_ = c.stream.Write(connack)
	st.conn, st.will, st.expiry, st.ends = c, w, expiry, time.Time{}
	st.flow.Connect(receiveMaximum)
	st.pump(time.Now())
	return nil
}

// detach ends what st and c have with each other: the session ends now or waits, and so does
// the will.
func (s *Server) detach(c *conn) {
	st := c.owned.Load()
	st.mu.Lock()
	was := st.conn == c // else it never came so far
	if was {
		st.conn = nil
		st.flow.Disconnect()
		st.tell()
	}
	if st.over || st.expiry == 0 || s.isClosed() && !s.cfg.Outlive {
		st.mu.Unlock()
		s.endSession(st)
		return
	}
	if !was {
		st.mu.Unlock()
		return
	}
	now := time.Now()
	if st.expiry != never {
		st.ends = now.Add(time.Duration(st.expiry) * time.Second)
	}
	next := st.ends // what comes first of its end and its will
	var due *will
	if w := st.will; w != nil {
		if at := now.Add(w.delay); w.delay == 0 {
			due, st.will = w, nil
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	s.absences.Set(st, next)
	st.mu.Unlock()
	s.sendWill(st, due)
}

// sweepEvery is how often what has expired, and nobody asked for since, gives back its room.
const sweepEvery = time.Minute

// sweep does so until the server ends.
func (s *Server) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		s.retained.Expire(now)
		for _, st := range s.clients.all() {
			st.mu.Lock()
			st.flow.Expire(now)
			st.tell()
			st.mu.Unlock()
		}
	}
}

// boundAbsences drops a session that waits without a connection, if its device has too many.
func (s *Server) boundAbsences(st *state) {
	d := st.standing.Load().Device
	for more := s.clients.surplus(d, maxAway); more != nil; more = s.clients.surplus(d, maxAway) {
		s.cfg.OnBound(BoundAway)
		s.told.Note(context.Background(), slog.LevelInfo, "surplus", "mqtt session dropped: its device has too many without a connection", "client", more.key.id, "device", d.String())
		s.endSession(more)
	}
}

// absent is called when the time of a session without a connection, or of its will, has come.
func (st *state) absent() {
	s := st.srv
	st.mu.Lock()
	if st.conn != nil || st.ended {
		st.mu.Unlock()
		return
	}
	due := st.will
	st.will = nil
	ends := st.ends
	if over := !ends.IsZero() && !time.Now().Before(ends); over {
		st.mu.Unlock()
		s.sendWill(st, due)
		if s.clients.removeAway(st) {
			s.endSession(st)
		} else {
			s.absentAgain(st) // somebody is coming for it, or on his way out
		}
		return
	}
	s.absences.Set(st, ends)
	st.mu.Unlock()
	s.sendWill(st, due)
}

// absentAgain has absent called after a while, if the session is still without a connection then.
func (s *Server) absentAgain(st *state) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.conn == nil && !st.ended {
		s.absences.Set(st, time.Now().Add(time.Second))
	}
}

// endSession gives up what there is of a session: its subscriptions, its messages and its will,
// which is due. A shared subscription's messages go to another member of the group.
func (s *Server) endSession(st *state) {
	st.mu.Lock()
	if st.ended {
		st.mu.Unlock()
		return
	}
	st.ended, st.over = true, true
	s.absences.Set(st, time.Time{})
	due := st.will
	st.will = nil
	s.subscriptions.RemoveAll(&st.index)
	st.replies, st.events, st.owed = listening{}, listening{}, nil
	left := st.flow.Close()
	st.mu.Unlock()
	s.handOver(left)
	s.sendWill(st, due)
}

// overflow ends a client that has no room for a message any more, and its session.
func (s *Server) overflow(st *state) {
	st.mu.Lock()
	if st.over {
		st.mu.Unlock()
		return
	}
	st.over = true
	c, n := st.conn, st.flow.Len()
	st.mu.Unlock() // from here on whoever detaches a connection of it sees that it is over
	s.cfg.OnDrop(DropFull, n+1)
	s.told.Note(context.Background(), slog.LevelWarn, "overflow", "mqtt session dropped: more messages wait for its client than there is room for",
		"client", st.key.id, "device", st.standing.Load().Device.String(), "messages", n)
	if c != nil {
		c.end(ReasonQuota)
		return
	}
	if s.clients.removeAway(st) {
		s.background(func() { s.endSession(st) })
	}
}

// sendWill publishes a will, if it may be published still.
func (s *Server) sendWill(st *state, w *will) {
	if w == nil || !mayPublish(st.standing.Load(), w.message.Topic, w.message.Retain) {
		return
	}
	m := *w.message
	if w.lives >= 0 {
		m.Expires = time.Now().Add(w.lives)
	}
	s.publish(st, &m, false)
}

// willOf makes the will of a CONNECT; nil if it leaves none.
func willOf(p *packet.Connect) (*will, error) {
	if p.Will == nil {
		return nil, nil
	}
	n, err := topic.ParseName(p.Will.Topic)
	if err != nil {
		return nil, err
	}
	w := &will{
		message: &message.Message{Topic: n, Payload: p.Will.Payload, Properties: p.Will.Forward, QoS: p.Will.QoS, Retain: p.Will.Retain},
		lives:   -1,
		delay:   time.Duration(p.Will.Delay) * time.Second,
	}
	if p.Will.HasExpiry {
		w.lives = time.Duration(p.Will.Expiry) * time.Second
	}
	return w, nil
}

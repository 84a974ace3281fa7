package mqttd

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/broker/mqttd/session"
	"github.com/signetd/signet/broker/mqttd/subscription"
)

// A Drop is why the server did not deliver a message, or part of one, in a word for metrics.
type Drop string

// Drops.
const (
	DropSlow       Drop = "slow"        // QoS 0, and its receiver does not keep up
	DropGone       Drop = "gone"        // QoS 0, and its receiver went before it was sent
	DropFull       Drop = "full"        // QoS 1 or 2, with the session that it was for: its receiver did not keep up
	DropRefused    Drop = "refused"     // to its publisher, because a receiver has no room
	DropExpired    Drop = "expired"     // its life ended before it was sent
	DropDenied     Drop = "denied"      // its receiver may not have it any more, or takes none of that size
	DropRetained   Drop = "retained"    // no room to retain it
	DropUnknownAck Drop = "unknown-ack" // an acknowledgement of nothing that is under way
)

// Drops are all of them.
var Drops = [...]Drop{DropSlow, DropGone, DropFull, DropRefused, DropExpired, DropDenied, DropRetained, DropUnknownAck}

func (s *Server) dropped(d Drop) { s.cfg.OnDrop(d, 1) }

type matches = subscription.Matches[*state]

// publish retains and passes on what a client, or a will of its, publishes, and gives the code
// for its acknowledgement. Whether it may be was decided before. A publisher that waits for room
// hears that there is none, and nothing has become of the message then.
func (s *Server) publish(from *state, m *message.Message, waits bool) (code packet.Code, wait bool) {
	found := s.matches.Get().(*matches)
	defer s.matches.Put(found)
	defer found.Reset()
	now := time.Now()
	if s.cfg.RefusePublisher && m.QoS > message.AtMostOnce {
		s.refusing.Lock()
		defer s.refusing.Unlock()
		s.subscriptions.Match(m.Topic, &from.index, found)
		switch room := s.haveRoom(m, found, now); {
		case !room && waits:
			return 0, true
		case !room:
			s.dropped(DropRefused)
			s.told.Note(context.Background(), slog.LevelWarn, "refused", "mqtt message refused: a subscriber has no room for it", "device", from.standing.Load().Device.String())
			return packet.QuotaExceeded, false
		}
	}
	if m.Retain { // before it is looked for who gets it: who subscribes meanwhile gets it one way or the other
		if err := s.retained.Set(now, from.standing.Load().Device, from.key.id, m); err != nil {
			s.dropped(DropRetained)
			s.told.Note(context.Background(), slog.LevelWarn, "retained", "mqtt message not retained", "device", from.standing.Load().Device.String(), "error", err)
			return packet.QuotaExceeded, false
		}
	}
	s.subscriptions.Match(m.Topic, &from.index, found)
	reached := 0
	for i := range found.Receivers {
		r := &found.Receivers[i]
		d := session.Delivery{Message: m, QoS: min(m.QoS, r.QoS), Retain: m.Retain && r.RetainAsPublished, Identifiers: slices.Clone(r.Identifiers)}
		switch r.Owner.deliver(d, now) {
		case delivered:
			reached++
		case full:
			s.overflow(r.Owner)
		}
	}
	for _, g := range found.Groups {
		switch got, member := s.share(m, g, now); got {
		case delivered:
			reached++
		case full:
			s.overflow(member)
		}
	}
	if reached == 0 {
		return packet.NoMatchingSubscribers, false
	}
	return packet.Success, false
}

// share gives a message to one member of a group: to one that is there, if any is and has room,
// else to one that it waits for. If none has room it gives the first that should have had it.
func (s *Server) share(m *message.Message, g *subscription.Group[*state], now time.Time) (got outcome, member *state) {
	sub := g.Subscription()
	got = passedOver
	offer := func(to *state, o subscription.Options) bool {
		d := session.Delivery{Message: m, QoS: min(m.QoS, o.QoS), Retain: m.Retain && o.RetainAsPublished, Identifiers: identifiersOf(o), Share: &sub}
		switch to.deliver(d, now) {
		case delivered:
			got, member = delivered, to
			return true
		case full:
			if member == nil {
				got, member = full, to
			}
		}
		return false
	}
	asked := map[*state]bool{}
	for m, o := range s.subscriptions.Members(g) {
		if m.Owner.isAway() {
			continue
		}
		if offer(m.Owner, o) {
			return got, member
		}
		asked[m.Owner] = true
	}
	for m, o := range s.subscriptions.Members(g) { // who was away, and may be back by now
		if !asked[m.Owner] && offer(m.Owner, o) {
			return got, member
		}
	}
	return got, member
}

// identifiersOf gives the identifier of one subscription, if it has one.
func identifiersOf(o subscription.Options) []uint32 {
	if o.Identifier == 0 {
		return nil
	}
	return []uint32{o.Identifier}
}

// handOver gives what a session that ended leaves of shared subscriptions to other members of
// their groups (section 4.8.2). It ends none of them: what nobody has room for is lost with
// the session that had it.
func (s *Server) handOver(left iter.Seq[session.Left]) {
	now := time.Now()
	if s.cfg.RefusePublisher {
		s.refusing.Lock()
		defer s.refusing.Unlock()
	}
	for l := range left {
		if !l.HandOver() || l.Message.Expired(now) {
			continue
		}
		if g := s.subscriptions.Group(*l.Share); g != nil {
			if got, _ := s.share(l.Message, g, now); got == full {
				s.dropped(DropFull)
			}
		}
	}
}

// haveRoom reports whether all who are to get a message have room for it, all at once: they may
// have one in common. s.refusing is held, so that none loses it to another message before.
func (s *Server) haveRoom(m *message.Message, found *matches, now time.Time) bool {
	type taking struct {
		room *message.Room
		size int
	}
	var taken []taking
	defer func() {
		for _, t := range taken {
			t.room.Give(1, t.size)
		}
	}()
	reserve := func(st *state, d session.Delivery) bool {
		size := d.Size()
		ok := st.reserve(size, now)
		if ok {
			taken = append(taken, taking{st.room, size})
		}
		return ok
	}
	for i := range found.Receivers {
		r := &found.Receivers[i]
		if r.QoS == message.AtMostOnce || !r.Owner.wants(m) {
			continue
		}
		if !reserve(r.Owner, session.Delivery{Message: m, Identifiers: r.Identifiers}) {
			return false
		}
	}
	for _, g := range found.Groups {
		wanted, has := false, false
		for member, o := range s.subscriptions.In(g) {
			if !member.Owner.wants(m) || o.QoS == message.AtMostOnce && member.Owner.isAway() {
				continue
			}
			if wanted = true; o.QoS == message.AtMostOnce {
				has = true
			} else {
				has = reserve(member.Owner, session.Delivery{Message: m, Identifiers: identifiersOf(o)})
			}
			if has {
				break
			}
		}
		if wanted && !has {
			return false
		}
	}
	return true
}

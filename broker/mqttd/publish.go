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
// for its acknowledgement. Whether it may be was decided before.
func (s *Server) publish(from *state, m *message.Message) packet.Code {
	found := s.matches.Get().(*matches)
	defer s.matches.Put(found)
	defer found.Reset()
	s.subscriptions.Match(m.Topic, &from.index, found)
	now := time.Now()
	if s.cfg.RefusePublisher && m.QoS > 0 && !s.haveRoom(m, found) {
		s.dropped(DropRefused)
		s.told.Note(context.Background(), slog.LevelWarn, "refused", "mqtt message refused: a subscriber has no room for it", "device", from.standing.Load().Device.String())
		return packet.QuotaExceeded
	}
	if m.Retain {
		if err := s.retained.Set(now, from.standing.Load().Device, from.key.id, m); err != nil {
			s.dropped(DropRetained)
			s.told.Note(context.Background(), slog.LevelWarn, "retained", "mqtt message not retained", "device", from.standing.Load().Device.String(), "error", err)
			return packet.QuotaExceeded
		}
	}
	reached := 0
	for i := range found.Receivers {
		r := &found.Receivers[i]
		d := session.Delivery{Message: m, QoS: min(m.QoS, r.QoS), Retain: m.Retain && r.RetainAsPublished, Identifiers: slices.Clone(r.Identifiers)}
		if s.deliver(r.Owner, d, now) == delivered {
			reached++
		}
	}
	for _, g := range found.Groups {
		if s.share(m, g, now) {
			reached++
		}
	}
	if reached == 0 {
		return packet.NoMatchingSubscribers
	}
	return packet.Success
}

// deliver adds a message to what one client is to get. One that has no room for it is ended, its
// session dropped: what was acknowledged to a publisher is not lost without a word.
func (s *Server) deliver(to *state, d session.Delivery, now time.Time) outcome {
	got := to.deliver(d, now)
	if got == full {
		s.overflow(to)
	}
	return got
}

// share gives a message to one member of a group: to one that is there, if any is, else to one
// that it waits for.
func (s *Server) share(m *message.Message, g *subscription.Group[*state], now time.Time) bool {
	sub := g.Subscription()
	for _, away := range []bool{false, true} {
		for member, o := range s.subscriptions.Members(g) {
			if member.Owner.isAway() != away {
				continue
			}
			d := session.Delivery{Message: m, QoS: min(m.QoS, o.QoS), Retain: m.Retain && o.RetainAsPublished, Share: &sub}
			if o.Identifier > 0 {
				d.Identifiers = []uint32{o.Identifier}
			}
			if member.Owner.deliver(d, now) == delivered {
				return true
			}
		}
	}
	return false
}

// handOver gives what a session that ended leaves of shared subscriptions to other members of
// their groups (section 4.8.2).
func (s *Server) handOver(left iter.Seq[session.Left]) {
	now := time.Now()
	for l := range left {
		if !l.HandOver() || l.Message.Expired(now) {
			continue
		}
		if g := s.subscriptions.Group(*l.Share); g != nil {
			s.share(l.Message, g, now)
		}
	}
}

// haveRoom reports whether all who are to get a message have room for it, and of each group one.
func (s *Server) haveRoom(m *message.Message, found *matches) bool {
	for i := range found.Receivers {
		if r := &found.Receivers[i]; r.QoS > 0 && !r.Owner.hasRoom(m) {
			return false
		}
	}
	for _, g := range found.Groups {
		room := false
		for member := range s.subscriptions.Members(g) {
			if room = member.Owner.hasRoom(m); room {
				break
			}
		}
		if !room {
			return false
		}
	}
	return true
}

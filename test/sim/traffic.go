package sim

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
)

// deliveredIn is how long after it is back a device has what waited for it.
const deliveredIn = time.Second

// A session is what is known of an MQTT session at a replica: of the messages that a device sends
// to itself, by their numbers, those that it has been told are taken and has not heard, and those
// that it has heard. It is of a device and of its copies, which have one client id.
type session struct {
	owed  []uint32
	heard map[uint32]bool
	wills []*letter // that may be sent yet
}

// mail is where a device sends messages to itself.
func mail(d ident.Device) string { return "devices/" + d.Path() + "/mail" }

// longestDelay is how long a last will may wait at most.
const longestDelay = 30 * time.Second

// A letter is a message that a device sends to itself, at once or as its last will. Nobody else may
// hear it. So whether the will of a device that is disabled while it waits is sent shows nowhere here:
// the sessions that could hear it are ended, too. broker/mqttd's tests see to that.
type letter struct {
	of    ident.Device
	will  *lane         // that left it; nil: it is none
	delay time.Duration // of the will
	void  string        // why it may not be sent any more; "": it may
	by    *session      // that has heard it
}

// lasting makes connect one of a session that outlives it, with a last will to the device itself,
// which waits in some connections of MQTT 5.
func (w *World) lasting(connect *packet.Connect, d ident.Device, dice *dice) {
	connect.CleanStart, connect.Will = false, &packet.Will{Topic: mail(d), Payload: w.stamp(d), QoS: 1}
	if connect.Version = packet.V311; dice.roll(2) == 0 {
		connect.Version, connect.HasSessionExpiry, connect.SessionExpiry, connect.ReceiveMaximum = packet.V5, true, math.MaxUint32, math.MaxUint16
		connect.Will.Delay = uint32(dice.roll(2) * dice.roll(int(longestDelay/time.Second)))
	}
}

// stamp is the next message's number. Its caller must have its turn.
func (w *World) stamp(d ident.Device) []byte {
	w.facts.mu.Lock()
	defer w.facts.mu.Unlock()
	w.stamps++
	w.facts.letters[w.stamps] = &letter{of: d}
	return binary.BigEndian.AppendUint32(nil, w.stamps)
}

// leaves notes that the lane leaves a will.
func (l *lane) leaves(will *packet.Will) {
	f := l.c.w.facts
	f.mu.Lock()
	defer f.mu.Unlock()
	l.letter = f.letters[binary.BigEndian.Uint32(will.Payload)]
	l.letter.will, l.letter.delay = l, time.Duration(will.Delay)*time.Second
}

// waits reports whether the will is one that waits, for a while yet.
func (x *letter) waits() bool {
	at := x.will.endedAt()
	return x.delay > 0 && (at.IsZero() || time.Until(at.Add(x.delay)) > time.Second)
}

// goodbye has the device end the lane in good order, so that its will is not sent.
func (l *lane) goodbye() {
	if l.letter == nil || l.write(packet.AppendDisconnect(nil, l.version, packet.Disconnect{})) != nil {
		return
	}
	f := l.c.w.facts
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts["goodbye"]++
	l.letter.void = "its connection ended in good order"
}

// sent judges a will that is heard on another lane. The caller holds the facts' mu.
func (x *letter) sent(to *lane) {
	f, at := to.c.w.facts, x.will.endedAt()
	f.counts["will heard"]++
	if x.delay > 0 {
		f.counts["will heard that had waited"]++
	}
	switch {
	case x.will == to:
		f.violateLocked("%s hears its own will and is there", to.c.owner)
	case x.void != "":
		f.violateLocked("%s hears a will although %s", to.c.owner, x.void)
	case x.delay > 0 && (at.IsZero() || time.Since(at) < x.delay):
		f.violateLocked("%s hears a will before its time", to.c.owner)
	}
}

// resumed notes that the lane's session is there, or that it is a new one, and has the device
// send something to itself. What waited is to be there soon.
func (l *lane) resumed(present bool) {
	w, r := l.c.w, l.at.r
	w.facts.mu.Lock()
	defer w.facts.mu.Unlock()
	s := r.sessions[l.id.String()]
	if s != nil && present {
		for _, x := range s.wills {
			if x.void == "" && x.by == nil && x.waits() {
				w.facts.counts["device back before its will is sent"]++
				x.void = "its device was back in time"
			}
		}
		s.wills = nil
	}
	switch {
	case s != nil && present:
		w.facts.counts["MQTT session goes on"]++
	case present:
		w.facts.violateLocked("%s has a session that it never began", l.c.owner)
	}
	if s == nil || !present {
		s = &session{heard: map[uint32]bool{}}
		r.sessions[l.id.String()] = s
	}
	l.session = s
	s.wills = append(s.wills, l.letter)
	if owed := slices.Clone(s.owed); len(owed) > 0 {
		time.AfterFunc(deliveredIn, func() {
			if l.isOver() || l.abandoned.Load() || w.ctx.Err() != nil {
				return
			}
			w.facts.mu.Lock()
			defer w.facts.mu.Unlock()
			for _, n := range owed {
				if slices.Contains(s.owed, n) {
					w.facts.violateLocked("%s is back and does not hear message %d, which the broker had", l.c.owner, n)
				}
			}
		})
	}
}

// post sends a message by the lane to its own device, whose turn it must be.
func (l *lane) post() {
	l.sent++
	raw := l.c.w.stamp(l.letter.of)
	l.mu.Lock()
	l.posted[l.sent] = binary.BigEndian.Uint32(raw)
	l.mu.Unlock()
	_ = l.write(packet.AppendPublish(nil, l.version, &packet.Publish{Topic: []byte(mail(l.letter.of)), ID: l.sent, QoS: 1, Payload: raw}))
}

// taken notes that the replica has a message.
func (l *lane) taken(id uint16) {
	l.mu.Lock()
	n, ok := l.posted[id]
	delete(l.posted, id)
	l.mu.Unlock()
	f := l.c.w.facts
	f.mu.Lock()
	defer f.mu.Unlock()
	if !ok {
		f.violateLocked("%s is told of a message that it did not send", l.c.owner)
		return
	}
	f.counts["message to a device's own session taken"]++
	if s := l.session; !s.heard[n] {
		s.owed = append(s.owed, n)
	}
}

// delivered notes that a message has come, and acknowledges it. Of every other acknowledgement the first
// is lost, so that they come again on another connection.
func (l *lane) delivered(p *packet.Publish) {
	f := l.c.w.facts
	if lost := p.ID%2 == 0 && !p.Dup; p.QoS == 1 && !lost {
		_ = l.write(packet.AppendAck(nil, l.version, packet.PUBACK, p.ID, packet.Success, ""))
	}
	if p.QoS != 1 || len(p.Payload) != 4 {
		f.violate("%s hears what nobody sent", l.c.owner)
		return
	}
	n := binary.BigEndian.Uint32(p.Payload)
	f.mu.Lock()
	defer f.mu.Unlock()
	s, x := l.session, f.letters[n]
	if x == nil || x.of != l.letter.of {
		f.violateLocked("%s hears message %d, which its device never sent", l.c.owner, n)
		return
	}
	if x.will != nil {
		x.sent(l)
	}
	if x.by != nil && x.by != s {
		f.violateLocked("%s hears message %d in two sessions", l.c.owner, n)
	}
	x.by = s
	if i := slices.Index(s.owed, n); i >= 0 {
		s.owed = slices.Delete(s.owed, i, i+1)
	}
	switch {
	case s.heard[n] && !p.Dup:
		f.violateLocked("%s hears message %d again, not as one that it may have", l.c.owner, n)
	case s.heard[n]:
		f.counts["message heard again"]++
	default:
		f.counts["message of a device's own session heard"]++
	}
	s.heard[n] = true
}

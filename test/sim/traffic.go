package sim

import (
	"encoding/binary"
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
}

// mail is where a device sends messages to itself.
func mail(d ident.Device) string { return "devices/" + d.Path() + "/mail" }

// lasting makes connect one of a session that outlives it, with a last will to the device itself.
func (w *World) lasting(connect *packet.Connect, d ident.Device) {
	connect.CleanStart, connect.Will = false, &packet.Will{Topic: mail(d), Payload: w.stamp(), QoS: 1}
}

// stamp is the next message's number. Its caller must have its turn.
func (w *World) stamp() []byte {
	w.stamps++
	return binary.BigEndian.AppendUint32(nil, w.stamps)
}

// resumed notes that the lane's session is there, or that it is a new one, and has the device
// send something to itself. What waited is to be there soon.
func (l *lane) resumed(present bool) {
	w, r := l.c.w, l.at.r
	w.facts.mu.Lock()
	defer w.facts.mu.Unlock()
	s := r.sessions[l.id.String()]
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
	raw := l.c.w.stamp()
	l.mu.Lock()
	l.posted[l.sent] = binary.BigEndian.Uint32(raw)
	l.mu.Unlock()
	_ = l.write(packet.AppendPublish(nil, packet.V311, &packet.Publish{Topic: []byte(l.will.Topic), ID: l.sent, QoS: 1, Payload: raw}))
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

// delivered notes that a message has come, and acknowledges it. Of some acknowledgements the first
// is lost, so that they come again on another connection.
func (l *lane) delivered(p *packet.Publish) {
	f := l.c.w.facts
	if lost := p.ID%4 == 0 && !p.Dup; p.QoS == 1 && !lost {
		_ = l.write(packet.AppendAck(nil, packet.V311, packet.PUBACK, p.ID, packet.Success, ""))
	}
	if p.QoS != 1 || len(p.Payload) != 4 {
		f.violate("%s hears what nobody sent", l.c.owner)
		return
	}
	n := binary.BigEndian.Uint32(p.Payload)
	f.mu.Lock()
	defer f.mu.Unlock()
	s := l.session
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

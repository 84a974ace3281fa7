package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/topic"
)

// ErrMalformed is wrapped by Restore's errors about what it read.
var ErrMalformed = errors.New("malformed session")

// maxIdentifier is the largest Subscription Identifier (section 3.3.2.3.8).
const maxIdentifier = 268_435_455

const retain = 1 << 2 // beside the QoS

// Save writes what outlives the connection (section 4.1) as records, each one item of deterministic CBOR:
//
//	[last id, released ids, accepted ids of the client's, deliveries that follow]
//	[number of the message, QoS and retain flag, id or 0, when it was added, identifiers, share]
//
// Ids are byte strings of two bytes each, subscription identifiers of four, a share is text or empty. Messages
// are shared by sessions, so they are written elsewhere, once: number says under which number, and
// is asked before the record is written. QoS 0 is not saved, nor what the client published and has no
// answer to. The session is as it was. Errors are those of number and write.
func (s *Session) Save(number func(*message.Message) (uint64, error), write func(record []byte) error) error {
	var accepted []uint16
	for _, a := range s.incoming {
		if a.accepted {
			accepted = append(accepted, a.id)
		}
	}
	if err := write(head{s.lastID, s.released, accepted, uint64(s.acked.len())}.append(nil)); err != nil {
		return err
	}
	var record []byte
	for _, at := range s.acked.all() {
		n, err := number(at.message)
		if err != nil {
			return err
		}
		record = at.append(record[:0], n)
		if err := write(record); err != nil {
			return err
		}
	}
	return nil
}

// Restore makes a session, without a connection, of the records that Save wrote, and takes no record more. find gives
// a message by its number, nil if there is none. The errors are ErrFull, those that wrap ErrMalformed, and read's; room
// is then as it was.
func Restore(l Limits, room *message.Room, read func() ([]byte, error), find func(number uint64) *message.Message) (*Session, error) {
	s := New(l, room)
	err := s.restore(read, find)
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Session) restore(read func() ([]byte, error), find func(uint64) *message.Message) error {
	record, err := read()
	if err != nil {
		return err
	}
	h, err := parseHead(record)
	if err != nil {
		return err
	}
	s.lastID, s.released = h.lastID, h.released
	for _, id := range h.accepted {
		s.incoming = append(s.incoming, arrival{id: id, qos: message.ExactlyOnce, accepted: true})
	}
	used := map[uint16]bool{}
	for _, id := range h.released {
		used[id] = true
	}
	var last slot
	for i := range h.deliveries {
		if record, err = read(); err != nil {
			return err
		}
		at, err := parseSlot(record, find, last)
		switch {
		case err != nil:
			return err
		case used[at.id]:
			return fmt.Errorf("%w: id %d is in use twice", ErrMalformed, at.id)
		case at.id != 0 && uint64(s.sent) != i:
			return fmt.Errorf("%w: delivery %d was sent before an earlier one", ErrMalformed, i)
		case !s.room.Take(at.size()):
			return ErrFull
		}
		if at.id != 0 {
			used[at.id] = true
			s.sent++
		}
		s.added++
		at.place = s.added
		s.bytes += at.size()
		if expires := at.message.Expires; !expires.IsZero() {
			s.soonest = min(s.soonest, expires.UnixMilli())
		}
		s.acked.push(at)
		last = at
	}
	return nil
}

// head is the first record of a session.
type head struct {
	lastID             uint16
	released, accepted []uint16
	deliveries         uint64
}

func (h head) append(b []byte) []byte {
	b = detcbor.AppendHead(b, detcbor.Array, 4)
	b = detcbor.AppendHead(b, detcbor.Uint, uint64(h.lastID))
	for _, ids := range [][]uint16{h.released, h.accepted} {
		b = detcbor.AppendHead(b, detcbor.Bytes, uint64(2*len(ids)))
		for _, id := range ids {
			b = binary.BigEndian.AppendUint16(b, id)
		}
	}
	return detcbor.AppendHead(b, detcbor.Uint, h.deliveries)
}

func parseHead(record []byte) (h head, err error) {
	r, err := detcbor.NewReader(record)
	if err != nil {
		return head{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r.Head()
	_, id := r.Head()
	h.lastID = uint16(id)
	for _, ids := range []*[]uint16{&h.released, &h.accepted} {
		for b := taken(&r); len(b) >= 2; b = b[2:] {
			*ids = append(*ids, binary.BigEndian.Uint16(b))
		}
		if sorted := slices.Sorted(slices.Values(*ids)); len(slices.Compact(sorted)) < len(*ids) || slices.Contains(*ids, 0) {
			return head{}, fmt.Errorf("%w: an id twice, or 0", ErrMalformed)
		}
	}
	_, h.deliveries = r.Head()
	return h, same(record, h.append(make([]byte, 0, len(record))))
}

// append writes at, whose message has that number.
func (at *slot) append(b []byte, number uint64) []byte {
	flags := uint64(at.qos)
	if at.retain {
		flags |= retain
	}
	b = detcbor.AppendHead(b, detcbor.Array, 6)
	for _, n := range []uint64{number, flags, uint64(at.id), uint64(at.added)} {
		b = detcbor.AppendHead(b, detcbor.Uint, n)
	}
	b = detcbor.AppendHead(b, detcbor.Bytes, uint64(4*len(at.identifiers)))
	for _, n := range at.identifiers {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	if at.share == nil {
		return detcbor.AppendText(b, "")
	}
	return detcbor.AppendText(b, at.share.String())
}

// parseSlot reads a delivery. What it can share with the last one, it does.
func parseSlot(record []byte, find func(uint64) *message.Message, last slot) (at slot, err error) {
	r, err := detcbor.NewReader(record)
	if err != nil {
		return slot{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r.Head()
	var n [4]uint64
	for i := range n {
		_, n[i] = r.Head()
	}
	at = slot{qos: message.QoS(n[1] &^ retain), retain: n[1]&retain != 0, id: uint16(n[2]), added: uint32(n[3])}
	for b := taken(&r); len(b) >= 4; b = b[4:] {
		at.identifiers = append(at.identifiers, binary.BigEndian.Uint32(b))
	}
	if share := string(taken(&r)); share != "" {
		sub, err := topic.ParseSubscription(share)
		if err != nil || sub.Group == "" {
			return slot{}, fmt.Errorf("%w: %q is no shared subscription", ErrMalformed, share)
		}
		at.share = &sub
	}
	if err := same(record, at.append(make([]byte, 0, len(record)), n[0])); err != nil {
		return slot{}, err
	}
	at.message = find(n[0])
	switch {
	case at.qos != message.AtLeastOnce && at.qos != message.ExactlyOnce:
		return slot{}, fmt.Errorf("%w: QoS %d", ErrMalformed, at.qos)
	case slices.ContainsFunc(at.identifiers, func(n uint32) bool { return n == 0 || n > maxIdentifier }):
		return slot{}, fmt.Errorf("%w: subscription identifiers %d", ErrMalformed, at.identifiers)
	case at.message == nil:
		return slot{}, fmt.Errorf("%w: there is no message %d", ErrMalformed, n[0])
	}
	if slices.Equal(at.identifiers, last.identifiers) {
		at.identifiers = last.identifiers
	}
	if at.share != nil && last.share != nil && *at.share == *last.share {
		at.share = last.share
	}
	return at, nil
}

func taken(r *detcbor.Reader) []byte {
	_, n := r.Head()
	return r.Take(n)
}

// same reports that a record is not what is written for what was read of it: something in it was of another kind,
// too large, or too much.
func same(record, again []byte) error {
	if !bytes.Equal(record, again) {
		return fmt.Errorf("%w: %x is not a record of one", ErrMalformed, record[:min(len(record), 32)])
	}
	return nil
}

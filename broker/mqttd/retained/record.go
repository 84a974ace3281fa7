package retained

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// Save gives all messages to write, each as a record, in the order in which they were
// stored, for a planned restart. It stops at write's first error and returns that. A record
// is write's during the call only.
func (s *Store) Save(write func(record []byte) error) error {
	var record []byte
	for _, k := range s.inOrder() {
		record = k.append(record[:0])
		if err := write(record); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) inOrder() []*Kept {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := slices.AppendSeq(make([]*Kept, 0, s.all.messages), s.names.from(position{}))
	slices.SortFunc(all, func(a, b *Kept) int { return cmp.Compare(a.order, b.order) })
	return all
}

// append appends k as deterministic CBOR: an array of the message as that is written, in a
// byte string, its owner, empty for the server, and the client id.
func (k *Kept) append(b []byte) []byte {
	owner := ""
	if !k.Owner.IsZero() {
		owner = k.Owner.String()
	}
	b = detcbor.AppendHead(b, detcbor.Array, 3)
	b = detcbor.AppendBytes(b, k.Message.Append(nil))
	return detcbor.AppendText(detcbor.AppendText(b, owner), k.Client)
}

// Restore keeps the message of a record again; one that has expired since, or whose owner may not
// have it, is passed over.
// Its errors wrap message.ErrMalformed or, when bounds are lower now, are FullErrors. It
// keeps no byte of record.
func (s *Store) Restore(now time.Time, record []byte, may func(owner ident.Device) bool) error {
	k, err := parse(record)
	if err != nil {
		return fmt.Errorf("%w: retained: %w", message.ErrMalformed, err)
	}
	if !may(k.Owner) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if there := s.names.at(s.names.seek(k.Topic.String())); there != nil && there.Topic == k.Topic {
		return fmt.Errorf("%w: retained: a second one of topic %q", message.ErrMalformed, k.Topic)
	}
	return s.set(now, k)
}

func parse(record []byte) (*Kept, error) {
	r, err := detcbor.NewItems(record)
	if err != nil {
		return nil, err
	}
	if n := r.Want(detcbor.Array); n != 3 {
		r.Fail(fmt.Errorf("%d members, want 3", n))
	}
	encoded := r.Bytes()
	var owner ident.Device
	if name := r.Text(); name != "" {
		if owner, err = ident.ParseDevice(name); err != nil {
			r.Fail(err)
		}
	}
	client := r.Text()
	if len(client) > math.MaxUint16 {
		r.Fail(fmt.Errorf("a client id of %d bytes", len(client)))
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	m, err := message.Decode(encoded)
	if err != nil {
		return nil, err
	}
	if len(m.Payload) == 0 {
		return nil, errors.New("no payload")
	}
	return &Kept{Message: m, Owner: owner, Client: client}, nil
}

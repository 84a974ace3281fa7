package mqttd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/retained"
	"github.com/signetd/signet/broker/mqttd/session"
	"github.com/signetd/signet/broker/mqttd/subscription"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// ErrRecord is wrapped by Restore's errors about records that Save did not write, or not
// all of them.
var ErrRecord = errors.New("mqttd: not a record of what an MQTT server kept")

// What the first byte of a record says of the rest.
const (
	recordRetained = 1 // as package retained writes it
	recordMessage  = 2 // as package message writes it; numbered in their order from 0
	recordSession  = 3 // a map; the records of its deliveries follow
	recordDelivery = 4 // as package session writes it
	recordEnd      = 5 // nothing: all are there
)

// Keys of a recordSession, and of the maps in it.
const (
	keyDevice = 1
	keyID     = 2
	keyEnds   = 3 // Unix milliseconds; 0: never
	keySubs   = 4
	keyWill   = 5
	keyOf     = 6 // the device's Standing.Subject: another one may have its name since

	keyFilter     = 1
	keyOptions    = 2 // as in SUBSCRIBE (section 3.8.3.1)
	keyIdentifier = 3
	keyOwed       = 4 // what is retained for it is not all on its way: it begins again

	keyMessage = 1
	keyLives   = 2 // seconds; absent: it does not expire
	keyDelay   = 3 // seconds
)

// Save gives what outlives a planned restart: sessions without a connection, which are all of
// them once the Server is closed, with what waits in them, and retained messages. Each record
// is write's during the call only; it stops at write's first error.
func (s *Server) Save(write func(record []byte) error) error {
	put := func(kind byte) func([]byte) error {
		return func(record []byte) error { return write(append([]byte{kind}, record...)) }
	}
	if err := s.retained.Save(put(recordRetained)); err != nil {
		return fmt.Errorf("saving retained messages: %w", err)
	}
	numbers := map[*message.Message]uint64{}
	number := func(m *message.Message) (uint64, error) {
		if n, ok := numbers[m]; ok {
			return n, nil
		}
		n := uint64(len(numbers))
		numbers[m] = n
		return n, put(recordMessage)(m.Append(nil))
	}
	for _, st := range s.clients.all() {
		if err := st.save(number, put); err != nil {
			return fmt.Errorf("saving the session of %q: %w", st.key.id, err)
		}
	}
	return put(recordEnd)(nil)
}

func (st *state) save(number func(*message.Message) (uint64, error), put func(byte) func([]byte) error) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	standing := st.standing.Load()
	device := standing.Device
	if st.over || st.conn != nil || st.expiry == 0 || device.IsZero() || st.key.device.IsZero() && !namedBy(st.key.id, device) {
		return nil
	}
	w := detcbor.BeginMap(nil)
	w.Text(keyDevice, device.String())
	w.Text(keyID, st.key.id)
	if !st.ends.IsZero() {
		w.Uint(keyEnds, uint64(max(st.ends.UnixMilli(), 1)))
	}
	subs := st.srv.subscriptions.Of(&st.index)
	w.SomeMaps(keySubs, len(subs), func(i int, w *detcbor.MapWriter) {
		w.Text(keyFilter, subs[i].String())
		w.Uint(keyOptions, uint64(optionsByte(subs[i].Options)))
		w.SomeUint(keyIdentifier, uint64(subs[i].Identifier))
		w.SomeTrue(keyOwed, subs[i].Group == "" && slices.ContainsFunc(st.owed, func(o owed) bool { return o.filter == subs[i].Filter }))
	})
	if st.will != nil {
		inner := w.Map(keyWill)
		inner.Bytes(keyMessage, st.will.message.Append(nil))
		if lives := st.will.lives; lives >= 0 {
			inner.Uint(keyLives, uint64(lives/time.Second))
		}
		inner.SomeUint(keyDelay, uint64(st.will.delay/time.Second))
		w.End(inner)
	}
	w.Bytes(keyOf, standing.Subject[:])
	if err := put(recordSession)(w.Done()); err != nil {
		return err
	}
	return st.flow.Save(number, put(recordDelivery))
}

// namedBy reports whether a client id of the protocol's grammar is the device's.
func namedBy(id string, d ident.Device) bool {
	c, err := topic.ParseClientID(id)
	return err == nil && c.Device() == d
}

func optionsByte(o subscription.Options) byte {
	b := o.QoS | o.RetainHandling<<4
	if o.NoLocal {
		b |= 0x04
	}
	if o.RetainAsPublished {
		b |= 0x08
	}
	return b
}

func optionsOf(b byte, identifier uint32) (subscription.Options, error) {
	o := subscription.Options{QoS: b & 0x03, NoLocal: b&0x04 != 0, RetainAsPublished: b&0x08 != 0, RetainHandling: b >> 4 & 0x03, Identifier: identifier}
	if b&0xc0 != 0 || o.QoS == 3 || o.RetainHandling == 3 {
		return o, fmt.Errorf("subscription options %#x", b)
	}
	return o, nil
}

// Restore takes back what Save gave, before Serve. What a device may do is asked of recall now:
// with an error its session is left out, and counted in dropped, and what it retained is forgotten. So is a session
// whose end has come since, and its will sent. A will's delay begins again: nobody could come back meanwhile. read gives the records, and
// io.EOF after the last. After an error what was restored until then stays.
func (s *Server) Restore(ctx context.Context, read func() ([]byte, error), recall func(context.Context, ident.Device) (Standing, error)) (sessions, dropped int, err error) {
	r := restoring{s: s, read: read, now: time.Now(), recalled: map[ident.Device]asked{}}
	r.recall = func(d ident.Device) (Standing, bool) {
		was, ok := r.recalled[d]
		if !ok {
			standing, err := recall(ctx, d)
			was = asked{standing, err == nil && standing.Device == d}
			r.recalled[d] = was
		}
		return was.standing, was.ok
	}
	defer r.begin()
	for {
		kind, record, err := r.next()
		if err != nil {
			return sessions, dropped, err
		}
		switch kind {
		case recordEnd:
			return sessions, dropped, nil
		case recordRetained:
			err = s.retained.Restore(r.now, record, func(owner ident.Device) bool { _, ok := r.recall(owner); return ok || owner.IsZero() })
		case recordMessage:
			err = r.message(record)
		case recordSession:
			var restored bool
			if restored, err = r.session(record); restored {
				sessions++
			} else {
				dropped++
			}
		case recordDelivery: // of a session that was left out
		default:
			err = fmt.Errorf("a record of kind %d where none belongs", kind)
		}
		if err != nil && !isFull(err) {
			return sessions, dropped, fmt.Errorf("%w: %w", ErrRecord, err)
		}
	}
}

// restoring is the work of Restore.
type restoring struct {
	s        *Server
	read     func() ([]byte, error)
	now      time.Time
	messages []*message.Message
	recall   func(ident.Device) (standing Standing, active bool)
	recalled map[ident.Device]asked
	waiting  []waiting
	ended    []*state // only their wills are left
}

// asked is what recall answered for a device.
type asked struct {
	standing Standing
	ok       bool
}

// waiting is a session whose time, or whose will's, comes at due.
type waiting struct {
	st  *state
	due time.Time
}

// begin has time go on for what was restored, once all who may get a will are there.
func (r *restoring) begin() {
	for _, w := range r.waiting {
		r.s.absences.Set(w.st, w.due)
	}
	for _, st := range r.ended {
		if r.s.clients.removeAway(st) {
			r.s.endSession(st)
		}
	}
}

func (r *restoring) next() (kind byte, record []byte, err error) {
	b, err := r.read()
	if err != nil {
		return 0, nil, fmt.Errorf("%w: reading it: %w", ErrRecord, err)
	}
	if len(b) == 0 {
		return 0, nil, fmt.Errorf("%w: it is empty", ErrRecord)
	}
	return b[0], b[1:], nil
}

func (r *restoring) message(record []byte) error {
	m, err := message.Decode(record)
	if err != nil {
		return err
	}
	r.messages = append(r.messages, m)
	return nil
}

// delivery gives the next record of a session's deliveries; messages may come between.
func (r *restoring) delivery() ([]byte, error) {
	for {
		kind, record, err := r.next()
		if err != nil {
			return nil, err
		}
		switch kind {
		case recordDelivery:
			return record, nil
		case recordMessage:
			if err := r.message(record); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%w: a record of kind %d among deliveries", ErrRecord, kind)
		}
	}
}

func (r *restoring) find(number uint64) *message.Message {
	if number >= uint64(len(r.messages)) {
		return nil
	}
	return r.messages[number]
}

// savedSession is a recordSession as it was read.
type savedSubscription struct {
	subscription.Subscription
	owed bool
}

type savedSession struct {
	device  ident.Device
	subject ident.UUID
	id      string
	ends    time.Time
	subs    []savedSubscription
	will    *will
}

func parseSession(record []byte) (k savedSession, err error) {
	items, err := detcbor.NewItems(record)
	if err != nil {
		return k, err
	}
	items.Each(func(key int64) {
		switch key {
		case keyDevice:
			k.device = detcbor.Parsed(&items, ident.ParseDevice)
		case keyID:
			k.id = items.Text()
		case keyEnds:
			k.ends = time.UnixMilli(int64(items.UpTo(1 << 53)))
		case keySubs:
			for range items.Want(detcbor.Array) {
				k.subs = append(k.subs, parseSubscription(&items))
			}
		case keyWill:
			k.will = parseWill(&items)
		case keyOf:
			if b := items.Bytes(); copy(k.subject[:], b) != len(k.subject) || len(b) != len(k.subject) {
				items.Fail(fmt.Errorf("a subject of %d bytes", len(b)))
			}
		default:
			items.Fail(fmt.Errorf("key %d", key))
		}
	})
	if err := items.Err(); err != nil {
		return k, err
	}
	if k.device.IsZero() || k.id == "" {
		return k, errors.New("a session of nobody")
	}
	return k, nil
}

func parseSubscription(items *detcbor.Items) (s savedSubscription) {
	var options byte
	var identifier uint32
	items.Each(func(key int64) {
		switch key {
		case keyFilter:
			s.Subscription.Subscription = detcbor.Parsed(items, topic.ParseSubscription)
		case keyOptions:
			options = byte(items.UpTo(0xff))
		case keyIdentifier:
			identifier = uint32(items.UpTo(1<<28 - 1))
		case keyOwed:
			s.owed = items.Bool()
		default:
			items.Fail(fmt.Errorf("key %d of a subscription", key))
		}
	})
	o, err := optionsOf(options, identifier)
	if err != nil {
		items.Fail(err)
	}
	s.Options = o
	return s
}

func parseWill(items *detcbor.Items) *will {
	w := &will{lives: -1}
	items.Each(func(key int64) {
		switch key {
		case keyMessage:
			m, err := message.Decode(items.Bytes())
			if err != nil {
				items.Fail(err)
			}
			w.message = m
		case keyLives:
			w.lives = time.Duration(items.UpTo(1<<32-1)) * time.Second
		case keyDelay:
			w.delay = time.Duration(items.UpTo(1<<32-1)) * time.Second
		default:
			items.Fail(fmt.Errorf("key %d of a will", key))
		}
	})
	if w.message == nil {
		items.Fail(errors.New("a will without a message"))
	}
	return w
}

// session restores one, unless its device may not have it any more or its time is over.
func (r *restoring) session(record []byte) (bool, error) {
	k, err := parseSession(record)
	if err != nil {
		return false, err
	}
	key := stateKey{device: k.device, id: k.id}
	if namedBy(k.id, k.device) {
		key.device = ident.Device{}
	}
	s := r.s
	st := s.clients.enter(s, key, k.device)
	if st == nil {
		return false, fmt.Errorf("two sessions of client id %q", k.id)
	}
	flow, err := session.Restore(session.Limits{Inflight: maxInflight, Incoming: maxInflight}, st.room, r.delivery, r.find)
	if err != nil && !errors.Is(err, session.ErrFull) {
		return false, err
	}
	standing, active := r.recall(k.device)
	over := !k.ends.IsZero() && !r.now.Before(k.ends)
	if err != nil || !active || standing.Subject != k.subject || over {
		if flow != nil {
			flow.Close()
		}
		if active && standing.Subject == k.subject && over && k.will != nil {
			st.will = k.will
			s.clients.rejoin(st, standing)
			r.ended = append(r.ended, st)
		}
		return false, nil
	}
	st.flow, st.expiry, st.ends, st.will = flow, never, k.ends, k.will
	if !k.ends.IsZero() {
		st.expiry = uint32(min(max(k.ends.Sub(r.now)/time.Second, 1), never-1))
	}
	s.clients.rejoin(st, standing)
	for _, sub := range k.subs {
		s.subscriptions.Add(&st.index, sub.Subscription.Subscription, sub.Options)
		if sub.owed {
			st.owed = append(st.owed, owed{filter: sub.Filter, options: sub.Options})
		}
	}
	due := k.ends
	if w := k.will; w != nil {
		if at := r.now.Add(w.delay); due.IsZero() || at.Before(due) {
			due = at
		}
	}
	r.waiting = append(r.waiting, waiting{st, due})
	return true, nil
}

// isFull reports whether an error of a record is only that bounds are lower now.
func isFull(err error) bool { return errors.Is(err, retained.ErrFull) }

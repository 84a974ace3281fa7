package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// Try counts one attempt: see broker.Tries.
func (s *Store) Try(ctx context.Context, by broker.By, of broker.TryOf, mark broker.TryMark, now time.Time) (t broker.Tried, err error) {
	err = s.update(ctx, by, "count try", func(c *change) error {
		return c.account(of, func(n *broker.TryCount) (changed bool, err error) {
			t, changed = n.Try(mark, now)
			return changed, nil
		})
	})
	return t, err
}

// Accept takes back the try of a right answer: see broker.Tries.
func (s *Store) Accept(ctx context.Context, by broker.By, of broker.TryOf, mark broker.TryMark, step uint64) error {
	return s.update(ctx, by, "take back try", func(c *change) error {
		if step > 0 {
			err := c.account(of.Owner(), func(n *broker.TryCount) (bool, error) { return n.Use(mark, step) })
			if err != nil {
				return err
			}
		}
		return c.account(of, func(n *broker.TryCount) (bool, error) { return n.TakeBack(mark), nil })
	})
}

// Settle sets counts of wrong tries back: see broker.Tries.
func (s *Store) Settle(ctx context.Context, by broker.By, of []broker.TryOf) error {
	return s.update(ctx, by, "settle tries", func(c *change) error {
		for _, of := range of {
			if err := c.account(of, func(n *broker.TryCount) (bool, error) { return n.Settle(), nil }); err != nil {
				return err
			}
		}
		return nil
	})
}

// account reads one account's count, and writes it if do changes it.
func (c *change) account(of broker.TryOf, do func(*broker.TryCount) (changed bool, err error)) error {
	b, key := c.tx.Bucket([]byte(bucketTries)), of.Key()
	before := b.Get(key)
	var n broker.TryCount
	if before != nil {
		var err error
		if n, err = decodeTries(before); err != nil {
			return err
		}
	}
	changed, err := do(&n)
	if err != nil || !changed {
		return err
	}
	if !of.Recorded() {
		return c.putUntold(b, key, encodeTries(of, &n))
	}
	c.record(entry{Record: broker.Record{Kind: broker.RecordTry, Pool: of.Device.Pool, Subject: of.Device.Name.String(), What: broker.WhatCount, Before: digest(before)}})
	return c.put(b, key, encodeTries(of, &n))
}

// dropTries forgets the accounts of a device, or all of a pool's, for which its
// deletion stands, if name is empty.
func (c *change) dropTries(pool ident.Pool, name string) error {
	start := []byte(pool.String() + "\x00")
	if name != "" {
		start = append(start, name+"\x00"...)
	}
	b := c.tx.Bucket([]byte(bucketTries))
	var keys [][]byte
	cur := b.Cursor()
	for k, _ := cur.Seek(start); bytes.HasPrefix(k, start); k, _ = cur.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if name != "" {
			c.record(entry{Record: broker.Record{Kind: broker.RecordTry, Pool: pool, Subject: name, What: broker.WhatDelete, Before: digest(b.Get(k))}})
		}
		if err := c.delete(b, k); err != nil {
			return err
		}
	}
	return nil
}

// A row of tries: when it may go, wrong tries, next and last (Unix nanoseconds, 0 for
// none), step and mark of the last code, then the last tries: mark, when.
const (
	tryFixed = 8 + 4 + 8 + 8 + 8 + len(broker.TryMark{})
	tryOnce  = len(broker.TryMark{}) + 8
)

func encodeTries(of broker.TryOf, n *broker.TryCount) []byte {
	until := uint64(math.MaxInt64)
	if at, ever := n.Until(of); ever {
		until = binary.BigEndian.Uint64(untilRow(at))
	}
	v := binary.BigEndian.AppendUint64(make([]byte, 0, tryFixed+len(n.Marks)*tryOnce), until)
	v = binary.BigEndian.AppendUint32(v, uint32(n.N))
	for _, t := range []time.Time{n.Next, n.Last} {
		v = binary.BigEndian.AppendUint64(v, uint64(nanos(t)))
	}
	v = binary.BigEndian.AppendUint64(v, n.Step)
	v = append(v, n.Used[:]...)
	for _, m := range n.Marks {
		v = binary.BigEndian.AppendUint64(append(v, m.Mark[:]...), uint64(nanos(m.At)))
	}
	return v
}

func decodeTries(v []byte) (broker.TryCount, error) {
	const markLen = len(broker.TryMark{})
	if len(v) < tryFixed || (len(v)-tryFixed)%tryOnce != 0 {
		return broker.TryCount{}, fmt.Errorf("%w: a row of tries has %d bytes", ErrDamaged, len(v))
	}
	at := func(b []byte) time.Time { return fromNanos(int64(binary.BigEndian.Uint64(b))) }
	n := broker.TryCount{
		N: int(binary.BigEndian.Uint32(v[8:])), Next: at(v[12:]), Last: at(v[20:]),
		Step: binary.BigEndian.Uint64(v[28:]), Used: broker.TryMark(v[36 : 36+markLen]),
	}
	for rest := v[tryFixed:]; len(rest) > 0; rest = rest[tryOnce:] {
		n.Marks = append(n.Marks, broker.TryOnce{Mark: broker.TryMark(rest[:markLen]), At: at(rest[markLen:])})
	}
	return n, nil
}

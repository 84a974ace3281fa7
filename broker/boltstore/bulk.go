package boltstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/signetd/signet/broker"
)

// Bounds of CreateDevices: a chunk is no more than a batch of single calls may be, so
// that logins beside it wait no longer; and while one is written the next is encoded.
const (
	bulkChunk = maxBatch // devices in one change
	bulkAhead = 2        // changes of one call that wait at once
)

// A newcomer is one of the devices of a bulk.
type newcomer struct {
	deviceRow
	at  int // in the call
	err error
}

// bulk is a chunk of a CreateDevices on its way through the writer.
type bulk struct {
	request
	all []newcomer
}

// CreateDevices creates many devices: see broker.Devices. It encodes the next chunk while
// the writer writes one.
func (s *Store) CreateDevices(ctx context.Context, by broker.By, all []broker.Device) []error {
	errs := make([]error, len(all))
	if err := by.Validate(); err != nil {
		for i := range errs {
			errs[i] = fmt.Errorf("create devices: %w", err)
		}
		return errs
	}
	var ahead []*bulk
	for chunk := range slices.Chunk(inOrder(all), bulkChunk) {
		b := newBulk(by, all, chunk, errs)
		if err := s.enqueue(ctx, &b.request); err != nil { // b.err is the writer's from here on
			b.tell(err, all, errs)
			continue
		}
		if ahead = append(ahead, b); len(ahead) == bulkAhead {
			ahead[0].tell(s.await(ctx, &ahead[0].request), all, errs)
			ahead = ahead[1:]
		}
	}
	for _, b := range ahead {
		b.tell(s.await(ctx, &b.request), all, errs)
	}
	return errs
}

// inOrder gives the places of all in the order of their names, so that neighbours in
// the file are written together.
func inOrder(all []broker.Device) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := all[i].ID, all[j].ID
		return cmp.Or(cmp.Compare(a.Pool.String(), b.Pool.String()), cmp.Compare(a.Name.String(), b.Name.String()))
	})
	return order
}

// newBulk encodes a chunk. What cannot be encoded has its error, and stays out.
func newBulk(by broker.By, all []broker.Device, chunk []int, errs []error) *bulk {
	b := &bulk{all: make([]newcomer, 0, len(chunk))}
	for _, i := range chunk {
		d := all[i]
		d.Rev = 1
		row, err := newRow(&d)
		if err != nil {
			errs[i] = fmt.Errorf("create device %s: %w", d.ID, err)
			continue
		}
		b.all = append(b.all, newcomer{deviceRow: row, at: i})
	}
	b.request.by, b.request.do = by, b.write
	return b
}

// write is the transaction. One that may not come in spoils no other.
func (b *bulk) write(c *change) error {
	for i := range b.all {
		n := &b.all[i]
		pool, err := n.mayCome(c.tx)
		if n.err = err; err != nil {
			continue
		}
		pool.Bucket([]byte(poolDevices)).FillPercent = appendFill // most of a bulk is behind what is there
		if err := n.put(c, pool, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// tell gives each of the chunk its error: its own or, if err is not nil, that of all.
func (b *bulk) tell(err error, all []broker.Device, errs []error) {
	for i := range b.all {
		n := &b.all[i]
		if n.err == nil {
			n.err = err
		}
		if n.err != nil {
			errs[n.at] = fmt.Errorf("create device %s: %w", all[n.at].ID, n.err)
		}
	}
}

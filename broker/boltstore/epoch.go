package boltstore

import (
	"context"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// Epoch gives the store's epoch: see broker.Epochs.
func (s *Store) Epoch(ctx context.Context) (epoch uint64, err error) {
	err = s.view(ctx, "read the store's epoch", func(tx *bolt.Tx) error {
		epoch = marked(tx, keyEpoch)
		return nil
	})
	return epoch, err
}

// RaiseEpoch begins another epoch of the store: see broker.Epochs.
func (s *Store) RaiseEpoch(ctx context.Context, by broker.By, to uint64) error {
	return s.update(ctx, by, "raise the store's epoch", func(c *change) error {
		was := marked(c.tx, keyEpoch)
		if to <= was || to > broker.MaxEpoch {
			return fmt.Errorf("%w: epoch %d, want one above %d and at most %d", broker.ErrInvalid, to, was, uint64(broker.MaxEpoch))
		}
		b := c.tx.Bucket([]byte(bucketMeta))
		next := binary.BigEndian.AppendUint64(nil, to)
		c.recordRow(broker.RecordStore, ident.Pool{}, "epoch", b.Get([]byte(keyEpoch)), next)
		return c.put(b, []byte(keyEpoch), next)
	})
}

package boltstore

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// The top-level buckets.
const (
	bucketMeta           = "meta"
	bucketPools          = "pools"
	bucketSessions       = "sessions"
	bucketSpent          = "spent"
	bucketJournal        = "journal"
	bucketRuns           = "runs"
	bucketTries          = "tries"
	bucketOperators      = "operators"
	bucketOperatorHashes = "operator-hashes"
	bucketSecrets        = "secrets"
)

// The buckets and the record inside a pool's bucket.
const (
	poolDevices   = "devices"
	poolKeys      = "keys"      // a public key's id to the name of its device
	poolDocuments = "documents" // by kind and name
	poolRefs      = "refs"      // kind and name of what is referred to, then of the document that does
	poolCounts    = "counts"    // by kind and name: how often devices used it
	poolSigning   = "signing-keys"
	poolGone      = "gone" // the last record's Seq of a deleted device, by name
	poolRow       = "record"
)

// The keys of bucketMeta: the format's version, the last Seqs up to which the journal's
// logins are in the runs and its old traffic is gone, the store's epoch, and the time that
// housekeeping believed.
const (
	keyFormat  = "format"
	keyFolded  = "folded"
	keyTrimmed = "trimmed"
	keyEpoch   = "epoch"
	keyHouse   = "house"
)

// appendFill is how full pages are left where keys come in ascending order.
const appendFill = 0.95

func topBuckets() []string {
	return []string{bucketMeta, bucketPools, bucketSessions, bucketSpent, bucketJournal, bucketRuns,
		bucketTries, bucketOperators, bucketOperatorHashes, bucketSecrets}
}

func poolBuckets() []string {
	return []string{poolDevices, poolKeys, poolDocuments, poolRefs, poolCounts, poolSigning, poolGone}
}

// inPool gives the pool's bucket; broker.ErrNotFound if there is no such pool.
func inPool(tx *bolt.Tx, pool ident.Pool) (*bolt.Bucket, error) {
	if pool.IsZero() {
		return nil, fmt.Errorf("%w: no pool named", broker.ErrInvalid)
	}
	b := tx.Bucket([]byte(bucketPools)).Bucket([]byte(pool.String()))
	if b == nil {
		return nil, fmt.Errorf("pool %s: %w", pool, broker.ErrNotFound)
	}
	return b, nil
}

// A row is how a domain type D is read from its pool.
type row[D any] struct {
	bucket string // in the pool's bucket
	what   string // for errors
	decode func([]byte) (D, error)
}

// A keyValue is a row as it lies in its bucket.
type keyValue struct{ key, value []byte }

func (t row[D]) get(tx *bolt.Tx, pool ident.Pool, key string) (D, error) {
	var none D
	b, err := inPool(tx, pool)
	if err != nil {
		return none, err
	}
	v := b.Bucket([]byte(t.bucket)).Get([]byte(key))
	if v == nil {
		return none, fmt.Errorf("%s %s: %w", t.what, key, broker.ErrNotFound)
	}
	return t.decode(v)
}

// list gives at most limit rows after a key; limit 0: all.
func (t row[D]) list(tx *bolt.Tx, pool ident.Pool, after string, limit int) ([]D, error) {
	b, err := inPool(tx, pool)
	if err != nil {
		return nil, err
	}
	var all []D
	cur := b.Bucket([]byte(t.bucket)).Cursor()
	for k, v := seekAfter(cur, []byte(after)); k != nil && (limit == 0 || len(all) < limit); k, v = cur.Next() {
		d, err := t.decode(v)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// seekAfter moves to the first key behind after; to the first of all if after is empty.
func seekAfter(cur *bolt.Cursor, after []byte) (k, v []byte) {
	if len(after) == 0 {
		return cur.First()
	}
	if k, v = cur.Seek(after); bytes.Equal(k, after) {
		return cur.Next()
	}
	return k, v
}

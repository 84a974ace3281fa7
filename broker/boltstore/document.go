package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// documentKey is a document's key in its pool; kinds and names have no NUL.
func documentKey(kind, name string) []byte { return []byte(kind + "\x00" + name) }

func refKey(to, from broker.Ref) []byte {
	return append(append(documentKey(to.Kind, to.Name), 0), documentKey(from.Kind, from.Name)...)
}

// writeDocument is the one place where a document is put in the place of old (nil:
// there was none) or, if d is nil, deleted. It keeps the index of references.
func (c *change) writeDocument(old, d *broker.Document) (rev uint64, err error) {
	at := d
	if d == nil {
		at = old
	}
	pool, err := inPool(c.tx, at.Pool)
	if err != nil {
		return 0, err
	}
	self := broker.Ref{Kind: at.Kind, Name: at.Name}
	refs := pool.Bucket([]byte(poolRefs))
	if old != nil {
		for _, to := range old.Refs {
			if err := c.delete(refs, refKey(to, self)); err != nil {
				return 0, err
			}
		}
	}
	rows, key := pool.Bucket([]byte(poolDocuments)), documentKey(at.Kind, at.Name)
	if d == nil {
		c.recordRow(broker.RecordKind(at.Kind), at.Pool, at.Name, rows.Get(key), nil)
		if err := c.delete(pool.Bucket([]byte(poolCounts)), key); err != nil {
			return 0, err
		}
		return 0, c.delete(rows, key)
	}
	if rev, err = nextRev(c); err != nil {
		return 0, err
	}
	r := documentRecord{Rev: rev, Created: nanos(d.Created), Updated: nanos(d.Updated), Body: d.Body}
	for _, to := range d.Refs {
		r.Refs = append(r.Refs, refRecord(to))
		if err := c.put(refs, refKey(to, self), []byte{}); err != nil {
			return 0, err
		}
	}
	value, err := encode(r)
	if err != nil {
		return 0, err
	}
	c.recordRow(broker.RecordKind(d.Kind), d.Pool, d.Name, rows.Get(key), value)
	return rev, c.put(rows, key, value)
}

// findDocument gives nil if there is none.
func findDocument(tx *bolt.Tx, pool ident.Pool, kind, name string) (*broker.Document, error) {
	b, err := inPool(tx, pool)
	if err != nil {
		return nil, err
	}
	key := documentKey(kind, name)
	v := b.Bucket([]byte(poolDocuments)).Get(key)
	if v == nil {
		return nil, nil
	}
	d, err := decodeDocument(b, pool, key, v)
	return &d, err
}

func readDocument(tx *bolt.Tx, pool ident.Pool, kind, name string) (broker.Document, error) {
	d, err := findDocument(tx, pool, kind, name)
	switch {
	case err != nil:
		return broker.Document{}, err
	case d == nil:
		return broker.Document{}, fmt.Errorf("%s %s: %w", kind, name, broker.ErrNotFound)
	}
	return *d, nil
}

func decodeDocument(pool *bolt.Bucket, name ident.Pool, key, v []byte) (broker.Document, error) {
	r, err := decode[documentRecord](v)
	kind, own, _ := bytes.Cut(key, []byte{0})
	d := broker.Document{Pool: name, Kind: string(kind), Name: string(own), Rev: r.Rev,
		Created: fromNanos(r.Created), Updated: fromNanos(r.Updated), Body: r.Body}
	for _, to := range r.Refs {
		d.Refs = append(d.Refs, broker.Ref(to))
	}
	if n := pool.Bucket([]byte(poolCounts)).Get(key); len(n) == 8 {
		d.Used = int(binary.BigEndian.Uint64(n))
	}
	return d, err
}

func listDocuments(tx *bolt.Tx, pool ident.Pool, kind, after string, limit int) ([]broker.Document, error) {
	if err := broker.CheckLimit(limit); err != nil {
		return nil, err
	}
	b, err := inPool(tx, pool)
	if err != nil {
		return nil, err
	}
	var all []broker.Document
	prefix := documentKey(kind, "")
	cur := b.Bucket([]byte(poolDocuments)).Cursor()
	for k, v := seekAfter(cur, documentKey(kind, after)); bytes.HasPrefix(k, prefix) && len(all) < limit; k, v = cur.Next() {
		d, err := decodeDocument(b, pool, k, v)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// maxReferrers is how many referrers are named at most; a reader wants to know one.
const maxReferrers = 16

func readReferrers(tx *bolt.Tx, pool ident.Pool, to broker.Ref) ([]broker.Ref, error) {
	b, err := inPool(tx, pool)
	if err != nil {
		return nil, err
	}
	var all []broker.Ref
	prefix := append(documentKey(to.Kind, to.Name), 0)
	cur := b.Bucket([]byte(poolRefs)).Cursor()
	for k, _ := cur.Seek(prefix); bytes.HasPrefix(k, prefix) && len(all) < maxReferrers; k, _ = cur.Next() {
		kind, name, _ := bytes.Cut(k[len(prefix):], []byte{0})
		all = append(all, broker.Ref{Kind: string(kind), Name: string(name)})
	}
	return all, nil
}

// countUse counts one more use of a document beside it.
func (c *change) countUse(d *broker.Document) error {
	pool, err := inPool(c.tx, d.Pool)
	if err != nil {
		return err
	}
	counts, key := pool.Bucket([]byte(poolCounts)), documentKey(d.Kind, d.Name)
	c.record(entry{Record: broker.Record{Kind: broker.RecordKind(d.Kind), Pool: d.Pool, Subject: d.Name, What: broker.WhatCount, Before: digest(counts.Get(key))}})
	return c.put(counts, key, binary.BigEndian.AppendUint64(nil, uint64(d.Used)+1))
}

package broker

import (
	"context"
	"sync"

	"github.com/signetd/signet/protocol/ident"
)

// maxRemembered is how many decoded settings are remembered, chosen arbitrarily; one
// more and all are forgotten.
const maxRemembered = 1024

// SettingRows is what a store gives a Catalog to read.
type SettingRows interface {
	Pool(ctx context.Context, name ident.Pool) (Pool, error)
	Setting(ctx context.Context, pool ident.Pool, kind, name string) (Document, error)
}

// A Catalog reads pools and nouns, and remembers them as they were decoded: every
// authentication reads the same few, and decoding them costs more than all else that
// it reads. A row is forgotten by its record: what its own handle on the store wrote,
// before who wrote it is told; what others wrote, by the journal. Each forgetting ends
// an age, and what was read in an earlier one is not remembered. A Catalog is safe for
// concurrent use; what it gives is the caller's to change.
type Catalog struct {
	rows SettingRows
	mu   sync.RWMutex // guards kept and age
	kept map[catalogKey]any
	age  uint64
}

// NewCatalog makes an empty Catalog.
func NewCatalog(rows SettingRows) *Catalog { return &Catalog{rows: rows} }

type catalogKey struct {
	kind string // RefPool for the pool itself
	pool ident.Pool
	name string
}

// recall gives what is remembered or else what read reads, the caller's own.
func recall[D any](ctx context.Context, c *Catalog, k catalogKey, own func(D) D, read func() (D, error)) (D, error) {
	d, age, ok := c.find(k)
	if ok && ctx.Err() == nil {
		return own(d.(D)), nil
	}
	fresh, err := read()
	if err == nil {
		c.keep(k, age, own(fresh))
	}
	return fresh, err
}

// find gives what is remembered, and the age that it was looked for in.
func (c *Catalog) find(k catalogKey) (any, uint64, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	d, ok := c.kept[k]
	return d, c.age, ok
}

// keep remembers what was read after age was found, if that is still the age.
func (c *Catalog) keep(k catalogKey, age uint64, d any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age != c.age {
		return
	}
	if c.kept == nil || len(c.kept) >= maxRemembered {
		c.kept = make(map[catalogKey]any)
	}
	c.kept[k] = d
}

// Forget drops what a record is about.
func (c *Catalog) Forget(r *Record) {
	switch {
	case r.Kind == RecordPool:
		c.ForgetAll() // it may be gone, with all that is in it
	case r.Kind.IsDocument() && r.What != WhatCount:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.age++
		delete(c.kept, catalogKey{string(r.Kind), r.Pool, r.Subject})
	}
}

// ForgetAll drops everything.
func (c *Catalog) ForgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.age++
	clear(c.kept)
}

// Pool finds a pool.
func (c *Catalog) Pool(ctx context.Context, name ident.Pool) (Pool, error) {
	return recall(ctx, c, catalogKey{RefPool, name, ""}, ownPool, func() (Pool, error) { return c.rows.Pool(ctx, name) })
}

// Find reads one noun of a kind.
func (k Kind[N]) Find(ctx context.Context, c *Catalog, pool ident.Pool, name string) (N, error) {
	read := func() (N, error) {
		d, err := c.rows.Setting(ctx, pool, k.Name, name)
		if err != nil {
			var none N
			return none, err
		}
		return k.Noun(d)
	}
	if k.Counted {
		return read()
	}
	return recall(ctx, c, catalogKey{k.Name, pool, name}, k.Copy, read)
}

// Nouns reads what authentication asks for, as a Catalog does.
type Nouns interface {
	Client(ctx context.Context, pool ident.Pool, id string) (Client, error)
	Flow(ctx context.Context, pool ident.Pool, name string) (Flow, error)
	Hook(ctx context.Context, pool ident.Pool, name string) (Hook, error)
	EnrollToken(ctx context.Context, pool ident.Pool, id string) (EnrollToken, error)
}

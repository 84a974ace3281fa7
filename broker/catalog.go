package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
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
// it reads. What it gives is shared by all who ask for it, and nobody's to change: whoever
// writes reads his own in the transaction (SettingsTx). A row is forgotten by its record: what its own handle on the store wrote,
// before who wrote it is told, and whatever the journal tells of, before it does. Each forgetting ends
// an age, and what was read in an earlier one is not remembered. A Catalog is safe for
// concurrent use.
type Catalog struct {
	rows SettingRows
	mu   sync.RWMutex // guards kept and age
	kept map[catalogKey]kept
	age  uint64
}

// NewCatalog makes an empty Catalog.
func NewCatalog(rows SettingRows) *Catalog { return &Catalog{rows: rows} }

type catalogKey struct {
	kind string // RefPool for the pool itself
	pool ident.Pool
	name string
}

// A kept setting is a pointer to it, and how to find out whether somebody wrote through that.
type kept struct {
	setting any
	changed func(context.Context) (bool, error)
}

// recall gives what is remembered, nil if nothing is, and the age that it was looked for in.
func recall[D any](ctx context.Context, c *Catalog, k catalogKey) (*D, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	d, _ := c.kept[k].setting.(*D)
	if ctx.Err() != nil {
		d = nil // the read says so
	}
	return d, c.age
}

// learn reads what recall did not find, and remembers it.
func learn[D any](ctx context.Context, c *Catalog, k catalogKey, age uint64, read func(context.Context) (D, error), rev func(*D) uint64) (*D, error) {
	d, err := read(ctx)
	if err != nil {
		return nil, err
	}
	was := rev(&d)
	c.keep(k, age, kept{&d, func(ctx context.Context) (bool, error) {
		now, err := read(ctx)
		if err != nil || rev(&now) != was {
			return false, err
		}
		return !reflect.DeepEqual(d, now), nil
	}})
	return &d, nil
}

// keep remembers what was read after age was found, if that is still the age.
func (c *Catalog) keep(k catalogKey, age uint64, d kept) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age != c.age {
		return
	}
	if c.kept == nil || len(c.kept) >= maxRemembered {
		c.kept = make(map[catalogKey]kept)
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

// CheckShared fails if somebody wrote into what the Catalog gave, that is, if what it
// remembers is not what the store has of the same revision. It reads all of it again: for tests.
func (c *Catalog) CheckShared(ctx context.Context) error {
	c.mu.RLock()
	all := maps.Clone(c.kept)
	c.mu.RUnlock()
	for k, d := range all {
		changed, err := d.changed(ctx)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("check what is shared: %w", err)
		}
		if changed {
			return fmt.Errorf("%s %s of pool %s: somebody who read it wrote into it, and all others read that", k.kind, k.name, k.pool)
		}
	}
	return nil
}

// Pool finds a pool.
func (c *Catalog) Pool(ctx context.Context, name ident.Pool) (*Pool, error) {
	k := catalogKey{RefPool, name, ""}
	p, age := recall[Pool](ctx, c, k)
	if p != nil {
		return p, nil
	}
	read := func(ctx context.Context) (Pool, error) { return c.rows.Pool(ctx, name) }
	return learn(ctx, c, k, age, read, func(p *Pool) uint64 { return p.Rev })
}

// Find reads one noun of a kind.
func (k Kind[N]) Find(ctx context.Context, c *Catalog, pool ident.Pool, name string) (*N, error) {
	if k.Counted {
		n, err := k.read(ctx, c.rows, pool, name)
		if err != nil {
			return nil, err
		}
		return &n, nil
	}
	key := catalogKey{k.Name, pool, name}
	n, age := recall[N](ctx, c, key)
	if n != nil {
		return n, nil
	}
	read := func(ctx context.Context) (N, error) { return k.read(ctx, c.rows, pool, name) }
	return learn(ctx, c, key, age, read, func(n *N) uint64 { return *k.Head(n).Rev })
}

func (k Kind[N]) read(ctx context.Context, rows SettingRows, pool ident.Pool, name string) (N, error) {
	d, err := rows.Setting(ctx, pool, k.Name, name)
	if err != nil {
		var none N
		return none, err
	}
	return k.Noun(d)
}

// Nouns reads what authentication asks for, as a Catalog does: it is not to be changed.
type Nouns interface {
	Client(ctx context.Context, pool ident.Pool, id string) (*Client, error)
	Flow(ctx context.Context, pool ident.Pool, name string) (*Flow, error)
	Hook(ctx context.Context, pool ident.Pool, name string) (*Hook, error)
	EnrollToken(ctx context.Context, pool ident.Pool, id string) (*EnrollToken, error)
}

package boltstore

import (
	"bytes"
	"context"
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// maxSettings is how many decoded rows are remembered, chosen arbitrarily; one more
// and all are forgotten.
const maxSettings = 1024

// settings remembers pools, clients and flows as they were decoded: every
// authentication reads the same few, and decoding them costs more than all else
// that it reads. A row is forgotten by its record: when this handle wrote it, before the
// caller is told; when another did, by the journal. Each forgetting ends an age, and
// what was read in an earlier one is not remembered.
type settings struct {
	mu   sync.RWMutex // guards the fields below
	rows map[settingKey]any
	age  uint64
}

type settingKey struct {
	kind broker.RecordKind
	pool ident.Pool
	name string // "" for the pool itself
}

// remembered gives a row that is kept decoded, of its own for each caller.
func remembered[D any](ctx context.Context, s *Store, k settingKey, own func(D) D, what string, get func(*bolt.Tx) (D, error)) (D, error) {
	d, age, ok := s.settings.find(k)
	if ok && ctx.Err() == nil && !s.isOver() {
		return own(d.(D)), nil
	}
	var read D
	err := s.view(ctx, what, func(tx *bolt.Tx) (err error) {
		read, err = get(tx)
		return err
	})
	if err == nil {
		s.settings.keep(k, age, own(read))
	}
	return read, err
}

// find gives a row, and the age that it was looked for in.
func (m *settings) find(k settingKey) (any, uint64, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	d, ok := m.rows[k]
	return d, m.age, ok
}

// keep remembers a row that was read after age was found, if that is still the age.
func (m *settings) keep(k settingKey, age uint64, d any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if age != m.age {
		return
	}
	if m.rows == nil || len(m.rows) >= maxSettings {
		m.rows = make(map[settingKey]any)
	}
	m.rows[k] = d
}

// forget drops the rows that records are about.
func (m *settings) forget(records []entry) {
	for i := range records {
		r := &records[i]
		switch r.Kind {
		case broker.RecordPool:
			m.forgetAll() // it may be gone, with all that is in it
		case broker.RecordClient, broker.RecordFlow:
			m.mu.Lock()
			m.age++
			delete(m.rows, settingKey{r.Kind, r.Pool, r.Subject})
			m.mu.Unlock()
		}
	}
}

func (m *settings) forgetAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.age++
	clear(m.rows)
}

// ownPool, ownClient and ownFlow copy what a caller could write through.
func ownPool(p broker.Pool) broker.Pool {
	p.Anchor, p.AnchorSealed, p.AnswerSealed = bytes.Clone(p.Anchor), bytes.Clone(p.AnchorSealed), bytes.Clone(p.AnswerSealed)
	return p
}

func ownClient(c broker.Client) broker.Client {
	c.Audiences = slices.Clone(c.Audiences)
	return c
}

func ownFlow(f broker.Flow) broker.Flow {
	f.Steps = slices.Clone(f.Steps)
	return f
}

package boltstore

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// maxSettings is how many decoded rows are remembered, chosen arbitrarily; one more
// and all are forgotten.
const maxSettings = 1024

// settings remembers pools, clients and flows as they were decoded: every
// authentication reads the same few, and decoding them costs more than all else
// that it reads. A commit of anything but traffic ends an age, before its caller is
// told; what an earlier age remembers is not used again.
type settings struct {
	age  atomic.Uint64
	mu   sync.RWMutex // guards rows and of
	rows map[settingKey]any
	of   uint64 // the age that rows are of
}

type settingKey struct {
	bucket string // "" for the pool itself
	pool   ident.Pool
	key    string
}

// remembered gives a row that is kept decoded, of its own for each caller.
func remembered[D any](ctx context.Context, s *Store, k settingKey, own func(D) D, what string, get func(*bolt.Tx) (D, error)) (D, error) {
	if err := ctx.Err(); err == nil {
		if d, ok := s.settings.find(k); ok {
			return own(d.(D)), nil
		}
	}
	age := s.settings.age.Load() // before reading: what is written meanwhile makes it an old one
	var d D
	err := s.view(ctx, what, func(tx *bolt.Tx) (err error) {
		d, err = get(tx)
		return err
	})
	if err == nil {
		s.settings.keep(k, age, own(d))
	}
	return d, err
}

func (m *settings) find(k settingKey) (any, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.of != m.age.Load() {
		return nil, false
	}
	d, ok := m.rows[k]
	return d, ok
}

func (m *settings) keep(k settingKey, age uint64, d any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if age != m.age.Load() {
		return
	}
	if m.rows == nil || m.of != age || len(m.rows) >= maxSettings {
		m.rows, m.of = make(map[settingKey]any), age
	}
	m.rows[k] = d
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

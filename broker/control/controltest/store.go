// Package controltest has working stand-ins for what a directory needs: a store
// in memory, a sealer with a key of its own and a notifier that remembers. For
// tests only; it imports the domain and the standard library.
package controltest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// named is the key of what a pool holds under a name.
type named struct {
	pool ident.Pool
	name string
}

// A table holds records of one kind.
type table[T any] map[named]T

// A Store keeps all in memory. It satisfies control.Store.
type Store struct {
	mu        sync.Mutex // guards all below
	pools     map[ident.Pool]broker.Pool
	devices   map[ident.Device]broker.Device
	clients   table[broker.Client]
	flows     table[broker.Flow]
	hooks     table[broker.Hook]
	tokens    table[broker.EnrolToken]
	keys      map[ident.Pool][]broker.SigningKey
	sessions  map[ident.UUID]broker.Session
	operators map[string]broker.Operator
}

// NewStore makes an empty store.
func NewStore() *Store {
	return &Store{
		pools: map[ident.Pool]broker.Pool{}, devices: map[ident.Device]broker.Device{},
		clients: table[broker.Client]{}, flows: table[broker.Flow]{}, hooks: table[broker.Hook]{},
		tokens: table[broker.EnrolToken]{}, keys: map[ident.Pool][]broker.SigningKey{},
		sessions: map[ident.UUID]broker.Session{}, operators: map[string]broker.Operator{},
	}
}

// find and its siblings lock the store around one access to one table.
func find[K comparable, T any](s *Store, m map[K]T, k K) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := m[k]
	if !ok {
		return v, broker.ErrNotFound
	}
	return v, nil
}

func put[K comparable, T any](s *Store, m map[K]T, k K, v T) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m[k] = v
	return nil
}

func add[K comparable, T any](s *Store, m map[K]T, k K, v T) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := m[k]; ok {
		return broker.ErrExists
	}
	m[k] = v
	return nil
}

func update[K comparable, T any](s *Store, m map[K]T, k K, change func(*T) error) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var none T
	v, ok := m[k]
	if !ok {
		return none, broker.ErrNotFound
	}
	if err := change(&v); err != nil {
		return none, err
	}
	m[k] = v
	return v, nil
}

func remove[K comparable, T any](s *Store, m map[K]T, k K) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := m[k]; !ok {
		return broker.ErrNotFound
	}
	delete(m, k)
	return nil
}

func list[T any](s *Store, m table[T], pool ident.Pool) ([]T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []named
	for k := range m {
		if k.pool == pool {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b named) int { return cmp.Compare(a.name, b.name) })
	out := make([]T, 0, len(keys))
	for _, k := range keys {
		out = append(out, m[k])
	}
	return out, nil
}

// CreatePool implements broker.Pools.
func (s *Store) CreatePool(_ context.Context, _ broker.By, p broker.Pool, keys []broker.SigningKey, clients []broker.Client, flows []broker.Flow) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.pools[p.Name]; ok {
		return broker.ErrExists
	}
	s.pools[p.Name], s.keys[p.Name] = p, slices.Clone(keys)
	for _, c := range clients {
		s.clients[named{p.Name, c.ID}] = c
	}
	for _, f := range flows {
		s.flows[named{p.Name, f.Name}] = f
	}
	return nil
}

// Pool implements broker.Pools.
func (s *Store) Pool(_ context.Context, name ident.Pool) (broker.Pool, error) {
	return find(s, s.pools, name)
}

// UpdatePool implements broker.Pools.
func (s *Store) UpdatePool(_ context.Context, _ broker.By, name ident.Pool, change func(*broker.Pool) error) (broker.Pool, error) {
	return update(s, s.pools, name, change)
}

// ListPools implements broker.Pools.
func (s *Store) ListPools(context.Context) ([]broker.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Collect(maps.Values(s.pools))
	slices.SortFunc(out, func(a, b broker.Pool) int { return cmp.Compare(a.Name.String(), b.Name.String()) })
	return out, nil
}

// DeletePool implements broker.Pools.
func (s *Store) DeletePool(_ context.Context, _ broker.By, name ident.Pool) error {
	if err := remove(s, s.pools, name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.devices, func(k ident.Device, _ broker.Device) bool { return k.Pool == name })
	maps.DeleteFunc(s.clients, func(k named, _ broker.Client) bool { return k.pool == name })
	maps.DeleteFunc(s.flows, func(k named, _ broker.Flow) bool { return k.pool == name })
	maps.DeleteFunc(s.hooks, func(k named, _ broker.Hook) bool { return k.pool == name })
	maps.DeleteFunc(s.tokens, func(k named, _ broker.EnrolToken) bool { return k.pool == name })
	maps.DeleteFunc(s.sessions, func(_ ident.UUID, v broker.Session) bool { return v.Device.Pool == name })
	delete(s.keys, name)
	return nil
}

// CreateDevice implements broker.Devices.
func (s *Store) CreateDevice(_ context.Context, _ broker.By, d broker.Device) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.devices[d.ID]; ok {
		return broker.ErrExists
	}
	for id, other := range s.devices {
		if id.Pool == d.ID.Pool && sharesKey(other, d) {
			return broker.ErrKeyBound
		}
	}
	d.Rev = 1
	s.devices[d.ID] = d
	return nil
}

func sharesKey(a, b broker.Device) bool {
	for _, x := range a.Authenticators {
		for _, y := range b.Authenticators {
			if x.Kind == broker.KindKey && x.ID == y.ID {
				return true
			}
		}
	}
	return false
}

// Device implements broker.Devices.
func (s *Store) Device(_ context.Context, id ident.Device) (broker.Device, error) {
	return find(s, s.devices, id)
}

// ListDevices implements broker.Devices.
func (s *Store) ListDevices(_ context.Context, pool ident.Pool, after string, limit int) ([]broker.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []broker.Device
	for id, d := range s.devices {
		if id.Pool == pool && id.Name.String() > after {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b broker.Device) int { return cmp.Compare(a.ID.Name.String(), b.ID.Name.String()) })
	return out[:min(limit, len(out))], nil
}

// UpdateDevice implements broker.Devices.
func (s *Store) UpdateDevice(_ context.Context, _ broker.By, id ident.Device, change func(*broker.Device) error) (broker.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.devices[id]
	if !ok {
		return d, broker.ErrNotFound
	}
	if err := change(&d); err != nil {
		return broker.Device{}, err
	}
	d.Rev++
	s.devices[id] = d
	return d, nil
}

// DeleteDevice implements broker.Devices.
func (s *Store) DeleteDevice(_ context.Context, _ broker.By, id ident.Device) error {
	return remove(s, s.devices, id)
}

package controltest

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// PutClient implements broker.Clients.
func (s *Store) PutClient(_ context.Context, _ broker.By, c broker.Client) error {
	return put(s, s.clients, named{c.Pool, c.ID}, c)
}

// Client implements broker.Clients.
func (s *Store) Client(_ context.Context, pool ident.Pool, id string) (broker.Client, error) {
	return find(s, s.clients, named{pool, id})
}

// ListClients implements broker.Clients.
func (s *Store) ListClients(_ context.Context, pool ident.Pool) ([]broker.Client, error) {
	return list(s, s.clients, pool)
}

// DeleteClient implements broker.Clients.
func (s *Store) DeleteClient(_ context.Context, _ broker.By, pool ident.Pool, id string) error {
	return remove(s, s.clients, named{pool, id})
}

// PutFlow implements broker.Flows.
func (s *Store) PutFlow(_ context.Context, _ broker.By, f broker.Flow) error {
	return put(s, s.flows, named{f.Pool, f.Name}, f)
}

// Flow implements broker.Flows.
func (s *Store) Flow(_ context.Context, pool ident.Pool, name string) (broker.Flow, error) {
	return find(s, s.flows, named{pool, name})
}

// ListFlows implements broker.Flows.
func (s *Store) ListFlows(_ context.Context, pool ident.Pool) ([]broker.Flow, error) {
	return list(s, s.flows, pool)
}

// DeleteFlow implements broker.Flows.
func (s *Store) DeleteFlow(_ context.Context, _ broker.By, pool ident.Pool, name string) error {
	return remove(s, s.flows, named{pool, name})
}

// PutHook implements broker.Hooks.
func (s *Store) PutHook(_ context.Context, _ broker.By, h broker.Hook) error {
	return put(s, s.hooks, named{h.Pool, h.Name}, h)
}

// Hook implements broker.Hooks.
func (s *Store) Hook(_ context.Context, pool ident.Pool, name string) (broker.Hook, error) {
	return find(s, s.hooks, named{pool, name})
}

// ListHooks implements broker.Hooks.
func (s *Store) ListHooks(_ context.Context, pool ident.Pool) ([]broker.Hook, error) {
	return list(s, s.hooks, pool)
}

// DeleteHook implements broker.Hooks.
func (s *Store) DeleteHook(_ context.Context, _ broker.By, pool ident.Pool, name string) error {
	return remove(s, s.hooks, named{pool, name})
}

// CreateEnrolToken implements broker.EnrolTokens.
func (s *Store) CreateEnrolToken(_ context.Context, _ broker.By, t broker.EnrolToken) error {
	return add(s, s.tokens, named{t.Pool, t.ID}, t)
}

// EnrolToken implements broker.EnrolTokens.
func (s *Store) EnrolToken(_ context.Context, pool ident.Pool, id string) (broker.EnrolToken, error) {
	return find(s, s.tokens, named{pool, id})
}

// UpdateEnrolToken implements broker.EnrolTokens.
func (s *Store) UpdateEnrolToken(_ context.Context, _ broker.By, pool ident.Pool, id string, change func(*broker.EnrolToken) error) (broker.EnrolToken, error) {
	return update(s, s.tokens, named{pool, id}, change)
}

// ListEnrolTokens implements broker.EnrolTokens.
func (s *Store) ListEnrolTokens(_ context.Context, pool ident.Pool) ([]broker.EnrolToken, error) {
	return list(s, s.tokens, pool)
}

// DeleteEnrolToken implements broker.EnrolTokens.
func (s *Store) DeleteEnrolToken(_ context.Context, _ broker.By, pool ident.Pool, id string) error {
	return remove(s, s.tokens, named{pool, id})
}

// ListSigningKeys implements broker.SigningKeys.
func (s *Store) ListSigningKeys(_ context.Context, pool ident.Pool) ([]broker.SigningKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys[pool]), nil
}

// ChangeSigningKeys implements broker.SigningKeys.
func (s *Store) ChangeSigningKeys(_ context.Context, _ broker.By, pool ident.Pool, change func([]broker.SigningKey) ([]broker.SigningKey, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.pools[pool]; !ok {
		return broker.ErrNotFound
	}
	keys, err := change(slices.Clone(s.keys[pool]))
	if err == nil {
		s.keys[pool] = keys
	}
	return err
}

// AddSession writes a session as a login would.
func (s *Store) AddSession(session broker.Session) error {
	return add(s, s.sessions, session.ID, session)
}

// Session is that of broker.Sessions.
func (s *Store) Session(_ context.Context, id ident.UUID) (broker.Session, error) {
	return find(s, s.sessions, id)
}

// UpdateSession is that of broker.Sessions.
func (s *Store) UpdateSession(_ context.Context, _ broker.By, id ident.UUID, change func(*broker.Session, *broker.Device) error) (broker.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.sessions[id]
	if !ok {
		return session, broker.ErrNotFound
	}
	device := s.devices[session.Device]
	if err := change(&session, &device); err != nil {
		return broker.Session{}, err
	}
	s.sessions[id] = session
	return session, nil
}

// ListSessions is that of broker.Sessions.
func (s *Store) ListSessions(_ context.Context, id ident.Device) ([]broker.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []broker.Session
	for _, v := range s.sessions {
		if v.Device == id {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b broker.Session) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	return out[:min(100, len(out))], nil
}

// PutOperator implements broker.Operators.
func (s *Store) PutOperator(_ context.Context, _ broker.By, o broker.Operator) error {
	return put(s, s.operators, o.Name, o)
}

// OperatorByHash implements broker.Operators.
func (s *Store) OperatorByHash(_ context.Context, hash []byte) (broker.Operator, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.operators {
		if bytes.Equal(o.Hash, hash) {
			return o, nil
		}
	}
	return broker.Operator{}, broker.ErrNotFound
}

// ListOperators implements broker.Operators.
func (s *Store) ListOperators(context.Context) ([]broker.Operator, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Collect(maps.Values(s.operators))
	slices.SortFunc(out, func(a, b broker.Operator) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// DeleteOperator implements broker.Operators.
func (s *Store) DeleteOperator(_ context.Context, _ broker.By, name string) error {
	return remove(s, s.operators, name)
}

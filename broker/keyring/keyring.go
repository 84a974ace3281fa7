// Package keyring opens the keys of pools for those that sign and verify: it reads them
// from the store, opens what is sealed, and signs each pool's key statement with its
// anchor. It never writes, and hands no private key out but as a token.Signer.
package keyring

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// KeyStore is the part of a store that Keys reads.
type KeyStore interface {
	Pool(ctx context.Context, name ident.Pool) (*broker.Pool, error)
	ListSigningKeys(ctx context.Context, pool ident.Pool) ([]broker.SigningKey, error)
	Epoch(ctx context.Context) (uint64, error)
}

// Opener opens secrets that are sealed at rest.
type Opener interface {
	Open(purpose broker.Purpose, sealed []byte) ([]byte, error)
}

// Keys opens pools' signing keys and remembers them until the journal tells that they
// changed. It is safe for concurrent use.
type Keys struct {
	store   KeyStore
	secrets Opener
	fresh   func() bool

	mu    sync.Mutex // guards the fields below
	rings map[ident.Pool]*Ring
	age   uint64 // raised whenever a remembered ring may have become wrong
}

// New makes a Keys. fresh reports whether Recorded is told of all that is written
// (tail.Follower.Fresh). While it does, a ring is read once and then remembered; while it
// does not, or is nil, the store is read for each call.
func New(store KeyStore, secrets Opener, fresh func() bool) *Keys {
	if fresh == nil {
		fresh = func() bool { return false }
	}
	return &Keys{store: store, secrets: secrets, fresh: fresh, rings: make(map[ident.Pool]*Ring)}
}

// A Ring is the keys of a pool, opened. It does not change.
type Ring struct {
	Issuer      string
	Signer      *token.Signer
	Verifiers   []*token.Key // keys that tokens still alive may be signed by, and the announced next one
	Statement   []byte       // protocol.Statement of them all, signed by the anchor
	StatementID []byte       // protocol.StatementID
	Anchor      []byte       // COSE_Key
	Epoch       uint64       // of the store
	// Successions lead from the pool's earlier anchors to Anchor.
	Successions []protocol.Succession
	// MQTTPasswordLife is how long an MQTT password of the pool's may be used to connect; 0: it has none.
	MQTTPasswordLife time.Duration

	answer *ecdh.PrivateKey // that secret answers are sealed to; Statement names its public half

	believed bool   // read while fresh, and no change was told since
	made     string // names all that the ring was made of
}

// MQTTAudience is the audience of the pool's MQTT passwords: the issuer's MQTT server.
func (r *Ring) MQTTAudience() string { return r.Issuer + "/mqtt" }

// Newer reads a key statement that somebody shows and reports whether it is the pool's and
// newer than the ring's own: then an older copy of the store was put back.
func (r *Ring) Newer(raw []byte) (s *protocol.Statement, newer bool) {
	anchor, err := token.ParseCOSEKey(r.Anchor)
	if err != nil {
		return nil, false
	}
	own, err := protocol.DecodeStatement(r.Statement, anchor)
	if err != nil {
		return nil, false
	}
	s, err = protocol.DecodeStatement(raw, anchor)
	return s, err == nil && own.Before(s)
}

// Ring gives the keys of a pool; broker.ErrNotFound if there is no such pool.
func (k *Keys) Ring(ctx context.Context, pool ident.Pool) (*Ring, error) {
	fresh := k.fresh() // before anything is read
	k.mu.Lock()
	old, age := k.rings[pool], k.age
	k.mu.Unlock()
	if old != nil && old.believed && fresh {
		return old, nil
	}
	p, err := k.store.Pool(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("keys of pool %s: %w", pool, err)
	}
	keys, err := k.store.ListSigningKeys(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("keys of pool %s: %w", pool, err)
	}
	epoch, err := k.store.Epoch(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys of pool %s: %w", pool, err)
	}
	r, err := k.refresh(old, p, keys, epoch)
	if err != nil {
		return nil, fmt.Errorf("keys of pool %s: %w", pool, err)
	}
	now := *r
	k.mu.Lock()
	defer k.mu.Unlock()
	if age == k.age { // else a change was told since, and what was read may be from before it
		now.believed = fresh
		k.rings[pool] = &now
	}
	return &now, nil
}

// Recorded is told of each record of the journal. Those of a pool's keys, and of a pool
// that is gone, make its ring be read again; a new epoch of the store, all of them.
func (k *Keys) Recorded(_ context.Context, r *broker.Record) {
	if r.Kind != broker.RecordKey && r.Kind != broker.RecordPool && r.Kind != broker.RecordStore {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.age++
	if r.What == broker.WhatDelete && r.Kind == broker.RecordPool {
		delete(k.rings, r.Pool)
		return
	}
	for pool, old := range k.rings {
		if pool == r.Pool || r.Kind == broker.RecordStore {
			doubted := *old // kept: refresh may find that nothing in it changed
			doubted.believed = false
			k.rings[pool] = &doubted
		}
	}
}

// refresh makes a ring of what was read, or gives the old one if nothing changed: opening
// keys and signing the statement cost more than reading.
func (k *Keys) refresh(old *Ring, p *broker.Pool, keys []broker.SigningKey, epoch uint64) (*Ring, error) {
	changed := p.AnchorSince
	made := fmt.Sprintf("%s %x %d %s", p.Issuer, p.Anchor, epoch, p.MQTTPasswordLife)
	for _, s := range keys {
		made += fmt.Sprintf(" %s %s %d", s.ID, s.State, s.Changed.UnixNano())
		if s.Changed.After(changed) {
			changed = s.Changed
		}
	}
	if old != nil && old.made == made {
		return old, nil
	}
	r := &Ring{Issuer: p.Issuer, Anchor: p.Anchor, Epoch: epoch, MQTTPasswordLife: p.MQTTPasswordLife, made: made}
	for _, s := range p.Successions {
		r.Successions = append(r.Successions, protocol.Succession{From: s.From, Signed: s.Signed})
	}
	for _, s := range keys {
		if err := k.add(r, p.Name, &s); err != nil {
			return nil, fmt.Errorf("signing key %s: %w", s.ID, err)
		}
	}
	if r.Signer == nil {
		return nil, errors.New("no active signing key: run signet key rotate")
	}
	return r, k.addStatement(r, p, changed, epoch)
}

// add puts one signing key into the ring.
func (k *Keys) add(r *Ring, pool ident.Pool, s *broker.SigningKey) error {
	pub, err := x509.ParsePKIXPublicKey(s.Public)
	if err != nil {
		return err
	}
	key, err := token.NewKey(pub)
	if err != nil {
		return err
	}
	r.Verifiers = append(r.Verifiers, key)
	if s.State != broker.KeyActive {
		return nil
	}
	r.Signer, err = OpenSigner(k.secrets, broker.SigningKeyPurpose(pool, s.ID), s.Sealed)
	return err
}

// OpenSigner opens a private key (PKCS #8) that is sealed for purpose.
func OpenSigner(secrets Opener, purpose broker.Purpose, sealed []byte) (*token.Signer, error) {
	der, err := secrets.Open(purpose, sealed)
	if err != nil {
		return nil, err
	}
	priv, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("not a PKCS #8 key")
	}
	signer, ok := priv.(crypto.Signer)
	if !ok {
		return nil, errors.New("key cannot sign")
	}
	return token.NewSigner(signer)
}

// Later gives the time of a change to a pool's keys that comes after one of the time
// before: now, unless its key statement could not be told from the one before by it.
// Replicas' clocks differ, clocks are set back, and two changes may come at once.
func Later(now, before time.Time) time.Time {
	if least := before.Truncate(time.Millisecond).Add(time.Millisecond); now.Before(least) {
		return least
	}
	return now
}

// addStatement signs the key statement with the anchor, dated by the store's epoch and
// the latest change of a key or of the anchor, so that every replica makes the same.
func (k *Keys) addStatement(r *Ring, p *broker.Pool, at time.Time, epoch uint64) error {
	anchor, err := OpenSigner(k.secrets, broker.AnchorPurpose(p.Name), p.AnchorSealed)
	if err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	raw, err := k.secrets.Open(broker.AnswerPurpose(p.Name), p.AnswerSealed)
	if err != nil {
		return fmt.Errorf("answer key: %w", err)
	}
	answer, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		return fmt.Errorf("answer key: %w", err)
	}
	r.Statement, err = protocol.EncodeStatement(&protocol.Statement{
		Issuer: r.Issuer, Keys: r.Verifiers, SealTo: answer.PublicKey().Bytes(), Issued: at, Epoch: epoch,
	}, anchor)
	if err != nil {
		return err
	}
	r.StatementID, r.answer = protocol.StatementID(r.Statement), answer
	return nil
}

// For gives what the device lacks to believe the pool's keys, as its request q says.
func (r *Ring) For(q *protocol.Request, enrolling bool) (out protocol.PoolKeys) {
	if enrolling || !bytes.Equal(q.Statement, r.StatementID) { // it may be from before another anchor
		out.Statement, out.Successions = r.Statement, r.Successions
	}
	if enrolling || q.Statement == nil { // it may know nothing of the pool yet
		out.Anchor = r.Anchor
	}
	return out
}

// AnswerKey gives the X25519 key that the device is to seal a secret answer to, and what
// it lacks to believe that it is the pool's.
func (k *Keys) AnswerKey(ctx context.Context, q *protocol.Request, enrolling bool) ([]byte, protocol.PoolKeys, error) {
	r, err := k.Ring(ctx, q.Pool)
	if err != nil {
		return nil, protocol.PoolKeys{}, err
	}
	return r.answer.PublicKey().Bytes(), r.For(q, enrolling), nil
}

// OpenAnswer opens an answer that was sealed to AnswerKey with that transcript; the error
// of one that does not open wraps protocol.CodeMalformed.
func (k *Keys) OpenAnswer(ctx context.Context, pool ident.Pool, t protocol.Transcript, sealed []byte) ([]byte, error) {
	r, err := k.Ring(ctx, pool)
	if err != nil {
		return nil, err
	}
	answer, err := protocol.OpenAnswer(r.answer, t, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, protocol.CodeMalformed)
	}
	return answer, nil
}

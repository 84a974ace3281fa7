// Package access holds the rule of standing: who may connect as a device and by what
// proof, what the holder of a session may do now, and whether that still holds later.
// Every door asks it: MQTT's admission, review and upgrade, the refresh of tokens, the
// simulation.
//
// No token is a bearer credential here, but for MQTT passwords, which are good for
// nothing else. It makes no token, and writes nothing.
package access

import (
	"context"
	"errors"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// Reads is the part of a store that the rule reads. What is missing is broker.ErrNotFound.
type Reads interface {
	Pool(ctx context.Context, pool ident.Pool) (*broker.Pool, error)
	Client(ctx context.Context, pool ident.Pool, id string) (*broker.Client, error)
	Device(ctx context.Context, id ident.Device) (broker.Device, error)
	Session(ctx context.Context, id ident.UUID) (broker.Session, error)
	SessionsLike(ctx context.Context, id ident.Device, prefix ident.UUIDPrefix) ([]broker.Session, error)
}

// Tokens checks tokens that the broker itself gave.
type Tokens interface {
	// Verify gives the claims of an access token if it is genuine, of this pool, meant
	// for the broker and not expired, and the id of the signing key that it verifies by.
	Verify(ctx context.Context, pool ident.Pool, shown []byte) (claims *token.Claims, key string, err error)
	// VerifyMQTTPassword is Verify for an MQTT password.
	VerifyMQTTPassword(ctx context.Context, pool ident.Pool, shown []byte) (claims *token.Claims, key string, err error)
}

// Keys knows devices' keys.
type Keys interface {
	// Confirms reports whether d has the key that a token is bound to by c, and whether
	// that key made proof over input. It checks one proof at most.
	Confirms(d *broker.Device, c token.Confirmation, input, proof []byte) error
}

// A Rule applies the rule of standing to what is stored. It is safe for concurrent use.
type Rule struct {
	reads  Reads
	tokens Tokens
	keys   Keys
}

// New makes a Rule.
func New(reads Reads, tokens Tokens, keys Keys) *Rule {
	return &Rule{reads: reads, tokens: tokens, keys: keys}
}

// A Connect is a client that wants to connect as a device.
type Connect struct {
	Device   ident.Device
	ClientID string // as it says it; may be empty
	// Password is a protocol.ConnectProof, or an MQTT password as a JWT, a CWT or a CWT in
	// base64url.
	Password []byte
	Channel  Channel // that it is on
}

// Errors of Admit.
var (
	// ErrToken: what was shown is, or holds, no token that is valid now.
	ErrToken = errors.New("no valid token")
	// ErrBearer: a token was shown that is no password. Whoever saw it could show it.
	ErrBearer = errors.New("a token alone is no password: send a connect proof, or an MQTT password (docs/protocol.md, section 2)")
	// ErrChannel: a connect proof came on a connection that has no name to compare.
	ErrChannel = errors.New("a connect proof counts only on a TLS connection that ends here and exports a name (RFC 9266): authenticate by the exchange, or send an MQTT password")
	// ErrProof: the connect proof is not of this connection, or not by the token's key.
	ErrProof = errors.New("the connect proof is not the device's for this connection")
)

// Admit gives the standing of a client that proves itself to be that device. By a connect
// proof it lasts as long as the access token; by an MQTT password as long as the session,
// or as the password if the session cannot be refreshed. Errors are those above, those
// of Check if the session does not count any more, or the store's.
func (r *Rule) Admit(ctx context.Context, c Connect) (Standing, error) {
	if n := len(c.Password); n > protocol.MaxConnect {
		return Standing{}, fmt.Errorf("%w: a password of %d bytes, at most %d", ErrToken, n, protocol.MaxConnect)
	}
	if protocol.IsConnectProof(c.Password) {
		return r.proved(ctx, &c)
	}
	claims, key, err := r.tokens.VerifyMQTTPassword(ctx, c.Device.Pool, c.Password)
	if errors.Is(err, token.ErrType) {
		return Standing{}, fmt.Errorf("%w: %w", ErrBearer, err)
	}
	if err != nil {
		return Standing{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	d, s, err := r.read(ctx, c.Device, claims)
	if err != nil {
		return Standing{}, err
	}
	until := s.Expires
	if until.IsZero() {
		until = claims.Expires
	}
	return standing(&d, &s, claims, Standing{Expires: until, Key: key, Password: true})
}

// proved admits by a connect proof. What costs least comes first.
func (r *Rule) proved(ctx context.Context, c *Connect) (Standing, error) {
	if !c.Channel.Known() {
		return Standing{}, ErrChannel
	}
	p, err := protocol.DecodeConnectProof(c.Password)
	if err != nil {
		return Standing{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if !c.Channel.Is(p.Channel) {
		return Standing{}, fmt.Errorf("%w: it was made for another one: somebody in between passed it on", ErrProof)
	}
	return r.AdmitHolder(ctx, Holder{c.Device, p.Access, p.Input(c.ClientID), p.Proof})
}

// A Holder shows an access token and that it has the key to which that is bound.
type Holder struct {
	Device ident.Device
	Token  []byte // an access token in any of its forms
	// Input is what the proof covers. It must be of this one connection or question: the caller
	// has seen to that.
	Input []byte
	Proof []byte
}

// AdmitHolder gives the standing of a client that shows itself to be the holder of an access
// token, which lasts as long as the token. The proof is looked at last, because by then a token of the
// device's is there. Errors are those of Admit.
func (r *Rule) AdmitHolder(ctx context.Context, h Holder) (Standing, error) {
	claims, key, err := r.tokens.Verify(ctx, h.Device.Pool, h.Token)
	if err != nil {
		return Standing{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	d, s, err := r.read(ctx, h.Device, claims)
	if err != nil {
		return Standing{}, err
	}
	st, err := standing(&d, &s, claims, Standing{Expires: claims.Expires, Key: key})
	if err != nil {
		return Standing{}, err
	}
	if err := r.keys.Confirms(&d, claims.Confirmation, h.Input, h.Proof); err != nil {
		return Standing{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return st, nil
}

// standing is what a token of a session brings its device; by says how long, and by which token.
func standing(d *broker.Device, s *broker.Session, claims *token.Claims, by Standing) (Standing, error) {
	st := Of(s, by.Expires)
	st.Key, st.Password = by.Key, by.Password
	st.Subject = claims.Subject // not the session's: the two must agree
	return st.renewed(d, s)
}

// read finds a device and the session that its token names. A session that is not found
// is ErrEnded, because a session is kept longer than any token of it is valid; so is one
// whose client is gone.
func (r *Rule) read(ctx context.Context, id ident.Device, claims *token.Claims) (d broker.Device, s broker.Session, err error) {
	if d, err = r.reads.Device(ctx, id); err != nil {
		return d, s, err
	}
	s, err = r.session(ctx, id, claims)
	if err == nil {
		var c *broker.Client
		if c, err = r.reads.Client(ctx, id.Pool, s.Client); err == nil {
			err = CheckClient(c, &s)
		}
	}
	if errors.Is(err, broker.ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrEnded, err)
	}
	return d, s, err
}

// session finds the session that the token names by its id, or by the beginning of it. If
// two of the device's sessions begin alike, the token could be of either, so it counts for
// neither, and the device logs in again.
func (r *Rule) session(ctx context.Context, id ident.Device, claims *token.Claims) (broker.Session, error) {
	if !claims.OriginID.IsZero() {
		return r.reads.Session(ctx, claims.OriginID)
	}
	prefix, ok := claims.SessionPrefix()
	if !ok {
		return broker.Session{}, fmt.Errorf("%w: it names no session", ErrToken)
	}
	alike, err := r.reads.SessionsLike(ctx, id, prefix)
	if err != nil {
		return broker.Session{}, err
	}
	if len(alike) != 1 {
		return broker.Session{}, fmt.Errorf("%w: it may be of any of %d sessions", ErrToken, len(alike))
	}
	return alike[0], nil
}

// A Judge gives a standing as it is after a change, or false if it no longer holds, and then what the device may
// without any login (Recall), if it is still the same. It
// does not read the store, so it may be called with locks held.
type Judge func(Standing) (Standing, bool)

// Review reads what is stored of a device now, and of one of its sessions if that is what
// changed (zero: none did), and gives the Judge of the device's standings by it. A
// standing on another session is judged by what the standing itself says of that one.
// active is false when the device is not active or is gone: then no standing holds.
func (r *Rule) Review(ctx context.Context, id ident.Device, session ident.UUID) (judge Judge, active bool, err error) {
	d, err := r.reads.Device(ctx, id)
	if err != nil && !errors.Is(err, broker.ErrNotFound) {
		return nil, false, err
	}
	if err != nil || d.Status != broker.StatusActive {
		return func(Standing) (Standing, bool) { return Standing{}, false }, false, nil
	}
	var s *broker.Session
	if !session.IsZero() {
		x, err := r.reads.Session(ctx, session)
		if errors.Is(err, broker.ErrNotFound) {
			x, err = broker.Session{ID: session, Revoked: true}, nil
		}
		if err != nil {
			return nil, false, err
		}
		s = &x
	}
	return func(st Standing) (Standing, bool) {
		of := s
		if of != nil && of.ID != st.Session {
			of = nil
		}
		now, err := st.renewed(&d, of)
		if err != nil && st.Subject == d.Subject {
			now = recalled(&d)
		}
		return now, err == nil
	}, true, nil
}

// EndOf gives the Judge of a device's standings after it ended one of its sessions itself, as
// a record of the journal says. Nothing has to be read: a session that has ended stays so,
// and of the device nothing changed.
func EndOf(session ident.UUID) Judge {
	return func(st Standing) (Standing, bool) { return st, st.Session != session }
}

// Recall gives what a device may do whose MQTT session waits without a connection, after a
// restart: it rests on no login, so only what is kept for the device goes by it, and who comes
// for that must be admitted. Errors wrap broker.ErrInactive and broker.ErrNotFound.
func (r *Rule) Recall(ctx context.Context, id ident.Device) (Standing, error) {
	d, err := r.reads.Device(ctx, id)
	if err != nil {
		return Standing{}, err
	}
	if d.Status != broker.StatusActive {
		return Standing{}, fmt.Errorf("device is %s: %w", d.Status, broker.ErrInactive)
	}
	return recalled(&d), nil
}

func recalled(d *broker.Device) Standing {
	return Standing{Device: d.ID, Permissions: Permissions(d.ID), Subject: d.Subject, DeviceRev: d.Rev}
}

// ReviewPool gives the Judge of all standings in a pool after the write that a record of the
// journal tells of, and false if that write takes nothing from any of them. A standing ends
//
//   - that rests on an MQTT password, when the pool takes none any more,
//   - whose token was signed by a key that has left the pool's key set,
//   - whose session is of a client that was deleted.
//
// A key that is retired ends no session, also when it was stolen: none rests on it, because to begin
// and to renew one takes the device's own proof. Other settings hold from the next login or renewal on: they say what a device is asked and what it
// is given, not what it may do with what it was given. If the pool cannot be read, passwords end.
func (r *Rule) ReviewPool(ctx context.Context, rec *broker.Record) (Judge, bool) {
	var ends func(*Standing) bool
	name := rec.Subject // the record is the follower's
	switch {
	case rec.Kind == broker.RecordPool && rec.What == broker.WhatUpdate:
		if p, err := r.reads.Pool(ctx, rec.Pool); err == nil && p.MQTTPasswordLife != 0 {
			return nil, false
		}
		ends = func(st *Standing) bool { return st.Password }
	case rec.Kind == broker.RecordKey && rec.What == broker.WhatDelete:
		ends = func(st *Standing) bool { return st.Key == name }
	case rec.Kind == broker.RecordKind(broker.ClientKind().Name) && rec.What == broker.WhatDelete:
		ends = func(st *Standing) bool { return st.Client == name }
	default:
		return nil, false
	}
	return func(st Standing) (Standing, bool) {
		if !ends(&st) {
			return st, true
		}
		return Standing{Device: st.Device, Permissions: st.Permissions, Subject: st.Subject, DeviceRev: st.DeviceRev, Began: st.Began}, false
	}, true
}

// Package access holds the rule of standing: what the holder of an access token or a
// session may do now, and whether that still holds later. Every door asks it: MQTT's
// admission, review and upgrade, the refresh of tokens, the simulation.
//
// It checks no proof, makes no token, and writes nothing.
package access

import (
	"context"
	"errors"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// Reads is the part of a store that the rule reads. What is missing is broker.ErrNotFound.
type Reads interface {
	Device(ctx context.Context, id ident.Device) (broker.Device, error)
	Session(ctx context.Context, id ident.UUID) (broker.Session, error)
	SessionsLike(ctx context.Context, id ident.Device, prefix ident.UUIDPrefix) ([]broker.Session, error)
}

// Tokens checks access tokens that the broker itself gave.
type Tokens interface {
	// Verify gives the claims of an access token if it is genuine, of this pool, meant
	// for the broker and not expired.
	Verify(ctx context.Context, pool ident.Pool, shown []byte) (*token.Claims, error)
}

// A Rule applies the rule of standing to what is stored. It is safe for concurrent use.
type Rule struct {
	reads  Reads
	tokens Tokens
}

// New makes a Rule.
func New(reads Reads, tokens Tokens) *Rule { return &Rule{reads: reads, tokens: tokens} }

// ErrToken: what was shown is no access token that is valid now.
var ErrToken = errors.New("no valid access token")

// Admit gives the standing of whoever shows an access token of that device. Errors wrap
// ErrToken, or are those of Check if the session does not count any more, or the store's.
func (r *Rule) Admit(ctx context.Context, id ident.Device, shown []byte) (Standing, error) {
	claims, err := r.tokens.Verify(ctx, id.Pool, shown)
	if err != nil {
		return Standing{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	d, s, err := r.read(ctx, id, claims)
	if err != nil {
		return Standing{}, err
	}
	st := Of(&s, claims.Expires)
	st.Subject = claims.Subject // not the session's: the two must agree
	return st.renewed(&d, &s)
}

// read finds a device and the session that its token names. A session that is not found
// is ErrEnded, because a session is kept longer than any token of it is valid.
func (r *Rule) read(ctx context.Context, id ident.Device, claims *token.Claims) (d broker.Device, s broker.Session, err error) {
	if d, err = r.reads.Device(ctx, id); err != nil {
		return d, s, err
	}
	s, err = r.session(ctx, id, claims)
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

// A Judge gives a standing as it is after a change, or false if it no longer holds. It
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
		return now, err == nil
	}, true, nil
}

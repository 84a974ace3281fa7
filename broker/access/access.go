// Package access holds the rule of standing: from an access token or a session to
// what it may do now, and whether that still holds. Every door asks it: MQTT's
// admission, review and upgrade, the refresh of tokens, the simulation.
//
// It decides nothing about proofs, makes no token, and writes nothing.
package access

import (
	"context"
	"errors"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// Reads finds devices and what their logins left behind.
type Reads interface {
	Device(ctx context.Context, id ident.Device) (broker.Device, error)
	Session(ctx context.Context, id ident.UUID) (broker.Session, error)
	SessionsLike(ctx context.Context, id ident.Device, prefix ident.UUIDPrefix) ([]broker.Session, error)
}

// A Tokens checks access tokens that the broker itself gave.
type Tokens interface {
	// Verify gives the claims of one that is genuine, of this pool, for the broker and
	// not expired.
	Verify(ctx context.Context, pool ident.Pool, shown []byte) (*token.Claims, error)
}

// A Rule judges by what is stored. It is safe for concurrent use.
type Rule struct {
	reads  Reads
	tokens Tokens
}

// New makes a Rule.
func New(reads Reads, tokens Tokens) *Rule { return &Rule{reads: reads, tokens: tokens} }

// ErrToken: what was shown is no access token that is good now.
var ErrToken = errors.New("no valid access token")

// Admit gives the standing of whoever shows an access token of that device. Errors
// wrap ErrToken, or say as Check does why the token's session is over; others are the
// store's.
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

// read finds a device and the session that its token names. A session that is gone is
// over: its row outlives its last token.
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

// session finds what the token names by an id, or by the beginning of one. Where two of
// the device's sessions begin alike, nobody knows whose end would be the token's, so it
// counts for neither, and the device logs in again.
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

// A Judge says what a standing comes to after a change; false: it is over. It reads
// nothing, so that it can be called with locks held.
type Judge func(Standing) (Standing, bool)

// Review gives the judge of a device's standings by what is stored now: of the device,
// and of one of its sessions, when that is what changed (zero: none did). A standing
// on another session is judged by what it says of that itself. Of a device that is not
// active, or is gone, nothing holds: active is false.
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

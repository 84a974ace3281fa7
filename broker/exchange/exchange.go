// Package exchange is the whole conversation with devices: one message in, one
// message out. MQTT, HTTPS and a test's function call are adaptors to Respond.
//
// It imports auth, mint and the domain. It knows no transport and no database.
package exchange

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// Sessions is what the exchange writes: one call for each authentication.
type Sessions interface {
	RecordLogin(ctx context.Context, by broker.By, l broker.Login) (broker.Recorded, error)
	UpdateSession(ctx context.Context, by broker.By, id ident.UUID, change func(*broker.Session, *broker.Device) error) (broker.Session, error)
	Client(ctx context.Context, pool ident.Pool, id string) (broker.Client, error)
}

// Caller is what the transport knows of who sent a message. It names no device:
// that is the message's to claim and the proof's to bind.
type Caller struct {
	// Channel names the message's TLS connection, which ends in this process
	// (package channel); nil when there is none.
	Channel []byte
	// Remote is the address at the connection's other end, for the log; it may be empty.
	Remote string
}

// speaks reports whether the connection is the one on which the device says it
// said w. Otherwise someone else passes w on: a broker in between, or a thief.
func (c Caller) speaks(w *protocol.Request) bool {
	return len(c.Channel) == protocol.ChannelLen && subtle.ConstantTimeCompare(c.Channel, w.Channel) == 1
}

// Reply is an answer, and whom it admitted, if it is a grant.
type Reply struct {
	Message  []byte // nil: there is nobody to answer
	Admitted *Admission
}

// An Admission is the outcome of a successful authentication.
type Admission struct {
	Standing access.Standing
	// Here: the device itself is at the other end of the connection that asked, which
	// may go on with that standing. Not so when its messages were passed on.
	Here bool
}

// A Responder answers devices. It is safe for concurrent use.
type Responder struct {
	auth  *auth.Authenticator
	mint  *mint.Minter
	store Sessions
	log   *slog.Logger
}

// New makes a Responder.
func New(a *auth.Authenticator, m *mint.Minter, s Sessions, log *slog.Logger) *Responder {
	return &Responder{auth: a, mint: m, store: s, log: log}
}

// Respond answers one message. A refusal is a reply; its reason goes to the log.
func (r *Responder) Respond(ctx context.Context, from Caller, request []byte) Reply {
	began := time.Now()
	m, err := protocol.Decode(request)
	if err != nil {
		return r.undecodable(ctx, from, err)
	}
	answer, admitted, err := r.respond(ctx, from, m)
	if err != nil {
		answer, admitted = r.refuse(ctx, from, m, err), nil
		if errors.Is(err, auth.ErrProof) {
			level(ctx, began)
		}
	}
	raw, err := protocol.Encode(answer)
	if err != nil {
		r.log.ErrorContext(ctx, "encode reply", "err", err)
		return Reply{}
	}
	return Reply{Message: raw, Admitted: admitted}
}

// undecodable answers only bytes that say which call to answer.
func (r *Responder) undecodable(ctx context.Context, from Caller, err error) Reply {
	var d *protocol.DecodeError
	if !errors.As(err, &d) || d.ID == (protocol.CallID{}) {
		r.log.DebugContext(ctx, "undecodable message", "remote", from.Remote, "err", err)
		return Reply{}
	}
	r.log.DebugContext(ctx, "message refused", "remote", from.Remote, "call", hex.EncodeToString(d.ID[:]), "err", err)
	raw, err := protocol.Encode(protocol.Refuse(d.ID, protocol.ProblemDetail{Code: d.Code}))
	if err != nil {
		return Reply{}
	}
	return Reply{Message: raw}
}

func (r *Responder) respond(ctx context.Context, from Caller, m protocol.Message) (protocol.Message, *Admission, error) {
	switch m := m.(type) {
	case *protocol.Start:
		if err := mayOpen(from, &m.Request); err != nil {
			return nil, nil, err
		}
		c, err := r.auth.Start(ctx, m)
		return c, nil, err
	case *protocol.Enrol:
		if err := mayOpen(from, &m.Request); err != nil {
			return nil, nil, err
		}
		c, err := r.auth.Enrol(ctx, m)
		return c, nil, err
	case *protocol.Answer:
		return r.answer(ctx, from, m)
	case *protocol.Refresh:
		return r.refresh(ctx, from, m)
	}
	return nil, nil, fmt.Errorf("message type %d is not a request: %w", m.Type(), protocol.CodeMalformed)
}

// mayOpen refuses an unsealed grant to whoever might be listening in between.
func mayOpen(from Caller, w *protocol.Request) error {
	if w.SealTo == nil && !from.speaks(w) {
		return fmt.Errorf("unsealed grant asked for on another connection than the device's own: %w", protocol.CodeDenied)
	}
	return nil
}

func (r *Responder) answer(ctx context.Context, from Caller, m *protocol.Answer) (protocol.Message, *Admission, error) {
	p, next, err := r.auth.Answer(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	if next != nil {
		return next, nil, nil
	}
	if err := mayOpen(from, p.Request()); err != nil {
		return nil, nil, err
	}
	minted, err := r.mint.Login(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	found, err := r.store.RecordLogin(ctx, byOf(p), broker.Login{Session: minted.Session, Enrol: p.Enrolment()})
	if err != nil {
		return nil, nil, recordError(err, found.Status)
	}
	if found.Subject != minted.Session.Subject {
		return nil, nil, fmt.Errorf("device was made again meanwhile: %w", protocol.CodeBusy)
	}
	minted.Session.DeviceRev = found.DeviceRev
	r.logLogin(ctx, from, p, minted)
	g, admitted, err := deliver(from, p, minted)
	return g, admitted, err
}

// byOf says who writes when a device proved itself, and by which call.
func byOf(p *auth.Proven) broker.By {
	call := p.Call()
	return broker.By{Actor: broker.DeviceActor(p.Device().ID), Request: hex.EncodeToString(call[:])}
}

// logLogin tells of an enrolment always, of a device's daily login on request only:
// a fleet of millions would log nothing else.
func (r *Responder) logLogin(ctx context.Context, from Caller, p *auth.Proven, m *mint.Minted) {
	level, did := slog.LevelDebug, "authenticated"
	if p.Enrolment() != nil {
		level, did = slog.LevelInfo, "enrolled"
	}
	if !r.log.Enabled(ctx, level) {
		return
	}
	s := &m.Session
	r.log.Log(ctx, level, did, "device", s.Device.String(), "sub", s.Subject.String(), "session", s.ID.String(), "remote", from.Remote)
}

// recordError gives the device the code that fits what the store found.
func recordError(err error, found broker.Status) error {
	code := protocol.CodeInternal
	switch {
	case errors.Is(err, broker.ErrInactive) && found == broker.StatusPending:
		code = protocol.CodePending
	case errors.Is(err, broker.ErrInactive):
		code = protocol.CodeDisabled
	case errors.Is(err, broker.ErrKeyBound):
		code = protocol.CodeExists
	case errors.Is(err, broker.ErrExhausted), errors.Is(err, broker.ErrExpired), errors.Is(err, broker.ErrNotFound):
		code = protocol.CodeDenied
	case errors.Is(err, broker.ErrUsed):
		code = protocol.CodeReplayed
	}
	return fmt.Errorf("record login: %w: %w", err, code)
}

func (r *Responder) refresh(ctx context.Context, from Caller, m *protocol.Refresh) (protocol.Message, *Admission, error) {
	p, body, err := r.auth.Refresh(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	if err := mayOpen(from, p.Request()); err != nil {
		return nil, nil, err
	}
	client, err := r.store.Client(ctx, body.Pool, body.Client)
	if err != nil {
		return nil, nil, fmt.Errorf("client %q: %w: %w", body.Client, err, protocol.CodeDenied)
	}
	var reuse bool
	s, err := r.store.UpdateSession(ctx, byOf(p), body.Session, func(s *broker.Session, d *broker.Device) error {
		var err error
		reuse, err = r.mint.Rotate(p, body, &client, s, d)
		return err
	})
	if errors.Is(err, broker.ErrNotFound) {
		err = fmt.Errorf("%w: %w", err, protocol.CodeDenied)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("refresh: %w", err)
	}
	if reuse {
		r.log.WarnContext(ctx, "refresh token reuse: session ended, this device may have been cloned", "device", s.Device.String(), "session", s.ID.String())
		return nil, nil, fmt.Errorf("%w: %w", mint.ErrReuse, protocol.CodeDenied)
	}
	minted, err := r.mint.Refreshed(ctx, p, s)
	if err != nil {
		return nil, nil, err
	}
	return deliver(from, p, minted)
}

// deliver seals the grant to the device, or leaves it open where that was allowed.
func deliver(from Caller, p *auth.Proven, minted *mint.Minted) (protocol.Message, *Admission, error) {
	body, err := detcbor.Marshal(&minted.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("grant: %w", err)
	}
	g := &protocol.Grant{Head: protocol.Head{ID: p.Call()}}
	if to := p.Request().SealTo; to == nil {
		g.Open = body
	} else if g.Sealed, err = protocol.SealGrant(to, p.Transcript(), body); err != nil {
		return nil, nil, fmt.Errorf("grant: %w: %w", err, protocol.CodeMalformed)
	}
	return g, &Admission{Standing: access.Of(&minted.Session, minted.Expires), Here: from.speaks(p.Request())}, nil
}

// Seconds after which a device may ask again.
const (
	retryBusy = 1
	retryFull = 60 // somebody has to make room first
)

// seconds rounds up: who comes back after them is not too early.
func seconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

// refuse logs the cause, and who claims to be concerned, and gives the device its code:
// the one place where these meet.
func (r *Responder) refuse(ctx context.Context, from Caller, m protocol.Message, err error) protocol.Message {
	var code protocol.Code // zero: internal
	known := errors.As(err, &code)
	d := protocol.ProblemDetail{Code: code}
	var wrong *auth.WrongAnswer
	if errors.As(err, &wrong) {
		d.TriesLeft, d.RetryAfter = uint8(wrong.TriesLeft), seconds(wrong.Wait)
	}
	level := slog.LevelInfo
	switch {
	case errors.Is(err, broker.ErrFull): // the device can only wait; an operator must hear of it
		d.Code, d.RetryAfter, level = protocol.CodeBusy, retryFull, slog.LevelError
	case code == protocol.CodeBusy:
		d.RetryAfter = retryBusy
	case !known, code == protocol.CodeInternal:
		level = slog.LevelError
	}
	call, who := m.Call(), ""
	if claimed := r.auth.Claimed(m); !claimed.IsZero() {
		who = claimed.String()
	}
	r.log.Log(ctx, level, "refused", "device", who, "code", d.Code.String(), "err", err,
		"type", int(m.Type()), "call", hex.EncodeToString(call[:]), "remote", from.Remote)
	return protocol.Refuse(m.Call(), d)
}

// Package exchange is the whole conversation with devices: one message in, one
// message out. MQTT, HTTPS and a test's function call are adaptors to Respond. What
// stands around it (limits, log, metrics and so on) wraps Handle: package wrap.
//
// It knows no transport and no database.
package exchange

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// Sessions is the part of a store that the exchange writes: one call for each login or
// refresh.
type Sessions interface {
	RecordLogin(ctx context.Context, by broker.By, l broker.Login) (broker.Recorded, error)
	UpdateSession(ctx context.Context, by broker.By, id ident.UUID, change func(*broker.Session, *broker.Device) error) (broker.Session, error)
}

// Conversation is the innermost Handler: it authenticates, mints and records. It logs
// nothing and limits nothing; wrappers do. It is safe for concurrent use.
type Conversation struct {
	auth  *auth.Flows
	mint  *mint.Minter
	store Sessions
	pace  pacing
}

// New makes a Conversation.
func New(a *auth.Flows, m *mint.Minter, s Sessions, p Pace) *Conversation {
	return &Conversation{auth: a, mint: m, store: s, pace: p.pacing()}
}

// Handle answers one message.
func (c *Conversation) Handle(ctx context.Context, from Caller, m protocol.Message) Outcome {
	reply, admitted, err := c.answerTo(ctx, from, m)
	if err != nil {
		return Refuse(m, err)
	}
	out := Outcome{Reply: reply, Admitted: admitted}
	if admitted != nil {
		out.Claimed, out.KeyReplaced, out.Cloned = admitted.Standing.Device, admitted.KeyReplaced, admitted.Cloned
	} else {
		out.Claimed = claimed(m)
	}
	return out
}

func (c *Conversation) answerTo(ctx context.Context, from Caller, m protocol.Message) (protocol.Message, *Admission, error) {
	switch m := m.(type) {
	case *protocol.Start:
		if err := checkConnection(from, &m.Request); err != nil {
			return nil, nil, err
		}
		next, err := c.auth.Start(ctx, from.Remote.Addr(), m)
		return next, nil, err
	case *protocol.Enroll:
		if err := checkConnection(from, &m.Request); err != nil {
			return nil, nil, err
		}
		next, err := c.auth.Enroll(ctx, from.Remote.Addr(), m)
		return next, nil, err
	case *protocol.Answer:
		return c.answer(ctx, from, m)
	case *protocol.Refresh:
		return c.refresh(ctx, from, m)
	}
	return nil, nil, fmt.Errorf("message type %d is not a request: %w", m.Type(), protocol.CodeMalformed)
}

// checkConnection refuses a request for an unsealed grant that does not come on the device's
// own connection: whoever is in between could read it. And one for a connection that is not the
// one on which it comes: whoever is in between would get that.
func checkConnection(from Caller, q *protocol.Request) error {
	if from.OnlyHere && !from.Channel.Is(q.Channel) {
		return fmt.Errorf("the connection is asked for by a message that does not name it, or that somebody passed on: %w", protocol.CodeDenied)
	}
	if q.SealTo == nil && !from.Channel.EndsHere(q.Channel) {
		return fmt.Errorf("unsealed grant asked for on another connection than the device's own: %w", protocol.CodeDenied)
	}
	return nil
}

func (c *Conversation) answer(ctx context.Context, from Caller, m *protocol.Answer) (protocol.Message, *Admission, error) {
	p, next, err := c.auth.Answer(ctx, from.Remote.Addr(), m)
	if err != nil {
		return nil, nil, err
	}
	if next != nil {
		return next, nil, nil
	}
	// Once more: the answer may come on another connection than the opening message did.
	if err := checkConnection(from, p.Request()); err != nil {
		return nil, nil, err
	}
	giveBack, err := c.pace.grant(p.Device().ID, p.At())
	if err != nil {
		return nil, nil, err
	}
	recorded := false
	defer func() {
		if !recorded {
			giveBack()
		}
	}()
	// Minted before it is recorded, and handed out after: once recorded, the exchange is
	// spent, and a grant that then failed to be made would leave the device with nothing.
	minted, err := c.mint.Login(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	minted.Session.From = from.host()
	found, err := c.store.RecordLogin(ctx, byOf(p), broker.Login{
		Session: minted.Session, Enroll: p.Enrollment(), MaxSessions: p.Client().MaxSessions, Seen: p.Seen(), SeenSum: p.SeenSum(), Clones: p.Clones(),
	})
	if err != nil {
		err = recordError(err, found.Status)
		if found.KeyReplaced {
			err = &replacedKey{p.Enrollment().TokenID, err}
		}
		if found.Cloned {
			err = &clonedDevice{cloneIn(&found), err}
		}
		return nil, nil, err
	}
	recorded = true
	if found.Subject != minted.Session.Subject {
		return nil, nil, fmt.Errorf("device was made again meanwhile: %w", protocol.CodeBusy)
	}
	minted.Session.DeviceRev = found.DeviceRev
	g, admitted, err := grant(from, p, &minted)
	if err == nil && p.Enrollment() != nil {
		admitted.Enrolled = true
		if found.KeyReplaced {
			admitted.KeyReplaced = p.Enrollment().TokenID
		}
	}
	if err == nil && found.Cloned {
		admitted.Cloned = cloneIn(&found)
	}
	return g, admitted, err
}

// byOf names the proven device as the one who writes, and its call as the request.
func byOf(p *auth.Proven) broker.By {
	call := p.Call()
	return broker.By{Actor: broker.DeviceActor(p.Device().ID), Request: hex.EncodeToString(call[:])}
}

// recordError adds the code for the device to the error of RecordLogin; found is the
// device's status.
func recordError(err error, found broker.Status) error {
	code := protocol.CodeInternal
	switch {
	case errors.Is(err, broker.ErrInactive):
		code = auth.CodeOf(found)
	case errors.Is(err, broker.ErrKeyBound):
		code = protocol.CodeExists
	case errors.Is(err, broker.ErrExhausted), errors.Is(err, broker.ErrExpired), errors.Is(err, broker.ErrNotFound), errors.Is(err, broker.ErrNotFor):
		code = protocol.CodeDenied
	case errors.Is(err, broker.ErrUsed):
		code = protocol.CodeReplayed
	case errors.Is(err, broker.ErrOvertaken): // it begins anew
		code = protocol.CodeExpired
	}
	return fmt.Errorf("record login: %w: %w", err, code)
}

func (c *Conversation) refresh(ctx context.Context, from Caller, m *protocol.Refresh) (protocol.Message, *Admission, error) {
	p, body, err := c.auth.Refresh(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	if err := checkConnection(from, p.Request()); err != nil {
		return nil, nil, err
	}
	var rotated mint.Rotation
	giveBack := func() {}
	s, err := c.store.UpdateSession(ctx, byOf(p), body.Session, func(s *broker.Session, d *broker.Device) error {
		giveBack() // a store may have it made again
		giveBack = func() {}
		var err error
		rotated, err = c.mint.Rotate(p, body, p.Client(), s, d)
		if err != nil || rotated.Reuse {
			return err
		}
		counted, err := c.pace.renewal(p, s, &rotated)
		if err == nil {
			giveBack = counted
		}
		return err
	})
	if errors.Is(err, broker.ErrNotFound) {
		err = fmt.Errorf("%w: %w", err, protocol.CodeDenied)
	}
	if err != nil {
		giveBack()
		return nil, nil, fmt.Errorf("refresh: %w", err)
	}
	if rotated.Reuse {
		return nil, nil, &reused{s.ID}
	}
	minted, err := c.mint.Refreshed(ctx, p, s, &rotated)
	if err != nil {
		return nil, nil, err
	}
	g, admitted, err := grant(from, p, &minted)
	if err == nil {
		admitted.Refreshed = true
	}
	return g, admitted, err
}

// reused is the error of a refresh that ended its session.
type reused struct{ session ident.UUID }

func (e *reused) Error() string { return mint.ErrReuse.Error() }

// Unwrap gives the cause, and what the device hears of it.
func (e *reused) Unwrap() []error { return []error{mint.ErrReuse, protocol.CodeDenied} }

// replacedKey is the error of an enrollment that was written, with other keys than the
// device had, and gets no session because the device has to wait for approval.
type replacedKey struct {
	token string
	err   error
}

func (e *replacedKey) Error() string { return e.err.Error() }

// Unwrap gives why it gets none.
func (e *replacedKey) Unwrap() error { return e.err }

// clonedDevice is the error of a login that got no session because two copies of the
// device's key are in use.
type clonedDevice struct {
	clone *Clone
	err   error
}

func cloneIn(found *broker.Recorded) *Clone {
	return &Clone{found.Other, found.OtherFrom, found.Status == broker.StatusQuarantined}
}

func (e *clonedDevice) Error() string { return broker.ReasonCloned + ": " + e.err.Error() }

// Unwrap gives what became of the device.
func (e *clonedDevice) Unwrap() error { return e.err }

// grant makes the message that hands the tokens over: sealed to the device, or open if
// checkConnection allowed that.
func grant(from Caller, p *auth.Proven, minted *mint.Minted) (protocol.Message, *Admission, error) {
	here := from.Channel.Is(p.Request().Channel)
	minted.Body.Direct = here
	body := minted.Body.Encode()
	g := &protocol.Grant{Head: protocol.Head{ID: p.Call()}}
	if to := p.Request().SealTo; to == nil {
		g.Open = body
	} else {
		var err error
		if g.Sealed, err = protocol.SealGrant(to, p.Transcript(), body); err != nil {
			return nil, nil, fmt.Errorf("grant: %w: %w", err, protocol.CodeMalformed)
		}
	}
	return g, &Admission{Standing: access.Of(&minted.Session, minted.Until), Here: here, Newer: minted.Newer}, nil
}

// Seconds after which a device may ask again.
const (
	retryBusy = 1
	retryFull = 60 // somebody has to make room first
)

// seconds rounds up, so that whoever waits so long does not come too early.
func seconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

// Refuse makes the Outcome of an error. It is the one place that decides which code and
// which waiting time a device hears for which cause.
func Refuse(m protocol.Message, err error) Outcome {
	out := Outcome{Claimed: claimed(m), Err: err}
	var d protocol.ProblemDetail
	_ = errors.As(err, &d.Code) // none is in it: internal
	if wrong, ok := errors.AsType[*auth.WrongAnswer](err); ok {
		d.TriesLeft, d.RetryAfter = uint8(wrong.TriesLeft), seconds(wrong.Wait)
	}
	if r, ok := errors.AsType[*reused](err); ok {
		out.Ended = r.session
	}
	if r, ok := errors.AsType[*replacedKey](err); ok {
		out.KeyReplaced = r.token
	}
	if c, ok := errors.AsType[*clonedDevice](err); ok {
		out.Cloned = c.clone
	}
	often, _ := errors.AsType[*TooOften](err)
	switch {
	case often != nil:
		d.RetryAfter = seconds(often.Wait)
	case errors.Is(err, broker.ErrFull): // the device can only wait; an operator must hear of it
		d.Code, d.RetryAfter = protocol.CodeBusy, retryFull
	case d.Code == protocol.CodeBusy:
		d.RetryAfter = retryBusy
	}
	out.Code, out.Reply = d.Code, protocol.Refuse(m.Call(), d)
	return out
}

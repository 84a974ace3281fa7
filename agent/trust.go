package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
)

// readStatement checks raw with the anchor, a COSE_Key that is believed already.
func readStatement(anchor, raw []byte) (*protocol.Statement, error) {
	key, err := token.ParseCOSEKey(anchor)
	if err != nil {
		return nil, fmt.Errorf("%w: anchor: %w", ErrGrant, err)
	}
	s, err := protocol.DecodeStatement(raw, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGrant, err)
	}
	return s, nil
}

// accept opens a grant, checks that the pool made it for this very call, makes
// what must last durable, and only then believes it.
func (a *Agent) accept(ctx context.Context, c *call, m *protocol.Grant) (*Tokens, error) {
	arrived := a.cfg.Clock()
	if m.Sealed == nil {
		return nil, fmt.Errorf("%w: it is not sealed, and this device asked for that", ErrGrant)
	}
	plain, err := protocol.OpenGrant(c.ephemeral, c.transcript, m.Sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGrant, err)
	}
	body, err := protocol.DecodeGrantBody(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGrant, err)
	}
	s, err := c.believe(body)
	if err != nil {
		return nil, err
	}
	issued, err := c.checkID(s, body)
	if err != nil {
		return nil, err
	}
	t := &Tokens{
		Access: body.Access, ID: body.ID, IDJWT: body.IDJWT, Format: c.format, Subject: body.Subject, Issuer: body.Issuer, Session: body.Session,
		Publish: body.Publish, Subscribe: body.Subscribe, Life: time.Duration(body.Life) * time.Second, Arrived: arrived, Signed: issued,
	}
	return t, a.adopt(ctx, c, body, t)
}

// believe finds the anchor and the key statement to use, and puts them into the call's record.
func (c *call) believe(body *protocol.GrantBody) (*protocol.Statement, error) {
	if body.Anchor != nil && (c.record.Anchor == nil || c.enrolling != nil) {
		c.record.Anchor = body.Anchor
	}
	if c.record.Anchor == nil {
		return nil, fmt.Errorf("%w: %w: the broker sent no anchor and none is stored", ErrGrant, ErrNoAnchor)
	}
	anchor, err := token.ParseCOSEKey(c.record.Anchor)
	if err != nil {
		return nil, fmt.Errorf("%w: anchor: %w", ErrGrant, err)
	}
	if thumb := anchor.Thumbprint(); !bytes.HasPrefix(thumb[:], c.pin) {
		return nil, fmt.Errorf("%w: the anchor is not the pinned one", ErrGrant)
	}
	c.record.Anchor, c.record.Pin = anchor.MarshalCOSE(), c.pin
	raw := body.Statement
	if raw == nil {
		raw = c.record.Statement
	}
	if raw == nil {
		return nil, fmt.Errorf("%w: no key statement came and none is stored", ErrGrant)
	}
	s, err := readStatement(c.record.Anchor, raw)
	if err != nil {
		return nil, err
	}
	if old := c.record.Statement; old != nil && body.Statement != nil {
		stored, err := readStatement(c.record.Anchor, old)
		if err == nil && s.Before(stored) {
			return nil, fmt.Errorf("%w: its key statement is older than the one stored", ErrGrant)
		}
	}
	if s.Issuer != body.Issuer || c.issuer != "" && c.issuer != body.Issuer {
		return nil, fmt.Errorf("%w: issuer is %q in the grant, %q in the key statement", ErrGrant, body.Issuer, s.Issuer)
	}
	c.record.Statement = raw
	return s, nil
}

// checkID checks the ID token, the broker's own proof that it is there and now:
// it carries this call's nonce. It gives the time at which it was made.
func (c *call) checkID(s *protocol.Statement, body *protocol.GrantBody) (time.Time, error) {
	claims, err := token.ParseCWT(body.ID, token.ID, s.Key)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: ID token: %w", ErrGrant, err)
	}
	switch {
	case !bytes.Equal(claims.Nonce, c.nonce):
		err = errors.New("it is not for this call")
	case claims.Issuer != body.Issuer:
		err = fmt.Errorf("issuer is %q, want %q", claims.Issuer, body.Issuer)
	case claims.Subject != body.Subject, !claims.Device.IsZero() && claims.Device != c.record.Device:
		err = errors.New("it is about another device")
	case !c.record.Subject.IsZero() && c.enrolling == nil && c.record.Subject != body.Subject:
		err = errors.New("the device's subject has changed")
	case claims.IssuedAt.Unix() <= 0:
		err = errors.New("it does not say when it was made")
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: ID token: %w", ErrGrant, err)
	}
	return claims.IssuedAt, nil
}

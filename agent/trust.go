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
	switch {
	case errors.Is(err, token.ErrSignature), errors.Is(err, token.ErrAlgorithm):
		return nil, fmt.Errorf("%w: %w: %w", ErrGrant, ErrAnchor, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrGrant, err)
	}
	return s, nil
}

// stored is the key statement that the device has, nil if it has none that holds.
func (c *call) stored() *protocol.Statement {
	if c.record.Anchor == nil || c.record.Statement == nil {
		return nil
	}
	s, err := readStatement(c.record.Anchor, c.record.Statement)
	if err != nil {
		return nil
	}
	return s
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
	s, err := c.believe(&body.PoolKeys, body.Issuer)
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

// anchor finds the anchor to believe and puts it and its pin into the call's record: the
// one that is stored or, in an enrollment or when none is, the one that came; and when the
// pool's anchor was replaced since, the one that the replaced ones lead to. From then on
// the device knows that one only, so the old ones' owners cannot lead it back.
func (c *call) anchor(came *protocol.PoolKeys) (*token.Key, error) {
	anchor, err := protocol.Follow(c.pin, came.Successions)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGrant, err)
	}
	if anchor != nil {
		thumb := anchor.Thumbprint()
		c.pin = thumb[:protocol.PinLen]
		c.record.Anchor, c.record.Pin = anchor.MarshalCOSE(), c.pin
		return anchor, nil
	}
	raw := c.record.Anchor
	if came.Anchor != nil && (raw == nil || c.enrolling != nil) {
		raw = came.Anchor
	}
	if raw == nil {
		return nil, fmt.Errorf("%w: %w: the broker sent no anchor and none is stored", ErrGrant, ErrNoAnchor)
	}
	if anchor, err = token.ParseCOSEKey(raw); err != nil {
		return nil, fmt.Errorf("%w: anchor: %w", ErrGrant, err)
	}
	if thumb := anchor.Thumbprint(); !bytes.HasPrefix(thumb[:], c.pin) {
		return nil, fmt.Errorf("%w: %w", ErrGrant, ErrAnchor)
	}
	c.record.Anchor, c.record.Pin = anchor.MarshalCOSE(), c.pin
	return anchor, nil
}

// believe finds the anchor and the key statement to use for a pool of that issuer, and puts
// them into the call's record. They came in a grant or, before any secret leaves the
// device, in a challenge.
func (c *call) believe(came *protocol.PoolKeys, issuer string) (*protocol.Statement, error) {
	before := c.stored()
	if _, err := c.anchor(came); err != nil {
		return nil, err
	}
	raw := came.Statement
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
	if before != nil && s.Before(before) {
		return nil, fmt.Errorf("%w: %w", ErrGrant, ErrOlder)
	}
	if s.Issuer != issuer || c.issuer != "" && c.issuer != issuer {
		return nil, fmt.Errorf("%w: issuer is %q, in the key statement %q", ErrGrant, issuer, s.Issuer)
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

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
func (r *Record) stored() *protocol.Statement {
	if r.Anchor == nil || r.Statement == nil {
		return nil
	}
	s, err := readStatement(r.Anchor, r.Statement)
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

// anchor puts the anchor to believe and its pin into the call's record. From then on the
// device knows that one only, so the owners of those before it cannot lead it back, by an
// enrollment token that pins one of them neither: what the token pins must have led to the
// same anchor.
func (c *call) anchor(came *protocol.PoolKeys) error {
	anchor, err := c.find(came)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGrant, err)
	}
	thumb := anchor.Thumbprint()
	if c.tokenPin != nil {
		switch last, err := protocol.Follow(c.tokenPin, came.Successions); {
		case err != nil:
			return fmt.Errorf("%w: %w", ErrGrant, err)
		case last == nil && !bytes.HasPrefix(thumb[:], c.tokenPin), last != nil && last.Thumbprint() != thumb:
			return fmt.Errorf("%w: %w: the enrollment token is for another anchor than the one that the device believes", ErrGrant, ErrAnchor)
		}
	}
	c.pin, c.tokenPin = thumb[:protocol.PinLen], nil
	c.record.Anchor, c.record.Pin = anchor.MarshalCOSE(), c.pin
	return nil
}

// find gives the anchor to believe: the one that is stored or, when none is, the one that
// came; and when the pool's anchor was replaced since, the one that the replaced ones lead to.
func (c *call) find(came *protocol.PoolKeys) (*token.Key, error) {
	anchor, err := protocol.Follow(c.pin, came.Successions)
	if anchor != nil || err != nil {
		return anchor, err
	}
	raw := c.record.Anchor
	if raw == nil {
		raw = came.Anchor
	}
	if raw == nil {
		return nil, fmt.Errorf("%w: the broker sent no anchor and none is stored", ErrNoAnchor)
	}
	if anchor, err = token.ParseCOSEKey(raw); err != nil {
		return nil, fmt.Errorf("anchor: %w", err)
	}
	if thumb := anchor.Thumbprint(); !bytes.HasPrefix(thumb[:], c.pin) {
		return nil, ErrAnchor
	}
	return anchor, nil
}

// readStatement reads the key statement that came, or the stored one when none did, by
// the anchor to believe.
func (c *call) readStatement(came []byte) (s *protocol.Statement, raw []byte, err error) {
	if raw = came; raw == nil {
		raw = c.record.Statement
	}
	if raw == nil {
		return nil, nil, fmt.Errorf("%w: no key statement came and none is stored", ErrGrant)
	}
	s, err = readStatement(c.record.Anchor, raw)
	return s, raw, err
}

// believe finds the anchor and the key statement to use for a pool of that issuer, and puts
// them into the call's record. They came in a grant or, before any secret leaves the
// device, in a challenge.
func (c *call) believe(came *protocol.PoolKeys, issuer string) (*protocol.Statement, error) {
	before, by := c.record.stored(), c.record.Anchor
	if err := c.anchor(came); err != nil {
		return nil, err
	}
	s, raw := before, c.record.Statement
	if came.Statement != nil || s == nil || !bytes.Equal(by, c.record.Anchor) {
		var err error
		if s, raw, err = c.readStatement(came.Statement); err != nil {
			return nil, err
		}
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

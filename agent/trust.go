package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/token"
)

// A statement is a pool's word about its keys, signed by its anchor. Later
// versions may add keys to the map.
type statement struct {
	Issuer string             `cbor:"1,keyasint"`
	Keys   detcbor.RawMessage `cbor:"2,keyasint"` // COSE_KeySet: what tokens are signed with
	SealTo []byte             `cbor:"3,keyasint,omitempty"`
	Issued int64              `cbor:"4,keyasint"` // Unix seconds

	keys []*token.Key
}

// readStatement checks raw with the anchor, a COSE_Key that is believed already.
func readStatement(anchor, raw []byte) (*statement, error) {
	key, err := token.ParseCOSEKey(anchor)
	if err != nil {
		return nil, fmt.Errorf("%w: anchor: %w", ErrGrant, err)
	}
	payload, err := token.OpenSign1(raw, token.KeyStatement, key, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: key statement: %w", ErrGrant, err)
	}
	var s statement
	if err := detcbor.UnmarshalExtensible(payload, &s); err != nil {
		return nil, fmt.Errorf("%w: key statement: %w", ErrGrant, err)
	}
	if s.keys, err = token.ParseCOSEKeySet(s.Keys); err != nil {
		return nil, fmt.Errorf("%w: key statement: %w", ErrGrant, err)
	}
	return &s, nil
}

// find gives the pool's key that kid names.
func (s *statement) find(kid []byte) (*token.Key, error) {
	for _, k := range s.keys {
		if bytes.Equal(k.COSEKID(), kid) {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%w: the key statement does not have it", token.ErrUnknownKey)
}

// accept opens a grant, checks that the pool made it for this very call, makes
// what must last durable, and only then believes it.
func (a *Agent) accept(ctx context.Context, c *call, m *protocol.Grant) (*Grant, error) {
	arrived := a.cfg.Clock()
	if m.Sealed == nil {
		return nil, fmt.Errorf("%w: it is not sealed, and this device asked for that", ErrGrant)
	}
	plain, err := protocol.OpenGrant(c.ephemeral, c.said, m.Sealed)
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
	g := &Grant{
		Access: body.Access, ID: body.ID, IDJWT: body.IDJWT, Format: c.format, Subject: body.Subject, Issuer: body.Issuer, Session: body.Session,
		Publish: body.Publish, Subscribe: body.Subscribe, Life: time.Duration(body.Life) * time.Second, Arrived: arrived, Signed: issued,
	}
	return g, a.keep(ctx, c, body, g)
}

// believe finds the anchor and the key statement to use, and puts them into the call's record.
func (c *call) believe(body *protocol.GrantBody) (*statement, error) {
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
		before, err := readStatement(c.record.Anchor, old)
		if err == nil && before.Issued > s.Issued {
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
func (c *call) checkID(s *statement, body *protocol.GrantBody) (time.Time, error) {
	claims, err := token.ParseCWT(body.ID, token.ID, s.find)
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

// keep saves the record that follows from the grant and then adopts both. A device
// whose disk is full goes on in memory: after a restart its old refresh token may be
// of no use, but its key is. Only an enrolment must be durable before it counts.
func (a *Agent) keep(ctx context.Context, c *call, body *protocol.GrantBody, g *Grant) error {
	r := c.record
	r.Enrolled, r.Subject, r.Issuer = true, body.Subject, body.Issuer
	if iat := g.Signed.Unix(); iat > r.Floor {
		r.Floor = iat
	}
	if body.Refresh != nil {
		r.Session, r.Refresh = body.Session, body.Refresh
	}
	unsaved := a.cfg.State.Save(ctx, r)
	if unsaved != nil {
		unsaved = fmt.Errorf("save state: %w", unsaved)
		if c.enrolling != nil || !c.record.Enrolled {
			return unsaved
		}
		a.cfg.Log.Warn("going on without", "err", unsaved)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status.Unsaved = unsaved
	a.record = r
	a.signed = signedTime{at: g.Signed, heard: g.Arrived}
	if c.usual {
		a.current = g
	}
	return nil
}

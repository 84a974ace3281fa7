package mint

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol"
)

// ErrReuse: a refresh token came back that had been replaced. Somebody has a copy;
// the session is over.
var ErrReuse = errors.New("refresh token used again after it was replaced")

// Rotate is the change that a refresh makes to its session, inside the store's
// transaction. The current token brings its successor. The one before it, while
// its successor is unused and within grace, brings the same successor again: the
// answer was lost, or two requests raced. Anything else ends the whole family; the
// caller must write s even then, so Rotate reports reuse apart from its error.
func (m *Minter) Rotate(p *auth.Proven, body *protocol.RefreshBody, c *broker.Client, s *broker.Session, d *broker.Device) (reuse bool, err error) {
	switch {
	case s.Device != p.Device().ID || s.Client != body.Client:
		return false, fmt.Errorf("session of another device or client: %w", protocol.CodeDenied)
	case d.Status != broker.StatusActive:
		return false, fmt.Errorf("device is %s: %w", d.Status, protocol.CodeDisabled)
	case s.Ended(d):
		return false, fmt.Errorf("session was ended: %w", protocol.CodeDenied)
	case s.Expires.IsZero() || !p.At().Before(s.Expires):
		return false, fmt.Errorf("refresh token: %w", protocol.CodeExpired)
	}
	call := p.Call()
	switch {
	case bytes.Equal(body.Handle, s.Handle):
		s.Previous = s.Handle
		s.Generation++
		s.Handle = handleOf(m.refreshToken(s.ID, s.Generation))
		s.Rotated, s.Call = p.At(), call[:]
		return false, nil
	case bytes.Equal(body.Handle, s.Previous) && (bytes.Equal(s.Call, call[:]) || p.At().Sub(s.Rotated) <= c.Grace):
		if bugSuccessor {
			s.Generation++
			s.Handle = handleOf(m.refreshToken(s.ID, s.Generation))
		}
		return false, nil
	}
	s.Revoked = true
	return true, nil
}

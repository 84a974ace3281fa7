package mint

import (
	"bytes"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol"
)

// ErrReuse: a refresh token came back that had been replaced. Somebody has a copy;
// the session is over.
var ErrReuse = errors.New("refresh token used again after it was replaced")

// Rotate is the change that a refresh makes to its session, inside the store's
// transaction. The current token brings its successor. The one before it, while its
// successor is unused, brings the same successor again within grace, or at any time
// to the same request: the answer was lost, or two requests raced. A request that
// was granted before and comes again later is refused and ends nothing, for any
// MQTT broker on the way can send it again. Anything else ends the whole family; the
// caller must write s even then, so Rotate reports reuse apart from its error.
//
// A request that was held back on its first way and comes when its token is long
// replaced looks like a thief's, and ends the family: the device authenticates anew.
func (m *Minter) Rotate(p *auth.Proven, body *protocol.RefreshBody, c *broker.Client, s *broker.Session, d *broker.Device) (reuse bool, err error) {
	over := access.Check(d, s)
	switch {
	case s.Device != p.Device().ID || s.Client != body.Client:
		return false, fmt.Errorf("session of another device or client: %w", protocol.CodeDenied)
	case errors.Is(over, broker.ErrInactive):
		return false, fmt.Errorf("%w: %w", over, protocol.CodeDisabled)
	case over != nil:
		return false, fmt.Errorf("%w: %w", over, protocol.CodeDenied)
	case s.Expires.IsZero() || !p.At().Before(s.Expires):
		return false, fmt.Errorf("refresh token: %w", protocol.CodeExpired)
	}
	// What the proof covers, not the message: its call id, and an ECDSA proof's own
	// form, can be changed on the way.
	said := p.Transcript()
	mark := said[:broker.RequestMark]
	granted := remembered(s.Requests, mark)
	switch {
	case hmac.Equal(body.Handle, s.Handle):
		s.Previous = s.Handle
		s.Generation++
		s.Handle = handleOf(m.refreshToken(s.ID, s.Generation))
		s.Rotated = p.At()
		remember(s, mark)
		return false, nil
	case hmac.Equal(body.Handle, s.Previous) && (granted || p.At().Sub(s.Rotated) <= c.Grace):
		if !granted {
			remember(s, mark)
		}
		return false, nil
	}
	if granted {
		return false, fmt.Errorf("refresh was granted before: %w", protocol.CodeReplayed)
	}
	s.Revoked = true
	return true, nil
}

func remembered(requests, mark []byte) bool {
	for r := range slices.Chunk(requests, broker.RequestMark) {
		if bytes.Equal(r, mark) {
			return true
		}
	}
	return false
}

func remember(s *broker.Session, mark []byte) {
	all := slices.Concat(mark, s.Requests)
	s.Requests = all[:min(len(all), broker.MaxRequests*broker.RequestMark)]
}

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

// ErrReuse: a refresh token was used after it had been replaced, so somebody has a copy.
// The session is ended.
var ErrReuse = errors.New("refresh token used again after it was replaced")

// Rotate makes the change of a refresh to its session s, inside the store's transaction:
//
//   - The current refresh token gets its successor.
//   - The token before it gets the same successor again, as long as nobody has used that:
//     the answer was lost, or two requests raced. For the same request this holds at any
//     time, for another one within the client's grace.
//   - A request that was granted before is refused when it comes again later, and ends
//     nothing: any MQTT broker on the way can send it again.
//   - Every other token ends the session: reuse is true. It is not an error, because the
//     caller must write s then, too.
//
// A request that was held back on the way until its token was long replaced looks like a
// thief's, and ends the session: the device authenticates anew.
func (m *Minter) Rotate(p *auth.Proven, body *protocol.RefreshBody, c *broker.Client, s *broker.Session, d *broker.Device) (reuse bool, err error) {
	over := access.Check(d, s)
	switch {
	case s.Device != p.Device().ID || s.Client != c.ID:
		return false, fmt.Errorf("session of another device or client: %w", protocol.CodeDenied)
	case errors.Is(over, broker.ErrInactive):
		return false, fmt.Errorf("%w: %w", over, auth.CodeOf(d.Status))
	case over != nil:
		return false, fmt.Errorf("%w: %w", over, protocol.CodeDenied)
	case s.Expires.IsZero() || !p.At().Before(s.Expires):
		return false, fmt.Errorf("refresh token: %w", protocol.CodeExpired)
	}
	// What the proof covers, not the message: its call id, and an ECDSA proof's own
	// form, can be changed on the way.
	transcript := p.Transcript()
	mark := transcript[:broker.RequestMark]
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

// remembered reports whether mark is among the marks of requests that were granted.
func remembered(requests, mark []byte) bool {
	for r := range slices.Chunk(requests, broker.RequestMark) {
		if bytes.Equal(r, mark) {
			return true
		}
	}
	return false
}

// remember puts mark before the others, of which the newest broker.MaxRequests stay.
func remember(s *broker.Session, mark []byte) {
	all := slices.Concat(mark, s.Requests)
	s.Requests = all[:min(len(all), broker.MaxRequests*broker.RequestMark)]
}

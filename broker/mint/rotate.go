package mint

import (
	"bytes"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"
	"time"

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
//   - A token that is to come after the current one was given by this store, and the store
//     does not know it: an older copy of it was put back. The session goes on from there.
//   - Every other token ends the session: Reuse is true. It is not an error, because the
//     caller must write s then, too.
//
// A request that was held back on the way until its token was long replaced looks like a
// thief's, and ends the session: the device authenticates anew.
func (m *Minter) Rotate(p *auth.Proven, body *protocol.RefreshBody, c *broker.Client, s *broker.Session, d *broker.Device) (r Rotation, err error) {
	over := access.Check(d, s)
	if over == nil && s.Client == c.ID {
		over = access.CheckClient(c, s)
	}
	switch {
	case s.Device != p.Device().ID || s.Client != c.ID:
		return r, fmt.Errorf("session of another device or client: %w", protocol.CodeDenied)
	case errors.Is(over, broker.ErrInactive):
		return r, fmt.Errorf("%w: %w", over, auth.CodeOf(d.Status))
	case over != nil:
		return r, fmt.Errorf("%w: %w", over, protocol.CodeDenied)
	case s.Expires.IsZero() || !p.At().Before(s.Expires):
		return r, fmt.Errorf("refresh token: %w", protocol.CodeExpired)
	case s.Created.Sub(p.At()) > broker.ClocksApart: // else it would live until long after its life
		return r, fmt.Errorf("session begun at %v, by a clock that was ahead: %w", s.Created, protocol.CodeExpired)
	}
	// What the proof covers, not the message: its call id, and an ECDSA proof's own
	// form, can be changed on the way.
	transcript := p.Transcript()
	mark := transcript[:broker.RequestMark]
	granted := remembered(s.Requests, mark)
	switch {
	case hmac.Equal(body.Handle, s.Handle):
		m.advance(p, s, s.Generation, mark)
		return r, nil
	case hmac.Equal(body.Handle, s.Previous) && (granted || within(p.At().Sub(s.Rotated), c.Grace)):
		if !granted {
			remember(s, mark)
		}
		r.Repeated = granted
		return r, nil
	}
	if granted {
		return r, fmt.Errorf("refresh was granted before: %w", protocol.CodeReplayed)
	}
	if n := m.ahead(s, body.Handle); n > 0 {
		r.Ahead, r.Known = n, s.Rotated
		m.advance(p, s, s.Generation+n, mark)
		return r, nil
	}
	s.Revoked, r.Reuse = true, true
	return r, nil
}

// A Rotation is what a refresh token that was shown tells beside.
type Rotation struct {
	Reuse    bool // it had been replaced long ago: somebody has a copy
	Repeated bool // this very request was granted before, and is again: whoever sent it needed no key
	// Ahead is how many tokens the session's is behind the one that was shown, which the
	// store has given and does not know; 0 if it is not. Known is when the session was
	// refreshed last, by what the store knows.
	Ahead uint32
	Known time.Time
}

// advance puts the successor of the n-th refresh token in its place.
func (m *Minter) advance(p *auth.Proven, s *broker.Session, n uint32, mark []byte) {
	s.Previous = handleOf(m.refreshToken(s.ID, n))
	s.Generation = n + 1
	s.Handle = handleOf(m.refreshToken(s.ID, s.Generation))
	s.Rotated = p.At()
	remember(s, mark)
}

// maxAhead is how many tokens a store may be behind its devices: some forty days of
// them, if they are renewed each half hour. It bounds what a wrong token costs.
const maxAhead = 2048

// ahead tells how many tokens after the current one of s a handle's is, 0 if it is
// none of the next maxAhead. Nobody can know one that was never given.
func (m *Minter) ahead(s *broker.Session, handle []byte) uint32 {
	for n := uint32(1); n <= maxAhead; n++ {
		if hmac.Equal(handle, handleOf(m.refreshToken(s.ID, s.Generation+n))) {
			return n
		}
	}
	return 0
}

// within reports whether what was so long ago is within grace. What comes from further
// ahead than clocks are apart is not: the clock was wrong when it was written.
func within(ago, grace time.Duration) bool { return ago <= grace && ago >= -broker.ClocksApart }

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

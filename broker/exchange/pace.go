package exchange

import (
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/budget"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// A Pace bounds how often one device logs in or renews. Only what a device has proved and
// what was granted counts, so nobody else can use it up: neither a stranger in the device's
// name, nor whoever sends its messages again. The latter have a bound of their own, by
// session: a renewal is answered again because the first answer may be lost.
type Pace struct {
	PerSecond float64 // in the long run; 0: 0.1, negative: no bound, nor one for what is sent again
	Burst     int     // at once; 0: 60
}

// defaultPace lets a device through that connects anew every few seconds for a while, and renews
// as often as the shortest life of tokens asks for.
var defaultPace = Pace{PerSecond: 0.1, Burst: 60}

// How often one session's renewals are answered again: a few times at once to a device that
// loses answers, and now and then to one that goes on losing them.
const (
	repeatsPerSecond = 1.0 / 60
	repeatsBurst     = 10
)

// maxPaced is how many devices that have logged in lately, and sessions that were answered again, are
// told apart; further ones share what one of them has.
const maxPaced = 1 << 17

// A pacing is what is left of a Pace to each device and session.
type pacing struct {
	grants  *budget.Budget[ident.Device] // nil: no bound
	repeats *budget.Budget[ident.UUID]   // nil: no bound
}

func (p Pace) pacing() pacing {
	if p.PerSecond == 0 {
		p.PerSecond = defaultPace.PerSecond
	}
	if p.Burst == 0 {
		p.Burst = defaultPace.Burst
	}
	if p.PerSecond < 0 {
		return pacing{}
	}
	return pacing{
		grants:  budget.New[ident.Device](p.PerSecond, p.Burst, maxPaced),
		repeats: budget.New[ident.UUID](repeatsPerSecond, repeatsBurst, maxPaced),
	}
}

// TooOften is the error of a login or renewal that its device proved, but that came too
// soon after many others.
type TooOften struct {
	Wait     time.Duration // until the next may come
	Repeated bool          // it is a renewal that was answered before
}

func (e *TooOften) Error() string {
	what := "device logs in or renews too often"
	if e.Repeated {
		what = "renewal sent again too often"
	}
	return fmt.Sprintf("%s; again in %s", what, e.Wait.Round(time.Millisecond))
}

// Unwrap gives what the device hears.
func (e *TooOften) Unwrap() error { return protocol.CodeBusy }

// grant counts a grant to a device that is about to be recorded. Looking now and counting
// later would let through all that are in work at once. What fails is given back.
func (p *pacing) grant(id ident.Device, now time.Time) (giveBack func(), err error) {
	giveBack, wait := take(p.grants, id, now)
	if wait > 0 {
		return nil, &TooOften{Wait: wait}
	}
	return giveBack, nil
}

// renewal counts a renewal of session s: as a grant to the device, also if it shows the token
// before the newest, because that took the key; but what was granted before as a repeat, because
// anybody on the way can send it again.
func (p *pacing) renewal(by *auth.Proven, s *broker.Session, r *mint.Rotation) (giveBack func(), err error) {
	if !r.Repeated {
		return p.grant(by.Device().ID, by.At())
	}
	giveBack, wait := take(p.repeats, s.ID, by.At())
	if wait > 0 {
		return nil, &TooOften{Wait: wait, Repeated: true}
	}
	return giveBack, nil
}

func take[K comparable](b *budget.Budget[K], k K, now time.Time) (giveBack func(), wait time.Duration) {
	if b == nil {
		return func() {}, 0
	}
	return func() { b.Give(k, now) }, b.Take(k, now)
}

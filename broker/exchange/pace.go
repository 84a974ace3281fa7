package exchange

import (
	"fmt"
	"time"

	"github.com/signetd/signet/broker/budget"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// A Pace bounds how often one device logs in or renews. Only what a device has proved and
// what was granted counts, so nobody else can use it up: neither a stranger in the device's
// name, nor whoever sends its messages again.
type Pace struct {
	PerSecond float64 // in the long run; 0: 0.1, negative: no bound
	Burst     int     // at once; 0: 60
}

// defaultPace lets a device through that connects anew every few seconds for a while, and renews
// as often as the shortest life of tokens asks for.
var defaultPace = Pace{PerSecond: 0.1, Burst: 60}

// maxPaced is how many devices that have logged in lately are told apart; further ones
// share what one of them has.
const maxPaced = 1 << 17

// pacing gives the budget of p; nil: no bound.
func (p Pace) pacing() *budget.Budget[ident.Device] {
	if p.PerSecond == 0 {
		p.PerSecond = defaultPace.PerSecond
	}
	if p.Burst == 0 {
		p.Burst = defaultPace.Burst
	}
	if p.PerSecond < 0 {
		return nil
	}
	return budget.New[ident.Device](p.PerSecond, p.Burst, maxPaced)
}

// TooOften is the error of a login or renewal that its device proved, but that came too
// soon after many others.
type TooOften struct{ Wait time.Duration }

func (e *TooOften) Error() string {
	return fmt.Sprintf("device logs in or renews too often; again in %s", e.Wait.Round(time.Millisecond))
}

// Unwrap gives what the device hears.
func (e *TooOften) Unwrap() error { return protocol.CodeBusy }

// mayNow refuses a device that has had too many grants lately.
func (c *Conversation) mayNow(id ident.Device, now time.Time) error {
	if c.pace == nil {
		return nil
	}
	if wait := c.pace.Wait(id, now); wait > 0 {
		return &TooOften{wait}
	}
	return nil
}

// had counts a grant.
func (c *Conversation) had(id ident.Device, now time.Time) {
	if c.pace != nil {
		c.pace.Spend(id, now)
	}
}

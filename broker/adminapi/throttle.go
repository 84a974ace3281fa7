package adminapi

import (
	"net/netip"
	"time"

	"github.com/signetd/signet/broker/budget"
	"github.com/signetd/signet/broker/intake"
)

// Bounds on requests with bad tokens from one address. Guessing 256 bits is
// hopeless at any rate: these keep a stranger from filling the log and the store's
// time, and are far above what a person with a stale token does.
const (
	badTokenBurst = 20
	badTokenRate  = 1 // a second
)

// A throttle counts bad tokens by address: IPv4 alone, IPv6 by its /64. Requests
// with a good token are never held up, whoever else is behind the same address.
type throttle struct{ left *budget.Budget[netip.Prefix] }

func newThrottle() *throttle {
	return &throttle{budget.New[netip.Prefix](badTokenRate, badTokenBurst, budget.MaxSources)}
}

// bad counts one bad token from remote (host:port) and gives how long it is to
// wait; zero if it is not too many.
func (t *throttle) bad(remote string, now time.Time) time.Duration {
	return t.left.Take(intake.Source(remote), now)
}

package adminapi

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/signetd/signet/broker/intake"
)

// Bounds on requests with bad tokens from one address. Guessing 256 bits is
// hopeless at any rate: these keep a stranger from filling the log and the store's
// time, and are far above what a person with a stale token does.
const (
	badTokenBurst = 20
	badTokenRate  = rate.Limit(1) // a second
	maxAddresses  = 4096          // remembered; the rest shares one bucket
)

// A throttle counts bad tokens by address: IPv4 alone, IPv6 by its /64. Requests
// with a good token are never held up, whoever else is behind the same address.
type throttle struct {
	mu      sync.Mutex // guards buckets
	buckets map[netip.Prefix]*rate.Limiter
}

func newThrottle() *throttle { return &throttle{buckets: map[netip.Prefix]*rate.Limiter{}} }

// bad counts one bad token from remote (host:port) and gives how long it is to
// wait; zero if it is not too many.
func (t *throttle) bad(remote string, now time.Time) time.Duration {
	r := t.bucket(intake.Source(remote), now).ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

func (t *throttle) bucket(from netip.Prefix, now time.Time) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.buckets[from]; !known && len(t.buckets) >= maxAddresses {
		for k, b := range t.buckets {
			if b.TokensAt(now) >= badTokenBurst { // behaves as if it had never been here
				delete(t.buckets, k)
			}
		}
		if len(t.buckets) >= maxAddresses {
			from = netip.Prefix{}
		}
	}
	b, ok := t.buckets[from]
	if !ok {
		b = rate.NewLimiter(badTokenRate, badTokenBurst)
		t.buckets[from] = b
	}
	return b
}

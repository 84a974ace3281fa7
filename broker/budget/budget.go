// Package budget bounds how often each of many may do something: so often at once, and so
// often a second in the long run (a token bucket). It does not know what, nor who they are.
package budget

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// MaxSources is how many of most strangers' sources are worth telling apart: 4,096 take
// some hundred kilobytes.
const MaxSources = 4096

// tidyEvery is how often a full Budget looks for those that it may forget.
const tidyEvery = time.Second

// clockBack is how far back now may go for messages that are in work at once and counted in any
// order. What goes further back is a clock that was set.
const clockBack = time.Minute

// A Budget says how often each K may do something. Take is looking and spending at once, and
// Give takes it back if it came to nothing. Where Wait and Spend are two calls, those that are
// between them at once may do more than they should, and make up for it later.
// It is safe for concurrent use. Its times need not be a real clock's; where they go back by
// more than a minute, it goes on from there with what each had left.
type Budget[K comparable] struct {
	perSecond rate.Limit
	burst     int
	most      int

	mu     sync.Mutex // guards the fields below
	of     map[K]*bucket
	others *bucket // of all that find no room in of
	tidied time.Time
}

// New makes a Budget of burst at once and perSecond in the long run; perSecond is above 0. It remembers most
// of them at a time: what is spent by further ones is spent by all of those together.
func New[K comparable](perSecond float64, burst, most int) *Budget[K] {
	b := &Budget[K]{perSecond: rate.Limit(perSecond), burst: burst, most: most, of: map[K]*bucket{}}
	b.others = b.fresh()
	return b
}

func (b *Budget[K]) fresh() *bucket { return &bucket{Limiter: rate.NewLimiter(b.perSecond, b.burst)} }

// A bucket is what one has, or all that share one.
type bucket struct {
	*rate.Limiter
	at time.Time // the latest time that it was asked at
}

// time gives the time that l counts by at now: it does not go back, or whoever has old and new
// messages counted in turn would be given the time between them again and again; unless the
// clock was set back, because l would stay as it is until the clock is there again.
func (l *bucket) time(now time.Time) time.Time {
	switch back := l.at.Sub(now); {
	case back > clockBack:
		l.SetLimitAt(now, l.Limit())
		l.at = now
	case back < 0:
		l.at = now
	}
	return l.at
}

// Wait gives how long it is until k may; 0 if it may now. It spends nothing.
func (b *Budget[K]) Wait(k K, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.of[k]
	if l == nil {
		if b.burst > 0 && len(b.of) < b.most {
			return 0
		}
		l = b.others
	}
	return b.wait(l, now)
}

func (b *Budget[K]) wait(l *bucket, now time.Time) time.Duration {
	if missing := 1 - l.TokensAt(l.time(now)); missing > 0 {
		return time.Duration(missing / float64(b.perSecond) * float64(time.Second))
	}
	return 0
}

// Spend counts that k did it, also if it might not: it owes that, up to a burst.
func (b *Budget[K]) Spend(k K, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.bucket(k, now)
	if at := l.time(now); l.TokensAt(at) >= 1-float64(b.burst) {
		l.ReserveN(at, 1)
	}
}

// Give takes back what k took, because it came to nothing.
func (b *Budget[K]) Give(k K, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.of[k]
	if l == nil {
		l = b.others
	}
	l.ReserveN(l.time(now), -1) // not Cancel, which gives nothing back once another has taken something
}

// Take counts that k does it now, and gives 0; or, if it may not, counts nothing and gives
// how long it is until it may.
func (b *Budget[K]) Take(k K, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.bucket(k, now)
	if l.AllowN(l.time(now), 1) {
		return 0
	}
	return max(b.wait(l, now), 1)
}

// bucket gives what k spends from, and remembers k if there is room.
func (b *Budget[K]) bucket(k K, now time.Time) *bucket {
	l := b.of[k]
	if l == nil && len(b.of) >= b.most {
		b.tidy(now)
	}
	switch {
	case l != nil:
	case len(b.of) < b.most:
		l = b.fresh()
		b.of[k] = l
	default:
		l = b.others
	}
	return l
}

// tidy forgets those that have spent nothing, or have everything again.
func (b *Budget[K]) tidy(now time.Time) {
	if now.Sub(b.tidied).Abs() < tidyEvery {
		return
	}
	b.tidied = now
	for k, l := range b.of {
		if l.TokensAt(l.time(now)) >= float64(b.burst) {
			delete(b.of, k)
		}
	}
}

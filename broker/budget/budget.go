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

// A Budget says how often each K may do something. Looking and spending are two calls where
// it is known only later whether it counts; Take is both at once.
// It is safe for concurrent use.
type Budget[K comparable] struct {
	perSecond rate.Limit
	burst     int
	most      int

	mu     sync.Mutex // guards the fields below
	of     map[K]*rate.Limiter
	others *rate.Limiter // of all that find no room in of
	tidied time.Time
}

// New makes a Budget of burst at once and perSecond in the long run; perSecond is above 0. It remembers most
// of them at a time: what is spent by further ones is spent by all of those together.
func New[K comparable](perSecond float64, burst, most int) *Budget[K] {
	b := &Budget[K]{perSecond: rate.Limit(perSecond), burst: burst, most: most, of: map[K]*rate.Limiter{}}
	b.others = b.fresh()
	return b
}

func (b *Budget[K]) fresh() *rate.Limiter { return rate.NewLimiter(b.perSecond, b.burst) }

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

func (b *Budget[K]) wait(l *rate.Limiter, now time.Time) time.Duration {
	if missing := 1 - l.TokensAt(now); missing > 0 {
		return time.Duration(missing / float64(b.perSecond) * float64(time.Second))
	}
	return 0
}

// Spend counts that k did it.
func (b *Budget[K]) Spend(k K, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limiter(k, now).AllowN(now, 1)
}

// Take counts that k does it now, and gives 0; or, if it may not, counts nothing and gives
// how long it is until it may.
func (b *Budget[K]) Take(k K, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.limiter(k, now)
	if l.AllowN(now, 1) {
		return 0
	}
	return max(b.wait(l, now), 1)
}

// limiter gives what k spends from, and remembers k if there is room.
func (b *Budget[K]) limiter(k K, now time.Time) *rate.Limiter {
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
		if l.TokensAt(now) >= float64(b.burst) {
			delete(b.of, k)
		}
	}
}

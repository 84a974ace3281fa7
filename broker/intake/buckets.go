package intake

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxBuckets bounds the memory; sources beyond it share one bucket.
const maxBuckets = 4096

// Buckets bound how often each source may do something: so many times at once, and so many
// a second in the long run. It is safe for concurrent use.
type Buckets struct {
	perSecond rate.Limit
	burst     int

	mu      sync.Mutex // guards the rest
	of      map[netip.Prefix]*rate.Limiter
	shared  *rate.Limiter // of all sources that found no room, and of who has none
	forgot  time.Time     // when room was last looked for
	atLeast time.Duration // between two such times, which cost something
}

// NewBuckets makes Buckets, all of them full.
func NewBuckets(perSecond float64, burst int) *Buckets {
	b := &Buckets{perSecond: rate.Limit(perSecond), burst: burst, of: map[netip.Prefix]*rate.Limiter{}, atLeast: time.Second}
	b.shared = b.fresh()
	return b
}

func (b *Buckets) fresh() *rate.Limiter { return rate.NewLimiter(b.perSecond, b.burst) }

// Has reports whether a source may do it now, and takes nothing for it.
func (b *Buckets) Has(source netip.Prefix, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.of[source]
	if l == nil {
		if source.IsValid() && len(b.of) < maxBuckets {
			return true
		}
		l = b.shared
	}
	return l.TokensAt(now) >= 1
}

// Take counts that a source does it once, and gives zero; or, if it may not now, counts
// nothing and gives how long it is until it may.
func (b *Buckets) Take(source netip.Prefix, now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.bucket(source, now).ReserveN(now, 1)
	if !r.OK() { // a burst of none
		return time.Hour
	}
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

func (b *Buckets) bucket(source netip.Prefix, now time.Time) *rate.Limiter {
	if !source.IsValid() {
		return b.shared
	}
	if l := b.of[source]; l != nil {
		return l
	}
	if len(b.of) >= maxBuckets {
		b.forget(now)
	}
	if len(b.of) >= maxBuckets {
		return b.shared
	}
	l := b.fresh()
	b.of[source] = l
	return l
}

// forget drops the buckets that are full again, as if they had never been.
func (b *Buckets) forget(now time.Time) {
	if since := now.Sub(b.forgot); since >= 0 && since < b.atLeast {
		return
	}
	b.forgot = now
	for source, l := range b.of {
		if l.TokensAt(now) >= float64(b.burst) {
			delete(b.of, source)
		}
	}
}

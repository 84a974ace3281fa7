package wrap

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/protocol"
)

// ErrLimited: too many messages of this source were refused.
var ErrLimited = errors.New("too many refusals of this source")

// A Limit bounds the refusals of one source, an IPv4 address or an IPv6 /64. Callers
// without an address are in this process and have none.
type Limit struct {
	PerSecond float64 // in the long run; 0: DefaultLimit's, negative: no bound
	Burst     int     // at once; 0: DefaultLimit's
}

// DefaultLimit leaves room for a fleet behind one address whose devices have all lost
// their keys, and for nobody to guess by trying.
var defaultLimit = Limit{PerSecond: 50, Burst: 500}

// maxSources bounds the memory; sources beyond it share what one has.
const maxSources = 4096

// limiter has what each source may still be refused.
type limiter struct {
	limit   Limit
	counter prometheus.Counter
	log     *slog.Logger
	now     func() time.Time

	mu      sync.Mutex // guards the rest
	sources map[netip.Prefix]*rate.Limiter
	rest    *rate.Limiter // of those that had no room
	hidden  int           // limited since told
	told    time.Time
}

// Limited answers "busy", without any work, to sources of which too many messages were
// refused. What succeeds is not counted, so that honest devices behind the same address
// bring nobody nearer to the bound; while somebody there is beyond it, they may have to
// ask again. What is refused for the broker's own sake does not count either.
func Limited(next exchange.Handler, l Limit, counter prometheus.Counter, log *slog.Logger) exchange.Handler {
	return limited(next, l, counter, log, time.Now)
}

func limited(next exchange.Handler, l Limit, counter prometheus.Counter, log *slog.Logger, now func() time.Time) exchange.Handler {
	if l.PerSecond < 0 {
		return next
	}
	if l.PerSecond == 0 {
		l.PerSecond = defaultLimit.PerSecond
	}
	if l.Burst == 0 {
		l.Burst = defaultLimit.Burst
	}
	x := &limiter{limit: l, counter: counter, log: log, now: now, sources: map[netip.Prefix]*rate.Limiter{}}
	x.rest = x.fresh()
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		source := intake.Source(from.Remote)
		if source.IsValid() && !x.may(source) {
			return x.refuse(ctx, m, source)
		}
		out := next.Handle(ctx, from, m)
		if source.IsValid() && isTheirs(&out) {
			x.spend(source)
		}
		return out
	})
}

// isTheirs reports whether a message was refused for what it says.
func isTheirs(out *exchange.Outcome) bool {
	return out.Err != nil && out.Code != protocol.CodeInternal && out.Code != protocol.CodeBusy
}

func (x *limiter) fresh() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(x.limit.PerSecond), x.limit.Burst)
}

// may reports whether another message of a source is looked at.
func (x *limiter) may(source netip.Prefix) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.sources[source]
	if l == nil {
		if len(x.sources) < maxSources {
			return true
		}
		l = x.rest
	}
	return l.TokensAt(x.now()) >= 1
}

// spend counts a refusal.
func (x *limiter) spend(source netip.Prefix) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.now()
	l := x.sources[source]
	if l == nil && len(x.sources) >= maxSources {
		x.forget(now)
	}
	switch {
	case l != nil:
	case len(x.sources) < maxSources:
		l = x.fresh()
		x.sources[source] = l
	default:
		l = x.rest
	}
	l.AllowN(now, 1)
}

// forget drops the sources that are as good as new.
func (x *limiter) forget(now time.Time) {
	for source, l := range x.sources {
		if l.TokensAt(now) >= float64(x.limit.Burst) {
			delete(x.sources, source)
		}
	}
}

func (x *limiter) refuse(ctx context.Context, m protocol.Message, source netip.Prefix) exchange.Outcome {
	x.counter.Inc()
	x.tell(ctx, source)
	again := min(math.Ceil(1/x.limit.PerSecond), 60)
	return exchange.Outcome{
		Reply: protocol.Refuse(m.Call(), protocol.ProblemDetail{Code: protocol.CodeBusy, RetryAfter: uint32(again)}),
		Err:   ErrLimited, Code: protocol.CodeBusy,
	}
}

// tell sums up: the first of a flood is told at once, the others together.
func (x *limiter) tell(ctx context.Context, source netip.Prefix) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.hidden++
	if now := x.now(); now.Sub(x.told) >= every {
		x.log.WarnContext(ctx, "messages answered busy: too many refusals of their source", "messages", x.hidden, "source", source.String())
		x.hidden, x.told = 0, now
	}
}

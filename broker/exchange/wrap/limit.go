package wrap

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/budget"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol"
)

// ErrLimited is the error of a message that was not looked at, because too many of its
// source were refused.
var ErrLimited = errors.New("too many refusals of this source")

// A Limit bounds how many messages of one source may be refused. A source is an IPv4
// address or an IPv6 /64. Callers in this process have no address, and no limit.
type Limit struct {
	PerSecond float64 // in the long run; 0: 50, negative: no bound
	Burst     int     // at once; 0: 500
}

// defaultLimit is generous to a fleet behind one address whose devices have all lost their
// keys, and still too little to guess by trying.
var defaultLimit = Limit{PerSecond: 50, Burst: 500}

// limiter knows how many refusals each source has left.
type limiter struct {
	limit   Limit
	counter prometheus.Counter
	told    *tally.Log
	now     func() time.Time
	left    *budget.Budget[netip.Prefix]
}

// Limited answers "busy" at once to sources of which too many messages were refused.
// Messages that succeed do not count, so honest devices behind the same address never
// reach the bound by themselves; but while somebody there is beyond it, they may have to
// ask again. Refusals that are the broker's own fault do not count either.
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
	x := &limiter{limit: l, counter: counter, told: tally.New(log), now: now, left: budget.New[netip.Prefix](l.PerSecond, l.Burst, budget.MaxSources)}
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		source := intake.Source(from.Remote)
		if source.IsValid() && x.left.Wait(source, x.now()) > 0 {
			return x.refuse(ctx, m, source)
		}
		out := next.Handle(ctx, from, m)
		if source.IsValid() && isTheirs(&out) {
			x.left.Spend(source, x.now())
		}
		return out
	})
}

// isTheirs reports whether a message was refused for what it says, and not because the
// broker is busy or broken.
func isTheirs(out *exchange.Outcome) bool {
	return out.Err != nil && out.Code != protocol.CodeInternal && out.Code != protocol.CodeBusy
}

func (x *limiter) refuse(ctx context.Context, m protocol.Message, source netip.Prefix) exchange.Outcome {
	x.counter.Inc()
	x.told.Note(ctx, slog.LevelWarn, "limited", "message answered busy: too many refusals of its source", "source", source.String())
	again := min(math.Ceil(1/x.limit.PerSecond), 60)
	return exchange.Outcome{
		Reply: protocol.Refuse(m.Call(), protocol.ProblemDetail{Code: protocol.CodeBusy, RetryAfter: uint32(again)}),
		Err:   ErrLimited, Code: protocol.CodeBusy,
	}
}

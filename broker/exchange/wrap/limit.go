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
	"github.com/signetd/signet/protocol/ident"
)

// ErrLimited is the error of a message that was not looked at, because too many of its
// source, or of the device whose connection it came on, were refused.
var ErrLimited = errors.New("too many refusals of this source or device")

// A Limit bounds how many messages of one source may be refused. A source is an IPv4
// address or an IPv6 /64. Callers in this process have no address, and no limit. What comes on a
// device's own connection is none of its source: of that, a tenth may be refused to each device.
type Limit struct {
	PerSecond float64 // in the long run; 0: 50, negative: no bound
	Burst     int     // at once; 0: 500
}

// defaultLimit is generous to a fleet behind one address whose devices have all lost their
// keys, and still too little to guess by trying.
var defaultLimit = Limit{PerSecond: 50, Burst: 500}

// deviceShare is the part of a source's Limit that one device has: none has as much to be
// refused as a fleet has.
const deviceShare = 10

// limiter knows how many refusals each source and each device has left.
type limiter struct {
	counter prometheus.Counter
	told    *tally.Log
	now     func() time.Time
	sources *budget.Budget[netip.Prefix]
	devices *budget.Budget[ident.Device] // on their own connections
}

// Limited answers "busy" at once to sources of which too many messages were refused.
// Messages that succeed do not count, so honest devices behind the same address never
// reach the bound by themselves; but while somebody there is beyond it, those that have no
// connection of their own yet may have to ask again. A device that has one hears "busy" for its own
// refusals only, on whichever of its connections: nobody else can make it deaf. Refusals that are the broker's own fault do not count either.
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
	x := &limiter{
		counter: counter, told: tally.New(log), now: now,
		sources: budget.New[netip.Prefix](l.PerSecond, l.Burst, budget.MaxSources),
		devices: budget.New[ident.Device](l.PerSecond/deviceShare, max(1, l.Burst/deviceShare), budget.MaxSources),
	}
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		source := intake.SourceOf(from.Remote.Addr())
		switch {
		case !from.Owner.IsZero():
			return within(ctx, x, x.devices, from.Owner, slog.String("device", from.Owner.String()), next, from, m)
		case source.IsValid():
			return within(ctx, x, x.sources, source, slog.String("source", source.String()), next, from, m)
		}
		return next.Handle(ctx, from, m)
	})
}

// isTheirs reports whether a message was refused for what it says, and not because the
// broker is busy or broken.
func isTheirs(out *exchange.Outcome) bool {
	return out.Err != nil && out.Code != protocol.CodeInternal && out.Code != protocol.CodeBusy
}

// within has next answer m unless too many of k were refused; who names k for the log.
func within[K comparable](ctx context.Context, x *limiter, left *budget.Budget[K], k K, who slog.Attr, next exchange.Handler, from exchange.Caller, m protocol.Message) exchange.Outcome {
	if wait := left.Wait(k, x.now()); wait > 0 {
		return x.refuse(ctx, m, who, wait)
	}
	out := next.Handle(ctx, from, m)
	if isTheirs(&out) {
		left.Spend(k, x.now())
	}
	return out
}

func (x *limiter) refuse(ctx context.Context, m protocol.Message, who slog.Attr, wait time.Duration) exchange.Outcome {
	x.counter.Inc()
	x.told.Note(ctx, slog.LevelWarn, "limited "+who.Key, "message answered busy: too many refusals of its "+who.Key, who)
	again := min(math.Ceil(wait.Seconds()), 60)
	return exchange.Outcome{
		Reply: protocol.Refuse(m.Call(), protocol.ProblemDetail{Code: protocol.CodeBusy, RetryAfter: uint32(again)}),
		Err:   ErrLimited, Code: protocol.CodeBusy,
	}
}

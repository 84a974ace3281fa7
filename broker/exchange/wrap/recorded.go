package wrap

import (
	"context"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol"
)

// Recorded counts refused messages, for the journal, by the device that they claim to be from and by
// code.
func Recorded(next exchange.Handler, to *tally.Events) exchange.Handler {
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		out := next.Handle(ctx, from, m)
		if out.Err != nil {
			e := broker.Event{Pool: out.Claimed.Pool, What: broker.What(slug(out.Code.String())), Count: 1}
			if !out.Claimed.IsZero() {
				e.Subject = out.Claimed.Name.String()
			}
			to.Add(broker.ActorBroker, e)
		}
		return out
	})
}

package wrap

import (
	"context"
	"errors"

	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/auth/level"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
)

// Levelled makes every refusal of a proof take the same time, so that the time does not
// tell which devices exist. When too many refusals wait already, a further one is not
// answered at all; an honest device asks again.
func Levelled(next exchange.Handler, l *level.Level) exchange.Handler {
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		began := l.Now()
		out := next.Handle(ctx, from, m)
		if errors.Is(out.Err, auth.ErrProof) && !l.Wait(ctx, began) {
			out.Reply = nil
		}
		return out
	})
}

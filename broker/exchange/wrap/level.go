package wrap

import (
	"context"
	"errors"

	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/auth/level"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
)

// Levelled lets every refusal of a proof take as long as any other. Where too many wait
// already there is no answer: a device that is honest asks again.
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

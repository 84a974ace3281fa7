package wrap

import (
	"context"

	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
)

// Roomed refuses enrollments, before anything is done for them, while room gives an error:
// what is left of the disk is for the devices that are known. Without room there always is.
func Roomed(next exchange.Handler, room func() error) exchange.Handler {
	if room == nil {
		return next
	}
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		if _, enrolls := m.(*protocol.Enroll); enrolls {
			if err := room(); err != nil {
				return exchange.Refuse(m, err)
			}
		}
		return next.Handle(ctx, from, m)
	})
}

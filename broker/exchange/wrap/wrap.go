// Package wrap holds what stands around the exchange: each wrapper adds one thing to a
// Handler and passes on what it is given. None of them decides who a device is.
package wrap

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/auth/level"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
)

// Config says what an exchange is wrapped in. Only Log is required.
type Config struct {
	Log *slog.Logger
	// Metrics is where counters are registered; nil: nowhere.
	Metrics prometheus.Registerer
	// Refusals bounds the refused messages of one source; the zero Limit is the default.
	Refusals Limit
	// Clock is what refusals of proofs are levelled by; zero: the real one.
	Clock level.Clock
	// Journal keeps sums of the refusals; nil: they are not kept. Somebody must then
	// Run what Exchange gives.
	Journal Journal
}

// Exchange wraps core in everything, in the order that counts: whatever is done about
// a refusal is done before it is levelled, and a source that is over its limit costs no
// work. The second result is nil without a journal.
func Exchange(core exchange.Handler, c Config) (*exchange.Responder, *Refusals, error) {
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, nil, err
	}
	var kept *Refusals
	h := Log(core, c.Log)
	if c.Journal != nil {
		kept = NewRefusals(c.Journal, c.Log)
		h = kept.Wrap(h)
	}
	h = Limited(h, c.Refusals, m.limited, c.Log)
	h = Counted(h, m)
	h = Levelled(h, level.New(c.Clock, 0))
	return exchange.NewResponder(h, unread(m, c.Log)), kept, nil
}

// unread counts and logs what is no message. Anybody can send that at any rate: it is
// no more than a line for those who look for it.
func unread(m *metrics, log *slog.Logger) exchange.Unread {
	return func(ctx context.Context, from exchange.Caller, err error) {
		d, ok := errors.AsType[*protocol.DecodeError](err)
		if !ok {
			m.count("unreadable", protocol.CodeInternal.String())
			log.ErrorContext(ctx, "encode reply", "err", err)
			return
		}
		m.count("unreadable", d.Code.String())
		if d.ID == (protocol.CallID{}) {
			log.DebugContext(ctx, "undecodable message", "remote", from.Remote, "err", err)
			return
		}
		log.DebugContext(ctx, "message refused", "remote", from.Remote, "call", hex.EncodeToString(d.ID[:]), "err", err)
	}
}

// slug makes one word of a code's or a step's text: "already-used".
func slug(text string) string { return strings.ReplaceAll(text, " ", "-") }

// step names what a message does.
func step(m protocol.Message) string {
	switch m.(type) {
	case *protocol.Start:
		return "start"
	case *protocol.Enrol:
		return "enrol"
	case *protocol.Answer:
		return "answer"
	case *protocol.Refresh:
		return "refresh"
	}
	return "other"
}

// every is how often something is summed up.
const every = 10 * time.Second

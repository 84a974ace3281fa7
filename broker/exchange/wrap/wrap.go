// Package wrap holds what stands around the exchange: limits, metrics, log, the journal
// of refusals and the time that a refusal takes. Each wrapper adds one thing to a Handler
// and passes on the rest. None of them decides who a device is.
package wrap

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/auth/level"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol"
)

// Config says what an exchange is wrapped in. Only Log is required.
type Config struct {
	Log *slog.Logger
	// Metrics is where counters are registered; nil: nowhere.
	Metrics prometheus.Registerer
	// Refusals bounds the refused messages of one source; the zero Limit is the default.
	Refusals Limit
	// Clock is what Levelled measures and waits by; zero: the system's.
	Clock level.Clock
	// Events is where refusals are summed up for the journal; nil: they are not.
	Events *tally.Events
	// Room gives an error while there is no room for new devices; nil: there always is.
	Room func() error
}

// Exchange wraps core in all wrappers. Their order matters: what is done about a refusal
// is done before the time that it takes is levelled, and a source beyond its limit is
// refused before any work.
func Exchange(core exchange.Handler, c Config) (*exchange.Responder, error) {
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	h := Older(Log(Roomed(core, c.Room), c.Log), m.older, c.Log)
	if c.Events != nil {
		h = Recorded(h, c.Events)
	}
	h = Limited(h, c.Refusals, m.limited, c.Log)
	h = Counted(h, m)
	h = Levelled(h, level.New(c.Clock, 0))
	return exchange.NewResponder(h, unread(m, c.Log)), nil
}

// unread counts and logs what is no message. Anybody can send that at any rate, so it is
// logged at level debug only.
func unread(m *metrics, log *slog.Logger) exchange.Unread {
	told := tally.New(log)
	return func(ctx context.Context, from exchange.Caller, err error) {
		d, ok := errors.AsType[*protocol.DecodeError](err)
		if !ok {
			m.count("unreadable", slug(protocol.CodeInternal.String()))
			told.Note(ctx, slog.LevelError, "encode", "encode reply", "err", err)
			return
		}
		m.count("unreadable", slug(d.Code.String()))
		if d.ID == (protocol.CallID{}) {
			told.Note(ctx, slog.LevelDebug, "undecodable", "undecodable message", "remote", from.Remote, "err", err)
			return
		}
		told.Note(ctx, slog.LevelDebug, "unreadable", "message refused", "remote", from.Remote, "call", hex.EncodeToString(d.ID[:]), "err", err)
	}
}

// slug makes one word of a code's or a step's text: "already-used". It is short enough for an event,
// and has no sign that an event may not have.
func slug(text string) string {
	const most = 32 // broker.Event
	var b strings.Builder
	for word := range strings.FieldsSeq(text) {
		word = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
				return r
			}
			return -1
		}, strings.ToLower(word))
		if b.Len() > 0 && b.Len()+1+len(word) > most {
			break
		}
		if b.Len() > 0 {
			b.WriteByte('-')
		}
		b.WriteString(word)
	}
	return b.String()
}

// step names what a message does.
func step(m protocol.Message) string {
	switch m.(type) {
	case *protocol.Start:
		return "start"
	case *protocol.Enroll:
		return "enroll"
	case *protocol.Answer:
		return "answer"
	case *protocol.Refresh:
		return "refresh"
	}
	return "other"
}

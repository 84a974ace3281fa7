package fault

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/signetd/signet/agent"
)

// header is how much of a message is left alone by Corrupt: version, type and call
// id, by which links tell whose message it is. A link drops what has another id.
const header = 23

// resend is when an unanswered request is sent again; as long as mqttlink waits.
const resend = 5 * time.Second

// A Link lets one Plan happen on another link. It serves one call, from one goroutine.
type Link struct {
	inner agent.Link
	cut   func()
	plan  Plan

	round   int
	fired   bool
	damaged []byte // header of the message that was corrupted
	last    []byte // header of the last request
}

var (
	_ agent.Link  = (*Link)(nil)
	_ agent.Bound = (*Link)(nil)
)

// NewLink wraps inner for one call; cut ends the connection under it.
func NewLink(inner agent.Link, cut func(), p Plan) *Link {
	return &Link{inner: inner, cut: cut, plan: p}
}

// Fired tells whether the plan has happened. Wrong clocks are not the link's.
func (l *Link) Fired() bool { return l.fired }

// Damaged tells whether the exchange that l carried last had a message corrupted.
// No grant may come of such an exchange.
func (l *Link) Damaged() bool { return l.damaged != nil && bytes.Equal(l.damaged, l.last) }

// End is the inner link's.
func (l *Link) End() agent.End {
	if b, ok := l.inner.(agent.Bound); ok {
		return b.End()
	}
	return agent.End{}
}

// RoundTrip carries a request and its reply, and does to them what is planned.
// Errors wrap *Injected or are the inner link's.
func (l *Link) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	l.last = callID(request)
	round := l.round
	l.round++
	if round != l.plan.Round || l.fired {
		return l.inner.RoundTrip(ctx, request)
	}
	switch l.plan.Kind {
	case Drop, Reboot:
		return l.lose(ctx, request)
	case Duplicate:
		return l.twice(ctx, request)
	case Delay:
		return l.late(ctx, request)
	case Corrupt:
		return l.corrupt(ctx, request)
	}
	return l.inner.RoundTrip(ctx, request)
}

// lose ends the connection, before the request is sent or when the reply has been.
func (l *Link) lose(ctx context.Context, request []byte) ([]byte, error) {
	if l.plan.Reply {
		if _, err := l.inner.RoundTrip(ctx, request); err != nil {
			return nil, err
		}
	}
	l.fired = true
	l.cut()
	return nil, &Injected{l.plan.Kind}
}

// twice sends the request again after its reply came, and passes on one of the replies.
func (l *Link) twice(ctx context.Context, request []byte) ([]byte, error) {
	first, err := l.inner.RoundTrip(ctx, request)
	if err != nil {
		return nil, err
	}
	l.fired = true
	second, err := l.inner.RoundTrip(ctx, request)
	if err != nil || !l.plan.Reply {
		return first, nil // nobody waits for a doubled message's reply
	}
	return second, nil
}

func (l *Link) late(ctx context.Context, request []byte) ([]byte, error) {
	if !l.plan.Reply {
		l.fired = true
		if err := sleep(ctx, l.plan.Delay); err != nil {
			return nil, err
		}
		return l.inner.RoundTrip(ctx, request)
	}
	reply, err := l.inner.RoundTrip(ctx, request)
	if err != nil {
		return nil, err
	}
	l.fired = true
	return reply, sleep(ctx, l.plan.Delay)
}

func (l *Link) corrupt(ctx context.Context, request []byte) ([]byte, error) {
	if !l.plan.Reply {
		return l.corruptRequest(ctx, request)
	}
	reply, err := l.inner.RoundTrip(ctx, request)
	if err != nil {
		return nil, err
	}
	l.fired, l.damaged = true, callID(request)
	return flip(reply, l.plan.Bit), nil
}

// corruptRequest sends the damaged request and, if nobody answers that, the right
// one: damage strikes one packet, and devices send again.
func (l *Link) corruptRequest(ctx context.Context, request []byte) ([]byte, error) {
	l.fired, l.damaged = true, callID(request)
	short, cancel := context.WithTimeout(ctx, resend)
	defer cancel()
	reply, err := l.inner.RoundTrip(short, flip(request, l.plan.Bit))
	if err == nil || short.Err() == nil || ctx.Err() != nil {
		return reply, err
	}
	l.damaged = nil
	return l.inner.RoundTrip(ctx, request)
}

// flip gives a copy of m with one bit after the header turned over.
func flip(m []byte, bit uint32) []byte {
	m = slices.Clone(m)
	if len(m) <= header {
		return m
	}
	at := int(uint64(bit) % uint64((len(m)-header)*8))
	m[header+at/8] ^= 1 << (at % 8)
	return m
}

// callID gives the part of a message's header that names its call.
func callID(m []byte) []byte {
	if len(m) < header {
		return nil
	}
	return slices.Clone(m[header-16 : header])
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

package agent_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
)

// A lateLink hands out replies in the order in which they came to it, however many
// a request brought.
type lateLink struct {
	b     *fakeBroker
	again func(request protocol.Type) bool // forward it twice, as a link that lost patience does
	twice func(reply protocol.Type) bool   // the reply comes twice, as at QoS 1
	queue [][]byte
	asked int
}

func (l *lateLink) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	l.asked++
	times := 1
	if l.again != nil && l.again(typeOf(request)) {
		times = 2
	}
	for range times {
		reply, err := l.b.RoundTrip(ctx, request)
		if err != nil {
			return nil, err
		}
		l.queue = append(l.queue, reply)
		if l.twice != nil && l.twice(typeOf(reply)) {
			l.queue = append(l.queue, reply)
		}
	}
	reply := l.queue[0]
	l.queue = l.queue[1:]
	return reply, nil
}

// Listen gives the next reply, and asks again only if there is none.
func (l *lateLink) Listen(ctx context.Context, request []byte) ([]byte, error) {
	if len(l.queue) == 0 {
		return l.RoundTrip(ctx, request)
	}
	l.asked++
	reply := l.queue[0]
	l.queue = l.queue[1:]
	return reply, nil
}

func typeOf(raw []byte) protocol.Type {
	m, err := protocol.Decode(raw)
	if err != nil {
		return 0
	}
	return m.Type()
}

// What a doubled message brings late neither ends a call nor costs a second one.
func TestLateMessages(t *testing.T) {
	is := func(want protocol.Type) func(protocol.Type) bool {
		return func(got protocol.Type) bool { return got == want }
	}
	for name, c := range map[string]struct {
		flow  []string
		link  lateLink
		want  int  // challenges solved by the program
		wrong bool // the first time
	}{
		"challenge comes twice":        {nil, lateLink{twice: is(protocol.TypeChallenge)}, 0, false},
		"opening goes twice":           {nil, lateLink{again: is(protocol.TypeStart)}, 0, false},
		"both, and two more questions": {[]string{"colour", "shape"}, lateLink{again: is(protocol.TypeStart), twice: is(protocol.TypeChallenge)}, 2, false},
		"wrong answer is told twice":   {[]string{"colour"}, lateLink{twice: is(protocol.TypeRefusal)}, 2, true},
		"a second proof is wanted":     {[]string{challenge.Key}, lateLink{}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			b, cfg := newFakeBroker(t), config(t)
			solved := 0
			cfg.Solver = func(context.Context, string, map[string]string) ([]byte, error) {
				if solved++; solved == 1 && c.wrong {
					return []byte("blue"), nil
				}
				return []byte("green"), nil
			}
			a := enroll(t, b, cfg)
			b.flow, b.secret = c.flow, "green"
			starts := 0
			c.link.b = b
			again := c.link.again
			c.link.again = func(request protocol.Type) bool {
				if request == protocol.TypeStart {
					starts++
				}
				return again != nil && again(request)
			}
			if _, err := a.Authenticate(t.Context(), &c.link, agent.Ask{}); err != nil || starts != 1 {
				t.Errorf("%v, after %d openings", err, starts)
			}
			if solved != c.want {
				t.Errorf("asked its program %d times, want %d", solved, c.want)
			}
		})
	}
}

// An overtakenLink brings the refusal of an answer's copy before what the answer
// brought, which comes after a while.
type overtakenLink struct {
	b       *fakeBroker
	after   time.Duration
	starts  int
	pending [][]byte
}

func (l *overtakenLink) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	switch typeOf(request) {
	case protocol.TypeStart:
		l.starts++
	case protocol.TypeAnswer:
		if l.starts > 1 {
			break
		}
		m, err := protocol.Decode(request)
		if err != nil {
			return nil, err
		}
		grant, err := l.b.RoundTrip(ctx, request)
		if err != nil {
			return nil, err
		}
		replayed, err := protocol.Encode(protocol.Refuse(m.Call(), protocol.ProblemDetail{Code: protocol.CodeReplayed}))
		l.pending = [][]byte{replayed, grant}
		return replayed, err
	}
	return l.b.RoundTrip(ctx, request)
}

func (l *overtakenLink) Listen(ctx context.Context, _ []byte) ([]byte, error) {
	if len(l.pending) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(l.after / 2):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	reply := l.pending[0]
	l.pending = l.pending[1:]
	return reply, nil
}

// The refusal of an answer's copy that overtakes the grant is not believed at once.
func TestOvertakenGrant(t *testing.T) {
	for name, c := range map[string]struct {
		after  time.Duration
		starts int
	}{
		"soon":     {1900 * time.Millisecond, 1},
		"too late": {2100 * time.Millisecond, 2},
	} {
		t.Run(name, func(t *testing.T) {
			b, cfg := newFakeBroker(t), config(t)
			enroll(t, b, cfg)
			synctest.Test(t, func(t *testing.T) {
				l := &overtakenLink{b: b, after: c.after}
				if _, err := newAgent(t, cfg).Authenticate(t.Context(), l, agent.Ask{}); err != nil || l.starts != c.starts {
					t.Errorf("%v, after %d openings, want %d", err, l.starts, c.starts)
				}
			})
		})
	}
}

// An evil broker that says one thing for ever keeps nobody busy for ever.
func TestReplayedForEver(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	l := &lateLink{b: b}
	stuck := linkFunc(func(ctx context.Context, request []byte) ([]byte, error) {
		if typeOf(request) == protocol.TypeStart {
			l.queue = nil
		}
		reply, err := l.RoundTrip(ctx, request)
		l.queue = [][]byte{reply}
		return reply, err
	})
	if _, err := a.Authenticate(t.Context(), stuck, agent.Ask{}); err == nil || errors.Is(err, protocol.CodeDenied) {
		t.Errorf("%v, want it to give up by itself", err)
	}
	if l.asked > 60 {
		t.Errorf("%d messages before it gave up", l.asked)
	}
}

type linkFunc func(context.Context, []byte) ([]byte, error)

func (f linkFunc) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	return f(ctx, request)
}

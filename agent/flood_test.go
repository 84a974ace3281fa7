package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
)

// relay is an MQTT broker that anybody runs: it relays to b and does what it likes.
type relay struct {
	*fakeBroker
	events  chan *protocol.Event
	dropped chan struct{}
}

func (r *relay) Events() <-chan *protocol.Event { return r.events }
func (r *relay) Done() <-chan struct{}          { return r.dropped }
func (r *relay) Close() error                   { return nil }

// runs has an agent run on what dial gives for d, and tells how often it renewed.
func runs(t *testing.T, d time.Duration, dial func(b *fakeBroker, c *agent.Credential) (agent.Connection, error)) (renewals int) {
	t.Helper()
	b, cfg := newFakeBroker(t), config(t)
	enroll(t, b, cfg)
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, cfg)
		if _, err := a.Renew(t.Context(), b, agent.Ask{}); err != nil {
			t.Fatal(err)
		}
		before := b.count()
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		err := a.Run(ctx, func(_ context.Context, c *agent.Credential) (agent.Connection, error) { return dial(b, c) })
		if err != nil {
			t.Error(err)
		}
		renewals = b.count() - before
		time.Sleep(5 * time.Minute) // the relay's last timers
	})
	return renewals
}

// A broker that hints without end gets one renewal at once, and then one a minute.
func TestRunFlood(t *testing.T) {
	n := runs(t, 10*time.Minute, func(b *fakeBroker, _ *agent.Credential) (agent.Connection, error) {
		r := &relay{b, make(chan *protocol.Event), make(chan struct{})}
		end := time.AfterFunc(11*time.Minute, func() { close(r.dropped) })
		go func() {
			defer end.Stop()
			for {
				select {
				case r.events <- &protocol.Event{Name: protocol.EventRenew}:
					time.Sleep(10 * time.Millisecond)
				case <-r.dropped:
					return
				}
			}
		}()
		return r, nil
	})
	if n < 9 || n > 11 {
		t.Errorf("renewed %d times in ten minutes of hints", n)
	}
}

// Nor does it get more if it drops the connection after each hint, or if it refuses
// every credential, so that the device comes as a stranger, and drops that.
func TestRunFloodDropped(t *testing.T) {
	hinting := func(b *fakeBroker, _ *agent.Credential) (agent.Connection, error) {
		r := &relay{b, make(chan *protocol.Event, 1), make(chan struct{})}
		r.events <- &protocol.Event{Name: protocol.EventRenew}
		time.AfterFunc(100*time.Millisecond, func() { close(r.dropped) })
		return r, nil
	}
	refusing := func(b *fakeBroker, c *agent.Credential) (agent.Connection, error) {
		if c != nil {
			return nil, agent.ErrCredential
		}
		r := &relay{b, nil, make(chan struct{})}
		close(r.dropped)
		return r, nil
	}
	if n := runs(t, 10*time.Minute, hinting); n > 11 {
		t.Errorf("renewed %d times in ten minutes of hints, each followed by a drop", n)
	}
	if n := runs(t, 10*time.Minute, refusing); n > 100 {
		t.Errorf("renewed %d times in ten minutes as a stranger", n)
	}
}

// The first hint is acted on at once; one within the minute after it is not forgotten.
func TestRunHints(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	enroll(t, b, cfg)
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, cfg)
		if _, err := a.Renew(t.Context(), b, agent.Ask{}); err != nil {
			t.Fatal(err)
		}
		r := &relay{b, make(chan *protocol.Event), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- a.Run(ctx, func(context.Context, *agent.Credential) (agent.Connection, error) { return r, nil })
		}()
		before := b.count()
		for _, step := range []struct {
			hint  bool
			sleep time.Duration
			want  int
		}{{true, 0, 1}, {true, 30 * time.Second, 1}, {true, 20 * time.Second, 1}, {false, 30 * time.Second, 2}, {false, 10 * time.Minute, 2}, {true, 0, 3}} {
			if step.hint {
				r.events <- &protocol.Event{Name: protocol.EventDisabled}
			}
			time.Sleep(step.sleep)
			synctest.Wait()
			if n := b.count() - before; n != step.want {
				t.Fatalf("%+v: renewed %d times", step, n)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

package agent_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
)

type fakeConnection struct {
	*fakeBroker
	events chan *protocol.Event
	done   chan struct{}
}

func (c *fakeConnection) Events() <-chan *protocol.Event { return c.events }
func (c *fakeConnection) Done() <-chan struct{}          { return c.done }
func (c *fakeConnection) Close() error                   { return nil }

// The clock of a bubble: no test here waits for real.
func TestRun(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	enroll(t, b, cfg)
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		var dials, strangers atomic.Int32
		conn := make(chan *fakeConnection, 1)
		dial := func(_ context.Context, c *agent.Credential) (agent.Connection, error) {
			if dials.Add(1) == 1 {
				return nil, errors.New("no route")
			}
			if c == nil {
				strangers.Add(1)
			} else if b.isDisabled() {
				return nil, agent.ErrCredential
			}
			fc := &fakeConnection{b, make(chan *protocol.Event, 1), make(chan struct{})}
			conn <- fc
			return fc, nil
		}
		ended := make(chan error)
		go func() { ended <- a.Run(ctx, dial) }()
		fc := <-conn
		synctest.Wait()
		calls := b.count()
		time.Sleep(26 * time.Minute)
		synctest.Wait()
		if b.count() != calls {
			t.Error("renewed before 45% of an hour")
		}
		time.Sleep(8 * time.Minute)
		synctest.Wait()
		if b.count() == calls || a.Status().Phase != agent.PhaseOnline {
			t.Errorf("not renewed at 55%% of an hour: %v", a.Status())
		}
		close(fc.done) // the broker restarts
		fc = <-conn
		synctest.Wait()
		if strangers.Load() != 1 || a.Status().Phase != agent.PhaseOnline {
			t.Errorf("connected %d times as a stranger with a good token in hand", strangers.Load())
		}
		b.disable(true)
		fc.events <- &protocol.Event{Name: protocol.EventDisabled}
		time.Sleep(2 * time.Second)
		if a.Status().Phase != agent.PhaseDisabled {
			t.Errorf("two seconds after the push: %v", a.Status())
		}
		go func() {
			for range conn { //nolint:revive // drain
			}
		}()
		b.disable(false)
		time.Sleep(5 * time.Minute)
		if a.Status().Phase != agent.PhaseOnline {
			t.Errorf("enabled again, but %v", a.Status())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		close(conn)
	})
}

// TestRunRenewsThoughTheClockWentBack: a device whose clock went back by years takes its token for
// fresh, and a broker whose clock was ahead does not end its connection: it renews all the same.
func TestRunRenewsThoughTheClockWentBack(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	enroll(t, b, cfg)
	var back atomic.Int64
	cfg.Clock = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		conn := make(chan *fakeConnection, 1)
		ended := make(chan error)
		go func() {
			ended <- a.Run(ctx, func(context.Context, *agent.Credential) (agent.Connection, error) {
				fc := &fakeConnection{b, make(chan *protocol.Event, 1), make(chan struct{})}
				conn <- fc
				return fc, nil
			})
		}()
		fc := <-conn
		synctest.Wait()
		back.Store(int64(5 * 365 * 24 * time.Hour))
		close(fc.done)
		<-conn
		synctest.Wait()
		calls := b.count()
		time.Sleep(34 * time.Minute)
		synctest.Wait()
		if b.count() == calls {
			t.Error("not renewed at 55% of an hour")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// doubtfulConnection is one whose certificate has ended by any time after good.
type doubtfulConnection struct {
	*fakeConnection
	a    *agent.Agent
	good time.Time
}

func (c *doubtfulConnection) Doubt() error {
	if c.a.Floor().After(c.good) {
		return errors.New("ended")
	}
	return nil
}

// TestRunInDoubt: a broker whose clock was ten years ahead has told a time at which its
// certificate has ended. The device shows no token, asks for new ones, and stays on the
// connection when they tell another time; else it does not.
func TestRunInDoubt(t *testing.T) {
	for name, right := range map[string]bool{"the clock is right again": true, "the certificate is old": false} {
		t.Run(name, func(t *testing.T) {
			b, cfg := newFakeBroker(t), config(t)
			now := b.now
			b.now = now.AddDate(10, 0, 0)
			enroll(t, b, cfg)
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t, cfg)
				if _, err := a.Renew(t.Context(), b, agent.Ask{}); err != nil {
					t.Fatal(err)
				}
				if right {
					b.now = now
				}
				ctx, cancel := context.WithCancel(t.Context())
				var shown, strangers int
				dial := func(_ context.Context, c *agent.Credential) (agent.Connection, error) {
					conn := &doubtfulConnection{&fakeConnection{b, nil, make(chan struct{})}, a, now.AddDate(0, 1, 0)}
					if c != nil && conn.Doubt() != nil {
						return nil, agent.ErrStale
					}
					if c != nil {
						shown++
					} else {
						strangers++
					}
					return conn, nil
				}
				ended := make(chan error)
				go func() { ended <- a.Run(ctx, dial) }()
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				st := a.Status()
				if right && (strangers != 1 || st.Phase != agent.PhaseOnline || a.Floor().After(now.AddDate(0, 1, 0))) {
					t.Errorf("dialled %d times, %+v, floor %v", strangers, st, a.Floor())
				}
				if !right && (strangers < 5 || st.Phase == agent.PhaseOnline || !errors.Is(st.Err, agent.ErrStale)) {
					t.Errorf("dialled %d times, %+v", strangers, st)
				}
				if shown != 0 {
					t.Errorf("a token was shown %d times", shown)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A broker that takes the credential and drops the connection at once is dialled
// less and less often; one that was good for a while is dialled at once again.
func TestRunDropped(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	enroll(t, b, cfg)
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, cfg)
		if _, err := a.Renew(t.Context(), b, agent.Ask{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var dials atomic.Int32
		var lasts atomic.Int64 // how long a connection does
		dial := func(context.Context, *agent.Credential) (agent.Connection, error) {
			dials.Add(1)
			fc := &fakeConnection{b, nil, make(chan struct{})}
			time.AfterFunc(time.Duration(lasts.Load()), func() { close(fc.done) })
			return fc, nil
		}
		ended := make(chan error)
		go func() { ended <- a.Run(ctx, dial) }()
		time.Sleep(10 * time.Minute)
		if n := dials.Load(); n < 10 || n > 100 {
			t.Errorf("dialled %d times in ten minutes", n)
		}
		lasts.Store(int64(2 * time.Minute))
		time.Sleep(4 * time.Minute) // the back-off ends, and a connection
		before := dials.Load()
		time.Sleep(8 * time.Minute)
		if n := dials.Load() - before; n < 3 {
			t.Errorf("dialled %d times in eight minutes after connections of two minutes", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		time.Sleep(3 * time.Minute) // the last timer
	})
}

// TestRunHasPatience: somebody who fetches a code takes longer than a call may
// otherwise, and no longer than is said.
func TestRunHasPatience(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	enroll(t, b, cfg)
	r, err := cfg.State.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Refresh = nil // so that it must authenticate
	if err := cfg.State.Save(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	b.flow, b.secret = []string{"totp"}, "123456"
	cfg.Patience = 2 * time.Minute
	for after, phase := range map[time.Duration]agent.Phase{100 * time.Second: agent.PhaseOnline, 10 * time.Minute: agent.PhaseOffline} {
		synctest.Test(t, func(t *testing.T) {
			cfg := cfg
			cfg.State = &agent.Memory{}
			if err := cfg.State.Save(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			cfg.Solver = func(ctx context.Context, _ string, _ map[string]string) ([]byte, error) {
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(after):
					return []byte("123456"), nil
				}
			}
			a := newAgent(t, cfg)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() {
				ended <- a.Run(ctx, func(context.Context, *agent.Credential) (agent.Connection, error) {
					return &fakeConnection{b, make(chan *protocol.Event, 1), make(chan struct{})}, nil
				})
			}()
			time.Sleep(160 * time.Second)
			if got := a.Status().Phase; got != phase {
				t.Errorf("with an answer after %v: %s, want %s", after, got, phase)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

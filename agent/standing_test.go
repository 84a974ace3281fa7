package agent_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
)

// One program's impossible demand is no news of the device.
func TestRefusedWishKeepsTheStanding(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	usual := a.Current()
	b.not = "vault"
	if _, err := a.Renew(t.Context(), b, agent.Ask{Audience: "vault"}); !errors.Is(err, protocol.CodeDenied) {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Renew(gone, deadLink{}, agent.Ask{Audience: "x"}); err == nil {
		t.Fatal("a call on a dead link went well")
	}
	if st := a.Status(); st.Phase != agent.PhaseOnline || a.Current() != usual {
		t.Errorf("standing after a refused demand: %+v", st)
	}
	b.disabled = true
	if _, err := a.Renew(t.Context(), b, agent.Ask{Audience: "x"}); !errors.Is(err, protocol.CodeDisabled) {
		t.Fatal(err)
	}
	if st := a.Status(); st.Phase != agent.PhaseDisabled || a.Current() != nil {
		t.Errorf("that the device is disabled counts whoever asked: %+v", st)
	}
}

type deadLink struct{}

func (deadLink) RoundTrip(ctx context.Context, _ []byte) ([]byte, error) { return nil, ctx.Err() }

// A session that is over is replaced without a word: nobody reads "refused" on a
// device that is let in with its key a moment later.
func TestSessionOverIsNoRefusal(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	a := enroll(t, b, cfg)
	clear(b.refresh)
	if _, err := a.Renew(t.Context(), b, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "standing changed"); n != 1 || a.Status().Phase != agent.PhaseOnline {
		t.Errorf("%d changes of standing, want the enrollment's:\n%s", n, &log)
	}
}

// A disabled device asks once per attempt, not again with its key.
func TestDisabledAsksOnce(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	b.disabled = true
	calls := b.count()
	if _, err := a.Renew(t.Context(), b, agent.Ask{}); !errors.Is(err, protocol.CodeDisabled) || b.count() != calls+1 {
		t.Errorf("%v after %d requests", err, b.count()-calls)
	}
}

// A full disk costs an enrolled device nothing but its memory of the last grant.
func TestFullDisk(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	full := &memoryState{full: syscall.ENOSPC}
	cfg.State = full
	a := newAgent(t, cfg)
	if _, err := a.Enroll(t.Context(), b, agent.Admission{Token: b.admit}); !errors.Is(err, syscall.ENOSPC) || a.Enrolled() {
		t.Fatalf("enrolled without being able to remember it: %v", err)
	}
	full.full = nil
	if _, err := a.Enroll(t.Context(), b, agent.Admission{Token: b.admit}); err != nil {
		t.Fatal(err)
	}
	full.full = syscall.ENOSPC
	for range 3 { // each refresh token is used once, out of memory
		if _, err := a.Refresh(t.Context(), b, agent.Ask{}); err != nil {
			t.Fatal(err)
		}
	}
	if st := a.Status(); st.Phase != agent.PhaseOnline || !errors.Is(st.Unsaved, syscall.ENOSPC) {
		t.Errorf("%+v", st)
	}
	again := newAgent(t, cfg) // after a reboot, with a refresh token that was used
	if _, err := again.Renew(t.Context(), b, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	full.full = nil
	if _, err := again.Renew(t.Context(), b, agent.Ask{}); err != nil || again.Status().Unsaved != nil {
		t.Errorf("there is room again: %v, %v", err, again.Status().Unsaved)
	}
}

// A world is one running agent and a broker that is there or not.
type world struct {
	b *fakeBroker
	a *agent.Agent

	mu    sync.Mutex // protects the fields below
	up    bool
	dials []time.Time
	conns []*fakeConnection
}

func (w *world) dial(_ context.Context, c *agent.Credential) (agent.Connection, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials = append(w.dials, time.Now())
	switch {
	case !w.up:
		return nil, errors.New("no route")
	case c != nil && w.b.isDisabled():
		return nil, agent.ErrCredential
	}
	fc := &fakeConnection{w.b, make(chan *protocol.Event, 1), make(chan struct{})}
	w.conns = append(w.conns, fc)
	return fc, nil
}

// attempts gives when the agent has dialled since the last call.
func (w *world) attempts() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	made := w.dials
	w.dials = nil
	return made
}

// drop ends all connections; new ones are possible or not.
func (w *world) drop(up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up = up
	for _, c := range w.conns {
		close(c.done)
	}
	w.conns = nil
}

// inWorld runs an enrolled agent on a clock of its own.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	b, cfg := newFakeBroker(t), config(t)
	enroll(t, b, cfg)
	synctest.Test(t, func(t *testing.T) {
		w := &world{b: b, a: newAgent(t, cfg), up: true}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.a.Run(ctx, w.dial) }()
		synctest.Wait()
		if w.a.Status().Phase != agent.PhaseOnline {
			t.Fatalf("%+v", w.a.Status())
		}
		f(t, w)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// wait lets time pass until no goroutine has anything to do.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Three days without a broker: the device tries at least every minute, at uneven
// times, and is back within a minute of the broker.
func TestLongOutage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.drop(false)
		w.attempts()
		const days = 3
		wait(days * 24 * time.Hour)
		if st := w.a.Status(); st.Phase != agent.PhaseOffline || st.Err == nil {
			t.Errorf("%+v", st)
		}
		dials := w.attempts()
		if n, least := len(dials), days*24*60; n < least || n > 3*least {
			t.Errorf("%d attempts in %d days, want one in half a minute or so", n, days)
		}
		gaps := map[time.Duration]bool{}
		for i := range dials[1:] {
			gap := dials[i+1].Sub(dials[i])
			if gaps[gap] = true; gap > time.Minute {
				t.Errorf("no attempt for %v", gap)
			}
		}
		if len(gaps) < len(dials)/2 {
			t.Errorf("%d attempts, only %d different pauses: a fleet would come all at once", len(dials), len(gaps))
		}
		w.drop(true)
		wait(time.Minute)
		if w.a.Status().Phase != agent.PhaseOnline {
			t.Errorf("a minute after the broker came back: %+v", w.a.Status())
		}
	})
}

// A broker that comes and goes for a week finds the device there each time.
func TestManyRestarts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 7 * 24 {
			w.drop(false)
			wait(time.Duration(i%50) * time.Second)
			w.drop(true)
			wait(time.Hour)
			if w.a.Status().Phase != agent.PhaseOnline {
				t.Fatalf("restart %d: %+v", i, w.a.Status())
			}
		}
	})
}

// A disabled device knows, asks a few times a minute at most, and is back within
// a minute of being enabled.
func TestDisabledForADay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.b.disable(true)
		w.drop(true) // the broker ends the connection
		wait(5 * time.Second)
		if w.a.Status().Phase != agent.PhaseDisabled {
			t.Errorf("%+v", w.a.Status())
		}
		calls := w.b.count()
		wait(24 * time.Hour)
		if n := w.b.count() - calls; n > 4*24*60 {
			t.Errorf("%d requests in a day by a disabled device", n)
		}
		w.b.disable(false)
		wait(62 * time.Second)
		if w.a.Status().Phase != agent.PhaseOnline {
			t.Errorf("a minute after it was enabled: %+v", w.a.Status())
		}
	})
}

// Nobody signs refusals, so none puts a device to sleep for years.
func TestNoRefusalLastsForEver(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.b.wait = math.MaxUint32
		w.b.disable(true)
		w.drop(true)
		wait(time.Minute)
		w.b.disable(false)
		wait(time.Hour + 2*time.Minute)
		if w.a.Status().Phase != agent.PhaseOnline {
			t.Errorf("%+v", w.a.Status())
		}
	})
}

// Lives of no length do not make a device renew without pause.
func TestShortLives(t *testing.T) {
	b := newFakeBroker(t)
	b.life = 0
	cfg := config(t)
	enroll(t, b, cfg)
	synctest.Test(t, func(t *testing.T) {
		w := &world{b: b, a: newAgent(t, cfg), up: true}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		before := b.count()
		if err := w.a.Run(ctx, w.dial); err != nil {
			t.Error(err)
		}
		if n := b.count() - before; n > 120 {
			t.Errorf("%d requests in a minute", n)
		}
	})
}

// Devices that were granted at the same moment renew at moments of their own,
// between 45 and 55% of their tokens' life.
func TestRenewalsAreSpread(t *testing.T) {
	at := map[time.Duration]bool{}
	for range 12 {
		inWorld(t, func(t *testing.T, w *world) {
			start, calls := time.Now(), w.b.count()
			for w.b.count() == calls && time.Since(start) < time.Hour {
				wait(time.Second)
			}
			took := time.Since(start)
			if at[took] = true; took < 27*time.Minute || took > 33*time.Minute+time.Second {
				t.Errorf("renewed after %v", took)
			}
		})
	}
	if len(at) < 6 {
		t.Errorf("12 devices renewed at %d moments", len(at))
	}
}

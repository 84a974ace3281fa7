package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/signetd/signet/protocol"
)

// A Connection is a Link that lasts, and on which the broker can push.
type Connection interface {
	Link
	// Events gives what the broker pushes. Hints, all of them.
	Events() <-chan *protocol.Event
	// Done is closed when the connection has ended.
	Done() <-chan struct{}
	Close() error
}

// A Dialer connects: with the credential, or as a stranger if it is nil. It
// wraps ErrCredential when the broker did not take the credential or the credential is
// not for the one who answers there, and ErrStale when it did not show it, because the
// connection is Doubtful.
type Dialer func(ctx context.Context, c *Credential) (Connection, error)

// ErrStale: what shows that the broker is there has ended, by the time heard last.
var ErrStale = errors.New("out of date by the time last heard from the broker")

// Timing of Run.
const (
	callTimeout = 30 * time.Second // for one call, all its rounds included
	backoffBase = 500 * time.Millisecond
	backoffCap  = time.Minute
	longestWait = time.Hour       // that a refusal may ask for: nobody signs refusals
	renewLeast  = time.Second     // between renewals, however short the broker makes lives
	leastLeft   = 5 * time.Second // a token with less life left is not offered to anyone
	steady      = time.Minute     // a connection that lasted so long was a good one
	hintGap     = time.Minute     // between renewals by hint, or a fifth more
)

// Run keeps the device authenticated until ctx ends: it connects, renews at half
// of the token's life (10% more or less, so that a fleet spreads out) and when the
// broker hints that something has changed, reconnects with capped exponential
// backoff and full jitter, and waits as long as a refusal asks, an hour at most. It
// returns nil when ctx ends; a refusal is no reason to give up.
//
// Neither hints nor refusals are signed: whoever relays the device's messages can send
// them, and drop connections, as he likes. So that he cannot keep a device busy, hints
// are acted on once a minute at most, and the backoff starts anew as seldom.
func (a *Agent) Run(ctx context.Context, dial Dialer) error {
	var h hints
	var anew time.Time // when the backoff last started anew
	for attempt := 0; ctx.Err() == nil; attempt++ {
		worked, err := a.connected(ctx, dial, &h)
		if ctx.Err() != nil {
			break
		}
		if now := a.cfg.Clock(); worked && (anew.IsZero() || now.Sub(anew).Abs() >= steady) {
			attempt, anew = 0, now
		}
		wait := a.pause(attempt, err)
		a.cfg.Log.Debug("not connected", "err", err, "retry_in", wait)
		sleep(ctx, wait)
	}
	return nil
}

// connected dials and lives on the connection until it ends. worked tells whether
// anything was granted on it, or it lasted: a broker that lets a device in and drops
// it at once is not to be dialled as if all were well.
func (a *Agent) connected(ctx context.Context, dial Dialer, h *hints) (worked bool, err error) {
	cred := a.Credential()
	conn, err := a.dial(ctx, dial, cred)
	if cred != nil && (errors.Is(err, ErrCredential) || errors.Is(err, ErrStale)) {
		cred = nil
		conn, err = a.dial(ctx, dial, nil)
	}
	if err != nil {
		a.note(nil, err)
		return false, err
	}
	defer conn.Close() //nolint:errcheck // it is over either way
	if cred == nil {
		if err := a.renewOn(ctx, conn, h); err != nil {
			return false, err
		}
		if err := Doubt(conn); err != nil {
			a.note(nil, err)
			return false, err
		}
	} else {
		a.note(a.Current(), nil)
	}
	began := a.cfg.Clock()
	granted, err := a.stay(ctx, conn, h)
	return granted || cred == nil || a.cfg.Clock().Sub(began) >= steady, err
}

// Doubt says why link is good for nothing but asking for tokens (Doubtful); it wraps
// ErrStale. It is nil if link is good.
func Doubt(link Link) error {
	d, ok := link.(Doubtful)
	if !ok {
		return nil
	}
	if err := d.Doubt(); err != nil {
		return fmt.Errorf("%w: %w", ErrStale, err)
	}
	return nil
}

func (a *Agent) dial(ctx context.Context, dial Dialer, c *Credential) (Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return dial(ctx, c)
}

func (a *Agent) renewOn(ctx context.Context, link Link, h *hints) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout+a.cfg.Patience)
	defer cancel()
	_, err := a.Renew(ctx, link, Ask{})
	if err == nil {
		h.waiting = false
	}
	return err
}

// stay renews in time and whenever the broker hints that something has changed.
// granted tells whether it got anything.
func (a *Agent) stay(ctx context.Context, conn Connection, h *hints) (granted bool, err error) {
	for {
		g := a.Current()
		if g == nil {
			return granted, ErrNoSession
		}
		due := time.NewTimer(a.renewIn(g))
		err := a.await(ctx, conn, due.C, h)
		due.Stop()
		if err == nil {
			err = a.renewOn(ctx, conn, h)
		}
		if err != nil {
			return granted, err
		}
		granted = true
	}
}

// await returns when it is time to renew: due, or a hint's turn. It is an error
// that the connection is over.
func (a *Agent) await(ctx context.Context, conn Connection, due <-chan time.Time, h *hints) error {
	var turn <-chan time.Time
	for {
		if h.waiting && turn == nil {
			t := time.NewTimer(h.left(a.cfg.Clock()))
			defer t.Stop() // one at most
			turn = t.C
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-conn.Done():
			err := errors.New("connection lost")
			a.note(nil, err)
			return err
		case ev, ok := <-conn.Events():
			if !ok {
				return errors.New("connection lost")
			}
			a.cfg.Log.Debug("broker hints", "event", ev.Name)
			h.waiting = true
		case <-turn:
			h.next = a.cfg.Clock().Add(hintGap + time.Duration(a.fraction()*float64(hintGap/5)))
			return nil
		case <-due:
			return nil
		}
	}
}

// hints are what the broker, or anybody in between, says of changes. They outlive
// the connection, so that dropping it does not earn another renewal.
type hints struct {
	waiting bool      // one came, and nothing was granted since
	next    time.Time // when one may be acted on, by the agent's clock
}

// left is how long a hint must wait, however the clock was set meanwhile.
func (h *hints) left(now time.Time) time.Duration {
	return max(0, min(h.next.Sub(now), hintGap+hintGap/5))
}

// renewIn is the time until half of g's life has passed, 10% more or less: no longer than that, if the
// clock has gone back since g came, for a broker whose clock was ahead then may never end the connection.
func (a *Agent) renewIn(g *Tokens) time.Duration {
	half := time.Duration(float64(g.Life) * (0.45 + 0.1*a.fraction()))
	return max(half-max(a.cfg.Clock().Sub(g.Arrived), 0), renewLeast)
}

// pause is how long to wait after the given number of failures in a row.
func (a *Agent) pause(attempt int, err error) time.Duration {
	ceiling := backoffCap
	if attempt < 8 {
		ceiling = min(backoffBase<<attempt, backoffCap)
	}
	wait := time.Duration(float64(ceiling) * a.fraction())
	var r *protocol.Refusal
	if errors.As(err, &r) {
		asked := min(time.Duration(r.Problem.Signet.RetryAfter)*time.Second, longestWait)
		wait = asked + max(wait, backoffBase)
	}
	return wait
}

// fraction is random, 0 <= f < 1.
func (a *Agent) fraction() float64 {
	var b [8]byte
	if _, err := io.ReadFull(a.cfg.Random, b[:]); err != nil {
		return 0.5 // jitter is a courtesy
	}
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

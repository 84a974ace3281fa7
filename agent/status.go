package agent

import (
	"errors"
	"time"

	"github.com/signetd/signet/protocol"
)

// A Phase is where the device stands with the broker.
type Phase string

// The phases.
const (
	PhaseStarting Phase = "starting" // nothing has been tried yet
	PhaseOnline   Phase = "online"   // the last call was granted
	PhaseOffline  Phase = "offline"  // the broker cannot be reached
	PhaseDisabled Phase = "disabled" // an operator has disabled the device
	PhasePending  Phase = "pending"  // an operator has yet to approve it
	PhaseRefused  Phase = "refused"  // the broker refused it otherwise
	PhaseDistrust Phase = "distrust" // what answered is not the pinned broker
)

// A Status is what is known of the device's standing.
type Status struct {
	Phase Phase
	Since time.Time     // when the phase began, by the local clock
	Err   error         // why, unless online
	Retry time.Duration // what the broker asked to wait, 0 if it did not
	// Unsaved says why the last grant could not be saved, nil if it was. The device
	// goes on with what it has in memory, and with its key alone after a restart.
	Unsaved error
	// Relayed: somebody in between passes the device's messages on. The broker's last grant,
	// which nobody else can make, says that it did not hear the device on the TLS
	// connection that this is on. Whoever it is can delay and drop, and nothing else.
	Relayed bool
}

// Status gives the outcome of the last call.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

// noteFor remembers how a call for ask went. What fails because of a special demand,
// such as an audience that the client may not have, tells nothing of the device's
// standing: one program's mistake must not keep tokens from the others.
func (a *Agent) noteFor(ask Ask, g *Tokens, err error) {
	if p := phaseOf(err); !ask.usual() && err != nil && p != PhaseDisabled && p != PhasePending {
		return
	}
	a.note(g, err)
}

// note remembers how a call went.
func (a *Agent) note(g *Tokens, err error) {
	s := Status{Phase: phaseOf(err), Err: err, Since: a.cfg.Clock()}
	var r *protocol.Refusal
	if errors.As(err, &r) {
		s.Retry = time.Duration(r.Problem.Signet.RetryAfter) * time.Second
	}
	if errors.Is(err, ErrNoSession) {
		return // nothing was asked of the broker
	}
	a.mu.Lock()
	if s.Phase == a.status.Phase {
		s.Since = a.status.Since
	}
	if s.Phase == PhaseDisabled || s.Phase == PhasePending || s.Phase == PhaseRefused && a.status.Phase != PhaseOnline {
		a.current = nil
	}
	changed := s.Phase != a.status.Phase
	s.Unsaved, s.Relayed = a.status.Unsaved, a.status.Relayed
	a.status = s
	a.mu.Unlock()
	if changed {
		attrs := []any{"device", a.cfg.Device.String(), "phase", string(s.Phase)}
		if err != nil {
			attrs = append(attrs, "err", err)
		}
		a.cfg.Log.Info("standing changed", attrs...)
	}
}

func phaseOf(err error) Phase {
	switch {
	case err == nil:
		return PhaseOnline
	case errors.Is(err, protocol.CodeDisabled):
		return PhaseDisabled
	case errors.Is(err, protocol.CodePending):
		return PhasePending
	case errors.Is(err, ErrGrant):
		return PhaseDistrust
	}
	var r *protocol.Refusal
	if errors.As(err, &r) {
		return PhaseRefused
	}
	return PhaseOffline
}

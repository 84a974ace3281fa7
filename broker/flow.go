package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// A Flow says which challenges a device answers, in order.
type Flow struct {
	Pool    ident.Pool
	Name    string
	Steps   []string // KindKey, KindPSK or "hook:NAME"
	Define  string   // instead of Steps: the hook that decides after each answer
	Created time.Time
}

// MaxChallengeName is the longest name of a custom challenge, in bytes: results are
// told by it, and travel with the exchange.
const MaxChallengeName = 32

// Validate checks that the flow has steps or a define hook, and no unknown step.
func (f *Flow) Validate() error {
	if err := CheckLabel("flow", f.Name); err != nil {
		return err
	}
	if (len(f.Steps) == 0) == (f.Define == "") {
		return fmt.Errorf("%w: flow %q has either steps or a define hook", ErrInvalid, f.Name)
	}
	if len(f.Steps) > 8 {
		return fmt.Errorf("%w: flow %q has %d steps, at most 8", ErrInvalid, f.Name, len(f.Steps))
	}
	for _, s := range f.Steps {
		if s == KindKey || s == KindPSK {
			continue
		}
		name, ok := HookStep(s)
		if name == KindKey || name == KindPSK || name == "enrol" {
			return fmt.Errorf("%w: flow %q: a challenge cannot be called %q, that is one of the protocol's own; name the hook otherwise", ErrInvalid, f.Name, name)
		}
		if len(name) > MaxChallengeName {
			return fmt.Errorf("%w: flow %q: %q is too long to name a challenge, at most %d characters", ErrInvalid, f.Name, name, MaxChallengeName)
		}
		if !ok || CheckLabel("hook", name) != nil {
			return fmt.Errorf("%w: flow %q: unknown step %q, want key, psk or hook:NAME", ErrInvalid, f.Name, s)
		}
	}
	return nil
}

// HookStep gives the hook's name of a step "hook:NAME".
func HookStep(step string) (string, bool) {
	const prefix = "hook:"
	if len(step) <= len(prefix) || step[:len(prefix)] != prefix {
		return "", false
	}
	return step[len(prefix):], true
}

// Flows keeps flows.
type Flows interface {
	PutFlow(ctx context.Context, by By, f Flow) error
	Flow(ctx context.Context, pool ident.Pool, name string) (Flow, error)
	ListFlows(ctx context.Context, pool ident.Pool) ([]Flow, error)
	DeleteFlow(ctx context.Context, by By, pool ident.Pool, name string) error
}

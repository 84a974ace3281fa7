package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
)

// A Flow says which challenges a device answers, in order: Steps, then what Define decides.
type Flow struct {
	Pool   ident.Pool `json:"-"`
	Name   string     `json:"-"`
	Steps  []string   `json:"steps,omitempty"`  // names of challenges that are steps, or "hook:NAME"
	Define string     `json:"define,omitempty"` // the hook that decides what comes after Steps, and after each answer to that
	// HookFirst allows a flow that begins with a hook: whoever sends one message, in any
	// device's name, makes the broker call it.
	HookFirst bool      `json:"hookFirst,omitempty"`
	Created   time.Time `json:"-"`
	Rev       uint64    `json:"-"` // the store's
}

// DefaultFlow is the flow that a new pool has: one proof with the enrolled key.
const DefaultFlow = "default"

// MaxChallengeName is the longest name of a custom challenge, in bytes: results are
// told by it, and travel with the exchange.
const MaxChallengeName = 32

// ValidChallengeName reports whether s may name a custom challenge: 1 to
// MaxChallengeName printable ASCII characters.
func ValidChallengeName(s string) bool { return s != "" && printable(s, MaxChallengeName) }

// MaxSteps is how many challenges a flow has at most.
const MaxSteps = 8

// After says what comes after n answers: a step or, if decided, what the define hook says. If it is
// neither, the flow is done.
func (f *Flow) After(n int) (step string, decided bool) {
	if n < len(f.Steps) {
		return f.Steps[n], false
	}
	return "", f.Define != ""
}

// Validate checks that the flow has steps or a define hook, no unknown step, and says so if it
// begins with a hook, and only then.
func (f *Flow) Validate() error {
	var broken Violations
	broken.add(checkLabel("name", "flow", f.Name))
	if len(f.Steps) == 0 && f.Define == "" {
		broken.add(Invalid("", "flow %q has neither steps nor a define hook", f.Name))
	}
	if f.Define != "" {
		broken.add(checkLabel("define", "hook", f.Define))
	}
	if len(f.Steps) > MaxSteps {
		broken.add(Invalid("steps", "flow %q has %d steps, at most %d", f.Name, len(f.Steps), MaxSteps))
	}
	for i := range f.Steps {
		broken.add(f.checkStep(i))
	}
	switch begins := f.beginsWithHook(); {
	case begins && !f.HookFirst:
		at := "steps[0]"
		if len(f.Steps) == 0 {
			at = "define"
		}
		broken.add(Invalid(at, "flow %q begins with a hook: anybody who can reach the broker could make it call your hook, without any proof; begin with %s, or say that you want this (hookFirst, --hook-first)", f.Name, strings.Join(steps(provesKey), " or ")))
	case !begins && f.HookFirst:
		broken.add(Invalid("hookFirst", "flow %q does not begin with a hook", f.Name))
	}
	return broken.or()
}

// beginsWithHook reports whether a hook is called before the device has answered anything.
func (f *Flow) beginsWithHook() bool {
	step, decided := f.After(0)
	_, hook := HookStep(step)
	return hook || decided
}

// checkStep checks one step: a challenge of the protocol's in its place, or a hook of
// another name.
func (f *Flow) checkStep(i int) error {
	step, field := f.Steps[i], fmt.Sprintf("steps[%d]", i)
	if kind, ok := challenge.Of(step); ok && kind.Step {
		if kind.AfterKey && !slices.ContainsFunc(f.Steps[:i], provesKey) {
			return Invalid(field, "flow %q: %s comes after %s: before one of them anybody could use up a device's tries", f.Name, step, strings.Join(steps(provesKey), " or "))
		}
		return nil
	}
	name, ok := HookStep(step)
	_, own := challenge.Of(name)
	switch {
	case own:
		return Invalid(field, "flow %q: a challenge cannot be called %q, that is one of the protocol's own; name the hook otherwise", f.Name, name)
	case len(name) > MaxChallengeName:
		return Invalid(field, "flow %q: %q is too long to name a challenge, at most %d characters", f.Name, name, MaxChallengeName)
	case !ok || checkLabel("", "hook", name) != nil:
		return Invalid(field, "flow %q: unknown step %q, want %s or hook:NAME", f.Name, step, strings.Join(steps(nil), ", "))
	}
	return nil
}

// provesKey reports whether a step's answer proves that the device has a key.
func provesKey(step string) bool {
	kind, _ := challenge.Of(step)
	return kind.Step && kind.Possession
}

// steps gives the challenges that flows can have as steps; keep, if not nil, says which.
func steps(keep func(step string) bool) (names []string) {
	for _, k := range challenge.Kinds() {
		if k.Step && (keep == nil || keep(k.Name)) {
			names = append(names, k.Name)
		}
	}
	return names
}

// HookStep gives the hook's name of a step "hook:NAME".
func HookStep(step string) (string, bool) {
	const prefix = "hook:"
	if len(step) <= len(prefix) || step[:len(prefix)] != prefix {
		return "", false
	}
	return step[len(prefix):], true
}

// FlowKind is the kind of a pool's flows.
func FlowKind() Kind[Flow] {
	return Kind[Flow]{
		Name: "flow", Plural: "flows", Check: (*Flow).Validate,
		New:  func(pool ident.Pool, name string) Flow { return Flow{Pool: pool, Name: name} },
		Head: func(f *Flow) Head { return Head{Pool: &f.Pool, Name: &f.Name, Rev: &f.Rev, Created: &f.Created} },
		Own: func(f Flow) Flow {
			f.Steps = slices.Clone(f.Steps)
			return f
		},
		Refs: func(f *Flow) (hooks []Ref) {
			if f.Define != "" {
				hooks = append(hooks, Ref{HookKind().Name, f.Define})
			}
			for _, s := range f.Steps {
				if name, ok := HookStep(s); ok && !slices.Contains(hooks, Ref{HookKind().Name, name}) {
					hooks = append(hooks, Ref{HookKind().Name, name})
				}
			}
			return hooks
		},
	}
}

// Flow finds a flow.
func (c *Catalog) Flow(ctx context.Context, pool ident.Pool, name string) (*Flow, error) {
	return FlowKind().Find(ctx, c, pool, name)
}

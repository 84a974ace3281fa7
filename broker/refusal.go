package broker

import (
	"errors"
	"fmt"
	"strings"
)

// A Refusal is a broken rule in words for an operator: what, and what to do first.
// It wraps the kind of error it is without repeating that kind's own text.
type Refusal struct {
	Kind  error  // ErrInvalid, ErrConflict ...
	Text  string // a whole sentence without its subject's pool
	Of    Ref    // the setting that breaks the rule; zero when the caller knows
	Field string // where in it, in the words of the setting's body: "steps[1]"; empty: the whole
	Needs Ref    // the setting that is missing, if that is it
}

func (r *Refusal) Error() string { return r.Text }

// Unwrap gives the kind of error.
func (r *Refusal) Unwrap() error { return r.Kind }

// Invalid is a Refusal of a value that breaks the domain's rules.
func Invalid(field, format string, args ...any) *Refusal {
	return &Refusal{Kind: ErrInvalid, Text: fmt.Sprintf(format, args...), Field: field}
}

// Conflict is a Refusal of a change that what is stored forbids.
func Conflict(format string, args ...any) *Refusal {
	return &Refusal{Kind: ErrConflict, Text: fmt.Sprintf(format, args...)}
}

// InUse is a Refusal to take away what devices or people live by, in words that say what
// would break. Force does it all the same.
func InUse(format string, args ...any) *Refusal {
	return &Refusal{Kind: ErrInUse, Text: fmt.Sprintf(format, args...) + "; force it if that is meant"}
}

// Refusals are all rules that one change breaks, at least one.
type Refusals []*Refusal

func (all Refusals) Error() string {
	texts := make([]string, 0, len(all))
	for _, r := range all {
		texts = append(texts, r.Text)
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives each.
func (all Refusals) Unwrap() []error {
	out := make([]error, 0, len(all))
	for _, r := range all {
		out = append(out, r)
	}
	return out
}

// add notes what err reports; nothing if it is nil.
func (all *Refusals) add(err error) { *all = append(*all, RefusalsOf(err)...) }

// or gives what is broken, nil if nothing is.
func (all Refusals) or() error {
	if len(all) == 0 {
		return nil
	}
	return all
}

// RefusalsOf gives the broken rules that err reports, nil if it is about something else.
func RefusalsOf(err error) Refusals {
	var all Refusals
	var one *Refusal
	switch {
	case errors.As(err, &all):
		return all
	case errors.As(err, &one):
		return Refusals{one}
	}
	return nil
}

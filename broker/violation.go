package broker

import (
	"errors"
	"fmt"
	"strings"
)

// A Violation is a broken rule in words for an operator: what, and what to do first.
// It wraps the kind of error it is without repeating that kind's own text.
type Violation struct {
	Kind  error  // ErrInvalid, ErrConflict ...
	Text  string // a whole sentence without its subject's pool
	Of    Ref    // the setting that breaks the rule; zero when the caller knows
	Field string // where in it, in the words of the setting's body: "steps[1]"; empty: the whole
	Needs Ref    // the setting that is missing, if that is it
}

func (r *Violation) Error() string { return r.Text }

// Unwrap gives the kind of error.
func (r *Violation) Unwrap() error { return r.Kind }

// Invalid is a Violation of a value that breaks the domain's rules.
func Invalid(field, format string, args ...any) *Violation {
	return &Violation{Kind: ErrInvalid, Text: fmt.Sprintf(format, args...), Field: field}
}

// Conflict is a Violation of a change that what is stored forbids.
func Conflict(format string, args ...any) *Violation {
	return &Violation{Kind: ErrConflict, Text: fmt.Sprintf(format, args...)}
}

// InUse is a Violation to take away what devices or people live by, in words that say what
// would break. Force does it all the same.
func InUse(format string, args ...any) *Violation {
	return &Violation{Kind: ErrInUse, Text: fmt.Sprintf(format, args...) + "; force it if that is meant"}
}

// Violations are all rules that one change breaks, at least one.
type Violations []*Violation

func (all Violations) Error() string {
	texts := make([]string, 0, len(all))
	for _, r := range all {
		texts = append(texts, r.Text)
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives each.
func (all Violations) Unwrap() []error {
	out := make([]error, 0, len(all))
	for _, r := range all {
		out = append(out, r)
	}
	return out
}

// add notes what err reports; nothing if it is nil.
func (all *Violations) add(err error) { *all = append(*all, ViolationsOf(err)...) }

// or gives what is broken, nil if nothing is.
func (all Violations) or() error {
	if len(all) == 0 {
		return nil
	}
	return all
}

// ViolationsOf gives the broken rules that err reports, nil if it is about something else.
func ViolationsOf(err error) Violations {
	var all Violations
	var one *Violation
	switch {
	case errors.As(err, &all):
		return all
	case errors.As(err, &one):
		return Violations{one}
	}
	return nil
}

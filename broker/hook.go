package broker

import (
	"bytes"
	"context"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// A Hook is an HTTP webhook that takes part in flows.
type Hook struct {
	Pool    ident.Pool    `json:"-"`
	Name    string        `json:"-"`
	URL     string        `json:"url"`
	Sealed  []byte        `json:"sealed,omitempty"` // the signing secret, sealed
	Timeout time.Duration `json:"timeout"`
	Created time.Time     `json:"-"`
	Rev     uint64        `json:"-"` // the store's
}

// How long a hook's answer may take.
const (
	DefaultHookTimeout = 2 * time.Second
	MinHookTimeout     = 100 * time.Millisecond
	MaxHookTimeout     = 10 * time.Second
)

// Validate gives the bounds that a hook breaks. Where it may be is a policy's to say.
func (h *Hook) Validate() error {
	var broken Violations
	broken.add(checkLabel("name", "hook", h.Name))
	if h.Timeout < MinHookTimeout || h.Timeout > MaxHookTimeout {
		broken.add(Invalid("timeout", "hook %s: timeout %s, want %s to %s", h.Name, Span(h.Timeout), Span(MinHookTimeout), Span(MaxHookTimeout)))
	}
	return broken.or()
}

// HookKind is the kind of a pool's hooks. A replacement keeps the signing secret.
func HookKind() Kind[Hook] {
	return Kind[Hook]{
		Name: "hook", Plural: "hooks", Check: (*Hook).Validate,
		New: func(pool ident.Pool, name string) Hook {
			return Hook{Pool: pool, Name: name, Timeout: DefaultHookTimeout}
		},
		Head: func(h *Hook) Head { return Head{Pool: &h.Pool, Name: &h.Name, Rev: &h.Rev, Created: &h.Created} },
		Own: func(h Hook) Hook {
			h.Sealed = bytes.Clone(h.Sealed)
			return h
		},
		Keep: func(old, h *Hook) {
			if h.Sealed == nil {
				h.Sealed = old.Sealed
			}
		},
	}
}

// Hook finds a hook.
func (c *Catalog) Hook(ctx context.Context, pool ident.Pool, name string) (*Hook, error) {
	return HookKind().Find(ctx, c, pool, name)
}

package control

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// Hooks are the use cases of hooks. A new hook gets a signing secret (Standard Webhooks,
// "whsec_" and base64), which is returned once.
func (p *Plane) Hooks() Settings[broker.Hook] {
	s := Of(p, broker.HookKind())
	// Names are resolved and checked when the hook is called; here only what is
	// plainly wrong is refused, so that the operator learns at once.
	s.admit = func(_, h *broker.Hook, _ time.Time) error {
		if err := p.HookTargets.CheckURL(h.URL); err != nil {
			return broker.Invalid("url", "hook %s: %s", h.Name, strings.TrimPrefix(err.Error(), broker.ErrInvalid.Error()+": "))
		}
		return nil
	}
	s.complete = func(h *broker.Hook) (secret string, err error) {
		h.Sealed, secret, err = p.newHookSecret(h.Pool, h.Name)
		return secret, err
	}
	return s
}

// A HookChange is what an operator changes of a hook; what is zero stays as it is.
type HookChange struct {
	URL       string
	Timeout   time.Duration
	NewSecret bool // make a new signing secret; the old one is of no use any more
}

// UpdateHook changes a hook and gives its new signing secret, if one was asked for.
func (p *Plane) UpdateHook(ctx context.Context, by broker.By, pool ident.Pool, name string, m *Match, change HookChange) (h broker.Hook, secret string, err error) {
	h, err = p.Hooks().Change(ctx, by, pool, name, m, func(h *broker.Hook) (err error) {
		if change.URL != "" {
			h.URL = change.URL
		}
		if change.Timeout != 0 {
			h.Timeout = change.Timeout
		}
		if change.NewSecret {
			h.Sealed, secret, err = p.newHookSecret(pool, name)
		}
		return err
	})
	return h, secret, err
}

// newHookSecret makes a signing secret, and gives it sealed and as text.
func (p *Plane) newHookSecret(pool ident.Pool, name string) (sealed []byte, secret string, err error) {
	raw, err := p.random(32)
	if err != nil {
		return nil, "", err
	}
	secret = "whsec_" + base64.StdEncoding.EncodeToString(raw)
	if sealed, err = p.Sealer.Seal(broker.HookPurpose(pool, name), []byte(secret)); err != nil {
		return nil, "", fmt.Errorf("seal secret of hook %s: %w", name, err)
	}
	return sealed, secret, nil
}

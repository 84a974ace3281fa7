package control

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// Bounds on a hook.
const (
	DefaultHookTimeout = 2 * time.Second
	MinHookTimeout     = 100 * time.Millisecond
	MaxHookTimeout     = 10 * time.Second
)

// NewClient gives a client with the defaults: tokens for the pool's own audience
// that live an hour, refresh tokens that live 30 days, a grace of 5 minutes.
func NewClient(pool ident.Pool, id string) broker.Client {
	return broker.Client{
		Pool: pool, ID: id, Audiences: []string{pool.String()}, AccessLife: broker.DefaultAccessLife,
		RefreshLife: broker.DefaultRefreshLife, Grace: broker.DefaultGrace,
	}
}

// PutClient checks and writes a client; create says that it must be new, otherwise
// it must exist. A zero access life becomes the default, a zero refresh life means
// no refresh tokens; without audiences the pool's name is one.
func (d *Plane) PutClient(ctx context.Context, by broker.By, c broker.Client, create bool) (broker.Client, error) {
	if c.AccessLife == 0 {
		c.AccessLife = broker.DefaultAccessLife
	}
	if len(c.Audiences) == 0 {
		c.Audiences = []string{c.Pool.String()}
	}
	if err := checkAudiences(c.Audiences); err != nil {
		return c, err
	}
	if err := c.Validate(); err != nil {
		return c, err
	}
	if _, err := d.Pool(ctx, c.Pool); err != nil {
		return c, err
	}
	old, err := d.Store.Client(ctx, c.Pool, c.ID)
	if c.Created, err = putTime(err, create, old.Created, d.Now(), "client "+c.ID); err != nil {
		return c, err
	}
	if c.Flow != "" {
		if _, err := d.Store.Flow(ctx, c.Pool, c.Flow); err != nil {
			return c, missing(err, "client %s: flow %q does not exist; create it first", c.ID, c.Flow)
		}
	}
	if err := d.Store.PutClient(ctx, by, c); err != nil {
		return c, about(err, "write client %s", c.ID)
	}
	return c, nil
}

func checkAudiences(audiences []string) error {
	if len(audiences) > 8 {
		return invalid("%d audiences, at most 8", len(audiences))
	}
	for _, a := range audiences {
		if a == "" || !printable(a, 256) {
			return invalid("audience %q: want 1 to 256 printable ASCII characters", a)
		}
	}
	return nil
}

// putTime decides from the look-up's error whether a record may be written, and
// gives its time of creation.
func putTime(lookup error, create bool, old, now time.Time, what string) (time.Time, error) {
	switch {
	case lookup == nil && create:
		return old, fmt.Errorf("%s: %w", what, broker.ErrExists)
	case lookup == nil:
		return old, nil
	case errors.Is(lookup, broker.ErrNotFound) && create:
		return now, nil
	}
	return old, about(lookup, "%s", what)
}

// missing turns the error of a look-up on which a record depends into one about the record.
func missing(err error, format string, args ...any) error {
	if errors.Is(err, broker.ErrNotFound) {
		return invalid(format, args...)
	}
	return err
}

// Client finds a client.
func (d *Plane) Client(ctx context.Context, pool ident.Pool, id string) (broker.Client, error) {
	if _, err := d.Pool(ctx, pool); err != nil {
		return broker.Client{}, err
	}
	c, err := d.Store.Client(ctx, pool, id)
	if err != nil {
		return c, about(err, "client %s", id)
	}
	return c, nil
}

// ListClients gives a pool's clients.
func (d *Plane) ListClients(ctx context.Context, pool ident.Pool) ([]broker.Client, error) {
	if _, err := d.Pool(ctx, pool); err != nil {
		return nil, err
	}
	return d.Store.ListClients(ctx, pool)
}

// DeleteClient deletes a client; not the default one, which devices use that name none.
func (d *Plane) DeleteClient(ctx context.Context, by broker.By, pool ident.Pool, id string) error {
	if id == broker.DefaultClient {
		return conflict("the default client cannot be deleted; update it instead")
	}
	if err := d.Store.DeleteClient(ctx, by, pool, id); err != nil {
		return about(err, "delete client %s", id)
	}
	return nil
}

// PutFlow checks and writes a flow; the hooks it names must exist.
func (d *Plane) PutFlow(ctx context.Context, by broker.By, f broker.Flow, create bool) (broker.Flow, error) {
	if err := f.Validate(); err != nil {
		return f, err
	}
	if f.Define != "" {
		if err := broker.CheckLabel("hook", f.Define); err != nil {
			return f, err
		}
	}
	if _, err := d.Pool(ctx, f.Pool); err != nil {
		return f, err
	}
	old, err := d.Store.Flow(ctx, f.Pool, f.Name)
	if f.Created, err = putTime(err, create, old.Created, d.Now(), "flow "+f.Name); err != nil {
		return f, err
	}
	for _, name := range hooksOf(f) {
		if _, err := d.Store.Hook(ctx, f.Pool, name); err != nil {
			return f, missing(err, "flow %s: hook %q does not exist; create it first", f.Name, name)
		}
	}
	if err := d.Store.PutFlow(ctx, by, f); err != nil {
		return f, about(err, "write flow %s", f.Name)
	}
	return f, nil
}

func hooksOf(f broker.Flow) []string {
	var names []string
	if f.Define != "" {
		names = append(names, f.Define)
	}
	for _, s := range f.Steps {
		if name, ok := broker.HookStep(s); ok {
			names = append(names, name)
		}
	}
	return names
}

// Flow finds a flow.
func (d *Plane) Flow(ctx context.Context, pool ident.Pool, name string) (broker.Flow, error) {
	if _, err := d.Pool(ctx, pool); err != nil {
		return broker.Flow{}, err
	}
	f, err := d.Store.Flow(ctx, pool, name)
	if err != nil {
		return f, about(err, "flow %s", name)
	}
	return f, nil
}

// ListFlows gives a pool's flows.
func (d *Plane) ListFlows(ctx context.Context, pool ident.Pool) ([]broker.Flow, error) {
	if _, err := d.Pool(ctx, pool); err != nil {
		return nil, err
	}
	return d.Store.ListFlows(ctx, pool)
}

// DeleteFlow deletes a flow that neither the pool nor a client uses.
func (d *Plane) DeleteFlow(ctx context.Context, by broker.By, pool ident.Pool, name string) error {
	p, err := d.Pool(ctx, pool)
	if err != nil {
		return err
	}
	if p.Flow == name {
		return conflict("flow %s is the pool's default; update it instead", name)
	}
	clients, err := d.Store.ListClients(ctx, pool)
	if err != nil {
		return err
	}
	for _, c := range clients {
		if c.Flow == name {
			return conflict("flow %s is used by client %s; change that first", name, c.ID)
		}
	}
	if err := d.Store.DeleteFlow(ctx, by, pool, name); err != nil {
		return about(err, "delete flow %s", name)
	}
	return nil
}

// CreateHook registers a webhook and gives its new signing secret (Standard
// Webhooks, "whsec_" and base64), which is shown once. A zero timeout is the default.
func (d *Plane) CreateHook(ctx context.Context, by broker.By, h broker.Hook) (broker.Hook, string, error) {
	if h.Timeout == 0 {
		h.Timeout = DefaultHookTimeout
	}
	if err := d.checkHook(h); err != nil {
		return h, "", err
	}
	if _, err := d.Pool(ctx, h.Pool); err != nil {
		return h, "", err
	}
	_, err := d.Store.Hook(ctx, h.Pool, h.Name)
	if h.Created, err = putTime(err, true, time.Time{}, d.Now(), "hook "+h.Name); err != nil {
		return h, "", err
	}
	var secret string
	if h.Sealed, secret, err = d.newHookSecret(h.Pool, h.Name); err != nil {
		return h, "", err
	}
	if err := d.Store.PutHook(ctx, by, h); err != nil {
		return h, "", about(err, "write hook %s", h.Name)
	}
	return h, secret, nil
}

func (d *Plane) checkHook(h broker.Hook) error {
	if err := broker.CheckLabel("hook", h.Name); err != nil {
		return err
	}
	if h.Timeout < MinHookTimeout || h.Timeout > MaxHookTimeout {
		return invalid("hook %s: timeout %s, want %s to %s", h.Name, broker.Span(h.Timeout), broker.Span(MinHookTimeout), broker.Span(MaxHookTimeout))
	}
	// Names are resolved and checked when the hook is called; here only what is
	// plainly wrong is refused, so that the operator learns at once.
	if err := d.HookTargets.CheckURL(h.URL); err != nil {
		return about(err, "hook %s", h.Name)
	}
	return nil
}

// A HookChange is what an operator changes of a hook; zero leaves as it is.
type HookChange struct {
	URL       string
	Timeout   time.Duration
	NewSecret bool // make a new signing secret; the old one is of no use any more
}

// UpdateHook changes a hook and gives its new signing secret, if one was asked for.
func (d *Plane) UpdateHook(ctx context.Context, by broker.By, pool ident.Pool, name string, change HookChange) (broker.Hook, string, error) {
	h, err := d.Hook(ctx, pool, name)
	if err != nil {
		return h, "", err
	}
	if change.URL != "" {
		h.URL = change.URL
	}
	if change.Timeout != 0 {
		h.Timeout = change.Timeout
	}
	if err := d.checkHook(h); err != nil {
		return h, "", err
	}
	var secret string
	if change.NewSecret {
		if h.Sealed, secret, err = d.newHookSecret(pool, name); err != nil {
			return h, "", err
		}
	}
	if err := d.Store.PutHook(ctx, by, h); err != nil {
		return h, "", about(err, "write hook %s", name)
	}
	return h, secret, nil
}

// newHookSecret makes a signing secret (Standard Webhooks) and seals it.
func (d *Plane) newHookSecret(pool ident.Pool, name string) (sealed []byte, secret string, err error) {
	raw, err := d.random(32)
	if err != nil {
		return nil, "", err
	}
	secret = "whsec_" + base64.StdEncoding.EncodeToString(raw)
	if sealed, err = d.Sealer.Seal(broker.HookPurpose(pool, name), []byte(secret)); err != nil {
		return nil, "", fmt.Errorf("seal secret of hook %s: %w", name, err)
	}
	return sealed, secret, nil
}

// Hook finds a hook.
func (d *Plane) Hook(ctx context.Context, pool ident.Pool, name string) (broker.Hook, error) {
	if _, err := d.Pool(ctx, pool); err != nil {
		return broker.Hook{}, err
	}
	h, err := d.Store.Hook(ctx, pool, name)
	if err != nil {
		return h, about(err, "hook %s", name)
	}
	return h, nil
}

// ListHooks gives a pool's hooks.
func (d *Plane) ListHooks(ctx context.Context, pool ident.Pool) ([]broker.Hook, error) {
	if _, err := d.Pool(ctx, pool); err != nil {
		return nil, err
	}
	return d.Store.ListHooks(ctx, pool)
}

// DeleteHook deletes a hook that no flow uses.
func (d *Plane) DeleteHook(ctx context.Context, by broker.By, pool ident.Pool, name string) error {
	flows, err := d.ListFlows(ctx, pool)
	if err != nil {
		return err
	}
	for _, f := range flows {
		if slices.Contains(hooksOf(f), name) {
			return conflict("hook %s is used by flow %s; change that first", name, f.Name)
		}
	}
	if err := d.Store.DeleteHook(ctx, by, pool, name); err != nil {
		return about(err, "delete hook %s", name)
	}
	return nil
}

package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
)

// A Hook is a webhook that takes part in flows.
type Hook struct {
	Name    string     `json:"name" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -" column:"NAME"`
	URL     string     `json:"url" maxLength:"2048" format:"uri" column:"URL" flag:"url" usage:"https <URL> that is called"`
	Timeout *Duration  `json:"timeout,omitempty" doc:"100ms to 10s; 2s if absent" column:"TIMEOUT" flag:"timeout" usage:"how long an answer may take, 100ms to 10s" shown:"2s"`
	Secret  string     `json:"secret,omitempty" readOnly:"true" doc:"Standard Webhooks signing secret; only in the answer that made it" secret:"SECRET"`
	Created *time.Time `json:"created,omitempty" readOnly:"true" column:"CREATED"`
}

// SecretNote is what a person is told beside the signing secret.
func (h *Hook) SecretNote(string) string {
	return fmt.Sprintf("hook %s calls %s; its signing secret is shown only now", h.Name, h.URL)
}

// HookChange changes a hook. Members that are not given stay as they are.
type HookChange struct {
	URL       string    `json:"url,omitempty" maxLength:"2048" format:"uri" flag:"url" usage:"https <URL> that is called"`
	Timeout   *Duration `json:"timeout,omitempty" doc:"100ms to 10s" flag:"timeout" usage:"how long an answer may take, 100ms to 10s"`
	NewSecret bool      `json:"newSecret,omitempty" doc:"Make a new signing secret, shown in the answer; the old one ends at once" flag:"new-secret" usage:"make a new signing secret and print it, once; the old one ends at once"`
}

func hookResource() resource[broker.Hook, Hook] {
	form := func() any { return &Hook{} }
	return resource[broker.Hook, Hook]{
		Noun: Noun{
			Command: "hook", One: "hook", Path: "hooks", Plural: "hooks", Key: "name", New: form,
			About:  "Webhooks that take part in flows",
			Create: Verb{"Register a webhook and show its signing secret, once", "signet hook create pin --pool demo --url https://hooks.example/pin", form},
			Change: Verb{"Change a hook, or make its signing secret anew",
				"signet hook update pin --pool demo --url https://hooks.example/v2/pin\nsignet hook update pin --pool demo --new-secret", func() any { return &HookChange{} }},
			Delete: Verb{About: "Delete a hook that no flow uses"},
		},
		use:  use(broker.HookKind(), (*control.Plane).Hooks),
		name: func(h *Hook) string { return h.Name },
		wire: func(h broker.Hook) Hook {
			return Hook{Name: h.Name, URL: h.URL, Timeout: span(h.Timeout), Created: optional(h.Created)}
		},
		write: func(w *Hook, h *broker.Hook) error {
			timeout, err := given("timeout", w.Timeout)
			if timeout != 0 {
				h.Timeout = timeout
			}
			h.URL = w.URL
			return err
		},
		secret: func(w *Hook, secret string) { w.Secret = secret },
		patch: func(s *service, api huma.API, op huma.Operation, r resource[broker.Hook, Hook]) {
			patcher(s, api, op, r, s.changeHook)
		},
	}
}

func (s *service) changeHook(ctx context.Context, in LabelPath, m *control.Match, c HookChange) (broker.Hook, string, error) {
	pool, err := in.pool()
	if err != nil {
		return broker.Hook{}, "", err
	}
	timeout, err := given("timeout", c.Timeout)
	if err != nil {
		return broker.Hook{}, "", err
	}
	return s.dir.UpdateHook(ctx, byOf(ctx), pool, in.ID, m, control.HookChange{URL: c.URL, Timeout: timeout, NewSecret: c.NewSecret})
}

// CreateHook registers a webhook; the answer has its secret.
func (p PoolClient) CreateHook(ctx context.Context, h Hook) (Hook, error) {
	return send[Hook](ctx, p.c, http.MethodPost, p.path+"/hooks", h)
}

// UpdateHook changes a hook; the answer has its new secret, if one was asked for.
func (p PoolClient) UpdateHook(ctx context.Context, name string, change HookChange) (Hook, error) {
	return send[Hook](ctx, p.c, http.MethodPatch, p.path+join("hooks", name), change)
}

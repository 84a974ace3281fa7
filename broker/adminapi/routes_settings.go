package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

func (s *service) enrolmentRoutes(api huma.API) {
	const tag, path = "enrollment tokens", "/pools/{pool}/enrollment-tokens"
	lister(s, api, route(http.MethodGet, path, "list-enrollment-tokens", "List enrolment tokens", tag),
		s.dir.EnrolTokens().List, func(t broker.EnrolToken) string { return t.ID }, wireEnrolToken)
	handle(s, api, route(http.MethodPost, path, "create-enrollment-token", "Make an enrolment token and show it once", tag),
		func(ctx context.Context, in *struct {
			PoolPath
			Body NewEnrollmentToken
		}) (EnrollmentToken, error) {
			pool, err := in.pool()
			if err != nil {
				return EnrollmentToken{}, err
			}
			life, err := given("expires", in.Body.Expires)
			if err != nil {
				return EnrollmentToken{}, err
			}
			t, secret, err := s.dir.CreateEnrolToken(ctx, byOf(ctx), control.NewEnrolToken{
				Pool: pool, Uses: number(in.Body.Uses), Life: life, Groups: in.Body.Groups,
				Attributes: in.Body.Attributes, Replace: in.Body.Replace, Approve: in.Body.Approve,
			})
			out := wireEnrolToken(t)
			out.Token = secret
			return out, err
		})
	getter(s, api, route(http.MethodGet, path+"/{id}", "get-enrollment-token", "Show an enrolment token", tag), s.dir.EnrolTokens().Get, wireEnrolToken)
	handle(s, api, route(http.MethodPatch, path+"/{id}", "update-enrollment-token", "Change an enrolment token's uses or end", tag),
		func(ctx context.Context, in *struct {
			LabelPath
			Body EnrollmentTokenChange
		}) (EnrollmentToken, error) {
			pool, err := in.pool()
			if err != nil {
				return EnrollmentToken{}, err
			}
			life, err := given("expires", in.Body.Expires)
			if err != nil {
				return EnrollmentToken{}, err
			}
			t, err := s.dir.UpdateEnrolToken(ctx, byOf(ctx), pool, in.ID, nil, number(in.Body.Uses), life)
			return wireEnrolToken(t), err
		})
	deleter(s, api, route(http.MethodDelete, path+"/{id}", "delete-enrollment-token", "End an enrolment token", tag), s.dir.EnrolTokens().Delete)
}

// number gives a number that may be absent, which is 0.
func number(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

func (s *service) clientRoutes(api huma.API) {
	const tag, path = "clients", "/pools/{pool}/clients"
	write := func(ctx context.Context, in PoolPath, c ClientSettings, create bool) (ClientSettings, error) {
		pool, err := in.pool()
		if err != nil {
			return ClientSettings{}, err
		}
		client := broker.NewClient(pool, c.ID)
		client.Flow = c.Flow
		if len(c.Audiences) != 0 {
			client.Audiences = c.Audiences
		}
		if life, err := given("accessLife", c.AccessLife); err != nil {
			return ClientSettings{}, err
		} else if life != 0 {
			client.AccessLife = life
		}
		if c.RefreshLife != nil {
			client.RefreshLife = time.Duration(*c.RefreshLife)
		}
		if c.Grace != nil {
			client.Grace = time.Duration(*c.Grace)
		}
		out, err := s.dir.PutClient(ctx, byOf(ctx), client, create)
		return wireClient(out), err
	}
	lister(s, api, route(http.MethodGet, path, "list-clients", "List clients", tag),
		s.dir.Clients().List, func(c broker.Client) string { return c.ID }, wireClient)
	getter(s, api, route(http.MethodGet, path+"/{id}", "get-client", "Show a client", tag), s.dir.Clients().Get, wireClient)
	writer(s, api, route(http.MethodPost, path, "create-client", "Create a client", tag), route(http.MethodPut, path+"/{id}", "replace-client", "Replace a client's settings", tag),
		func(b ClientSettings) string { return b.ID }, write)
	deleter(s, api, route(http.MethodDelete, path+"/{id}", "delete-client", "Delete a client", tag), s.dir.Clients().Delete)
}

func (s *service) flowRoutes(api huma.API) {
	const tag, path = "flows", "/pools/{pool}/flows"
	write := func(ctx context.Context, in PoolPath, f Flow, create bool) (Flow, error) {
		pool, err := in.pool()
		if err != nil {
			return Flow{}, err
		}
		out, err := s.dir.PutFlow(ctx, byOf(ctx), broker.Flow{Pool: pool, Name: f.Name, Steps: f.Steps, Define: f.Define}, create)
		return wireFlow(out), err
	}
	lister(s, api, route(http.MethodGet, path, "list-flows", "List flows", tag),
		s.dir.Flows().List, func(f broker.Flow) string { return f.Name }, wireFlow)
	getter(s, api, route(http.MethodGet, path+"/{id}", "get-flow", "Show a flow", tag), s.dir.Flows().Get, wireFlow)
	writer(s, api, route(http.MethodPost, path, "create-flow", "Create a flow", tag), route(http.MethodPut, path+"/{id}", "replace-flow", "Replace a flow", tag),
		func(b Flow) string { return b.Name }, write)
	deleter(s, api, route(http.MethodDelete, path+"/{id}", "delete-flow", "Delete a flow", tag), s.dir.Flows().Delete)
}

// writer serves the creation of a setting, and its replacement, under the name that
// key finds in the body.
func writer[B any](s *service, api huma.API, create, replace huma.Operation, key func(B) string, write func(context.Context, PoolPath, B, bool) (B, error)) {
	handle(s, api, create, func(ctx context.Context, in *struct {
		PoolPath
		Body B
	}) (B, error) {
		return write(ctx, in.PoolPath, in.Body, true)
	})
	handle(s, api, replace, func(ctx context.Context, in *struct {
		LabelPath
		Body B
	}) (B, error) {
		if name := key(in.Body); name != in.ID {
			var none B
			return none, sameName(name, in.ID)
		}
		return write(ctx, in.PoolPath, in.Body, false)
	})
}

// sameName is the error of a body that names something else than its path.
func sameName(body, path string) error {
	return problem.New(http.StatusUnprocessableEntity, "the body is about \""+body+"\", the path about \""+path+"\"")
}

func (s *service) hookRoutes(api huma.API) {
	const tag, path = "hooks", "/pools/{pool}/hooks"
	lister(s, api, route(http.MethodGet, path, "list-hooks", "List hooks", tag),
		s.dir.Hooks().List, func(h broker.Hook) string { return h.Name }, wireHook)
	handle(s, api, route(http.MethodPost, path, "create-hook", "Register a webhook and show its secret once", tag),
		func(ctx context.Context, in *struct {
			PoolPath
			Body NewHook
		}) (Hook, error) {
			pool, err := in.pool()
			if err != nil {
				return Hook{}, err
			}
			timeout, err := given("timeout", in.Body.Timeout)
			if err != nil {
				return Hook{}, err
			}
			h, secret, err := s.dir.CreateHook(ctx, byOf(ctx), broker.Hook{Pool: pool, Name: in.Body.Name, URL: in.Body.URL, Timeout: timeout})
			out := wireHook(h)
			out.Secret = secret
			return out, err
		})
	handle(s, api, route(http.MethodPatch, path+"/{id}", "update-hook", "Change a hook, or make its secret anew", tag),
		func(ctx context.Context, in *struct {
			LabelPath
			Body HookChange
		}) (Hook, error) {
			pool, err := in.pool()
			if err != nil {
				return Hook{}, err
			}
			timeout, err := given("timeout", in.Body.Timeout)
			if err != nil {
				return Hook{}, err
			}
			h, secret, err := s.dir.UpdateHook(ctx, byOf(ctx), pool, in.ID, nil,
				control.HookChange{URL: in.Body.URL, Timeout: timeout, NewSecret: in.Body.NewSecret})
			out := wireHook(h)
			out.Secret = secret
			return out, err
		})
	getter(s, api, route(http.MethodGet, path+"/{id}", "get-hook", "Show a hook", tag), s.dir.Hooks().Get, wireHook)
	deleter(s, api, route(http.MethodDelete, path+"/{id}", "delete-hook", "Delete a hook", tag), s.dir.Hooks().Delete)
}

func (s *service) keyRoutes(api huma.API) {
	const tag, path = "keys", "/pools/{pool}/keys"
	lister(s, api, route(http.MethodGet, path, "list-keys", "List signing keys by id", tag),
		func(ctx context.Context, pool ident.Pool, _ string, _ int) ([]broker.SigningKey, error) {
			return s.dir.ListKeys(ctx, pool)
		}, func(k broker.SigningKey) string { return k.ID }, wireKey)
	handle(s, api, route(http.MethodPost, path+"/rotate", "rotate-key", "Announce a new signing key", tag),
		onKey(func(ctx context.Context, pool ident.Pool, in KeyRotation) (broker.SigningKey, error) {
			alg := token.ES256
			if in.Alg != "" {
				var err error
				if alg, err = token.ParseAlg(in.Alg); err != nil {
					return broker.SigningKey{}, problem.New(http.StatusUnprocessableEntity, err.Error())
				}
			}
			return s.dir.RotateKey(ctx, byOf(ctx), pool, alg, in.Activate)
		}))
	handle(s, api, action(path+"/activate", "activate-key", "Sign with an announced key from now on", tag),
		onKey(func(ctx context.Context, pool ident.Pool, in KeyChoice) (broker.SigningKey, error) {
			return s.dir.ActivateKey(ctx, byOf(ctx), pool, in.ID)
		}))
	handle(s, api, action(path+"/retire", "retire-key", "Take a key out of the key set", tag),
		onKey(func(ctx context.Context, pool ident.Pool, in KeyRetirement) (broker.SigningKey, error) {
			return s.dir.RetireKey(ctx, byOf(ctx), pool, in.ID, in.Force)
		}))
}

// keyInput is a request about a pool's keys.
type keyInput[B any] struct {
	PoolPath
	Body B
}

func onKey[B any](do func(context.Context, ident.Pool, B) (broker.SigningKey, error)) func(context.Context, *keyInput[B]) (Key, error) {
	return func(ctx context.Context, in *keyInput[B]) (Key, error) {
		pool, err := in.pool()
		if err != nil {
			return Key{}, err
		}
		k, err := do(ctx, pool, in.Body)
		return wireKey(k), err
	}
}

func (s *service) operatorRoutes(api huma.API) {
	const tag, path = "operators", "/operators"
	handle(s, api, route(http.MethodGet, path, "list-operators", "List operators", tag),
		func(ctx context.Context, in *struct{ Paging }) (Page[Operator], error) {
			all, err := s.dir.ListOperators(ctx)
			return page(in.Paging, all, func(o broker.Operator) string { return o.Name }, wireOperator), err
		})
	handle(s, api, route(http.MethodPost, path, "create-operator", "Make an operator's token and show it once", tag),
		func(ctx context.Context, in *struct{ Body NewOperator }) (Operator, error) {
			life, err := given("expires", in.Body.Expires)
			if err != nil {
				return Operator{}, err
			}
			o, secret, err := s.dir.CreateOperator(ctx, byOf(ctx), in.Body.Name, life)
			out := wireOperator(o)
			out.Token = secret
			return out, err
		})
	handleEmpty(s, api, route(http.MethodDelete, path+"/{operator}", "delete-operator", "End an operator's access", tag),
		func(ctx context.Context, in *struct {
			Operator string `path:"operator" maxLength:"64"`
		}) error {
			return s.dir.DeleteOperator(ctx, byOf(ctx), in.Operator)
		})
}

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
)

// A shelf is one kind of thing that pools hold, with how it is shown.
type shelf[T any] struct {
	header []string
	row    func(T) []string
}

// listing makes the command list.
func (s shelf[T]) listing(a *app, short string, get func(adminapi.PoolClient, context.Context) ([]T, error)) *cobra.Command {
	return a.leaf("list", short, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		items, err := get(p, cmd.Context())
		if err != nil {
			return err
		}
		return list(a, items, s.header, s.row)
	})
}

// one makes a command whose one argument names a thing, and that answers with one.
func (s shelf[T]) one(a *app, use, short string, do func(adminapi.PoolClient, context.Context, string) (T, error)) *cobra.Command {
	return a.leaf(use, short, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		v, err := do(p, cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(v, s.header, s.row(v))
	})
}

func (a *app) enrollment() *cobra.Command {
	s := shelf[adminapi.EnrollmentToken]{
		[]string{"ID", "USED", "EXPIRES", "GROUPS", "ATTRIBUTES", "REPLACE", "APPROVE"},
		func(t adminapi.EnrollmentToken) []string {
			return []string{
				t.ID, fmt.Sprintf("%d of %d", t.Used, t.Uses), stamp(&t.Expires), strings.Join(t.Groups, ","),
				pairs(t.Attributes), fmt.Sprint(t.Replace), fmt.Sprint(t.Approve),
			}
		},
	}
	return a.inPool("enrollment", "Tokens that admit devices to a pool", a.createEnrollment(),
		s.listing(a, "List enrolment tokens", adminapi.PoolClient.EnrollmentTokens),
		s.one(a, "show ID", "Show an enrolment token", adminapi.PoolClient.EnrollmentToken),
		a.remove("delete ID", "End an enrolment token", adminapi.PoolClient.DeleteEnrollmentToken))
}

func (a *app) createEnrollment() *cobra.Command {
	n := adminapi.NewEnrollmentToken{Uses: 1}
	var attrs []string
	cmd := a.leaf("create", "Make an enrolment token and print it, once", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		var err error
		if n.Attributes, err = parsePairs(attrs); err != nil {
			return err
		}
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		t, err := p.CreateEnrollmentToken(cmd.Context(), n)
		if err != nil {
			return err
		}
		return a.secret(t, t.Token, "TOKEN",
			fmt.Sprintf("enrolment token %s: %d uses, until %s; it is shown only now", t.ID, t.Uses, stamp(&t.Expires)))
	})
	cmd.Example = "  signet enrollment create --pool demo --uses 100 --expires 30d --group lab --attr site=berlin"
	f := cmd.Flags()
	f.IntVar(&n.Uses, "uses", 1, "how many enrolments")
	f.Var(&n.Expires, "expires", "lifetime, such as 24h or 30d (24h if not given)")
	f.StringArrayVar(&n.Groups, "group", nil, "group of the devices; may be repeated")
	f.StringArrayVar(&attrs, "attr", nil, "attribute k=v of the devices; may be repeated")
	f.BoolVar(&n.Replace, "replace", false, "may replace the key of a device that has one")
	f.BoolVar(&n.Approve, "approve", false, "devices wait for approval")
	return cmd
}

func (a *app) clients() *cobra.Command {
	s := shelf[adminapi.ClientSettings]{
		[]string{"ID", "FLOW", "AUDIENCES", "ACCESS", "REFRESH", "GRACE"},
		func(c adminapi.ClientSettings) []string {
			return []string{c.ID, c.Flow, strings.Join(c.Audiences, ","), c.AccessLife.String(), c.RefreshLife.String(), c.Grace.String()}
		},
	}
	var made, changes adminapi.ClientSettings
	create := s.one(a, "create ID", "Create a client", func(p adminapi.PoolClient, ctx context.Context, id string) (adminapi.ClientSettings, error) {
		made.ID = id
		return p.CreateClient(ctx, made)
	})
	clientFlags(create, &made)
	update := s.one(a, "update ID", "Change a client's settings", nil)
	clientFlags(update, &changes)
	update.RunE = func(cmd *cobra.Command, args []string) error {
		a.started = true
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		c, err := p.Client(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		mergeClient(cmd, &c, changes)
		if c, err = p.ReplaceClient(cmd.Context(), c); err != nil {
			return err
		}
		return a.show(c, s.header, s.row(c))
	}
	return a.inPool("client", "Applications: their flow, audiences and lifetimes", create, update,
		s.listing(a, "List clients", adminapi.PoolClient.Clients),
		s.one(a, "show ID", "Show a client", adminapi.PoolClient.Client),
		a.remove("delete ID", "Delete a client", adminapi.PoolClient.DeleteClient))
}

func clientFlags(cmd *cobra.Command, c *adminapi.ClientSettings) {
	f := cmd.Flags()
	f.StringVar(&c.Flow, "flow", "", "flow; the pool's if not given")
	f.StringArrayVar(&c.Audiences, "audience", nil, "audience of its tokens; may be repeated")
	f.Var(&c.AccessLife, "access-life", "life of access tokens, 5m to 1d (1h if not given)")
	f.Var(&c.RefreshLife, "refresh-life", "life of refresh tokens, 1h to 3650d (none if not given)")
	f.Var(&c.Grace, "grace", "how long a rotated refresh token still answers, at most 1h")
}

// mergeClient takes the settings whose flags were given.
func mergeClient(cmd *cobra.Command, c *adminapi.ClientSettings, changes adminapi.ClientSettings) {
	f := cmd.Flags()
	if f.Changed("flow") {
		c.Flow = changes.Flow
	}
	if f.Changed("audience") {
		c.Audiences = changes.Audiences
	}
	if f.Changed("access-life") {
		c.AccessLife = changes.AccessLife
	}
	if f.Changed("refresh-life") {
		c.RefreshLife = changes.RefreshLife
	}
	if f.Changed("grace") {
		c.Grace = changes.Grace
	}
}

func (a *app) flows() *cobra.Command {
	s := shelf[adminapi.Flow]{[]string{"NAME", "STEPS", "DEFINE"}, func(f adminapi.Flow) []string {
		return []string{f.Name, strings.Join(f.Steps, ","), f.Define}
	}}
	write := func(use, short string, do func(adminapi.PoolClient, context.Context, adminapi.Flow) (adminapi.Flow, error)) *cobra.Command {
		var flow adminapi.Flow
		cmd := s.one(a, use, short, func(p adminapi.PoolClient, ctx context.Context, name string) (adminapi.Flow, error) {
			flow.Name = name
			return do(p, ctx, flow)
		})
		cmd.Flags().StringArrayVar(&flow.Steps, "step", nil, "key, psk or hook:NAME; repeat in order")
		cmd.Flags().StringVar(&flow.Define, "define", "", "instead of steps: the hook that decides after each answer")
		cmd.MarkFlagsMutuallyExclusive("step", "define")
		cmd.MarkFlagsOneRequired("step", "define")
		cmd.Example = "  signet flow " + strings.Fields(use)[0] + " two --step key --step hook:pin"
		return cmd
	}
	return a.inPool("flow", "Which challenges devices answer, in which order",
		write("create NAME", "Create a flow", adminapi.PoolClient.CreateFlow),
		write("update NAME", "Replace a flow", adminapi.PoolClient.ReplaceFlow),
		s.listing(a, "List flows", adminapi.PoolClient.Flows),
		s.one(a, "show NAME", "Show a flow", adminapi.PoolClient.Flow),
		a.remove("delete NAME", "Delete a flow", adminapi.PoolClient.DeleteFlow))
}

func (a *app) hooks() *cobra.Command {
	s := shelf[adminapi.Hook]{[]string{"NAME", "URL", "TIMEOUT", "CREATED"}, func(h adminapi.Hook) []string {
		return []string{h.Name, h.URL, h.Timeout.String(), stamp(&h.Created)}
	}}
	var n adminapi.NewHook
	create := a.leaf("create NAME", "Register a webhook and print its signing secret, once", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		n.Name = args[0]
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		h, err := p.CreateHook(cmd.Context(), n)
		if err != nil {
			return err
		}
		return a.secret(h, h.Secret, "SECRET", fmt.Sprintf("hook %s calls %s; its signing secret is shown only now", h.Name, h.URL))
	})
	create.Flags().StringVar(&n.URL, "url", "", "https URL that is called")
	create.Flags().Var(&n.Timeout, "timeout", "how long an answer may take, 100ms to 10s (2s if not given)")
	if err := create.MarkFlagRequired("url"); err != nil {
		create.RunE = func(*cobra.Command, []string) error { return err }
	}
	return a.inPool("hook", "Webhooks that take part in flows", create,
		s.listing(a, "List hooks", adminapi.PoolClient.Hooks),
		s.one(a, "show NAME", "Show a hook", adminapi.PoolClient.Hook),
		a.remove("delete NAME", "Delete a hook", adminapi.PoolClient.DeleteHook))
}

func (a *app) keys() *cobra.Command {
	s := shelf[adminapi.Key]{[]string{"ID", "ALG", "STATE", "CREATED", "CHANGED"}, func(k adminapi.Key) []string {
		return []string{k.ID, k.Alg, k.State, stamp(&k.Created), stamp(&k.Changed)}
	}}
	var rotation adminapi.KeyRotation
	rotate := a.leaf("rotate", "Announce a new signing key in the key set", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		k, err := p.RotateKey(cmd.Context(), rotation)
		if err != nil {
			return err
		}
		if k.State == "announced" {
			a.note("announced; when verifiers have fetched it: signet key activate %s", k.ID)
		}
		return a.show(k, s.header, s.row(k))
	})
	rotate.Flags().StringVar(&rotation.Alg, "alg", "", "ES256, EdDSA or RS256 (ES256 if not given)")
	rotate.Flags().BoolVar(&rotation.Activate, "activate", false, "sign with it at once; the old key goes on verifying")
	var retirement adminapi.KeyRetirement
	retire := s.one(a, "retire ID", "Take a key out of the key set", func(p adminapi.PoolClient, ctx context.Context, id string) (adminapi.Key, error) {
		retirement.ID = id
		return p.RetireKey(ctx, retirement)
	})
	retire.Flags().BoolVar(&retirement.Force, "force", false, "even if tokens that it signed are still valid")
	return a.inPool("key", "Signing keys of a pool, announced, active or retired",
		s.listing(a, "List signing keys", adminapi.PoolClient.Keys), rotate,
		s.one(a, "activate ID", "Sign with an announced key from now on", adminapi.PoolClient.ActivateKey), retire)
}

func (a *app) operators() *cobra.Command {
	var n adminapi.NewOperator
	create := a.leaf("create NAME", "Make an operator's token and print it, once", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		n.Name = args[0]
		c, err := a.connect()
		if err != nil {
			return err
		}
		o, err := c.CreateOperator(cmd.Context(), n)
		if err != nil {
			return err
		}
		return a.secret(o, o.Token, "TOKEN", fmt.Sprintf("operator %s until %s; the token is shown only now", o.Name, stamp(&o.Expires)))
	})
	create.Flags().Var(&n.Expires, "expires", "lifetime, such as 24h or 30d (90d if not given)")
	return group("operator", "Who may use this API", create,
		a.leaf("list", "List operators", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			all, err := c.Operators(cmd.Context())
			if err != nil {
				return err
			}
			return list(a, all, []string{"NAME", "EXPIRES", "CREATED"}, func(o adminapi.Operator) []string {
				return []string{o.Name, stamp(&o.Expires), stamp(&o.Created)}
			})
		}),
		a.leaf("delete NAME", "End an operator's access", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return c.DeleteOperator(cmd.Context(), args[0])
		}))
}

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
)

func flowShelf() shelf[adminapi.Flow] {
	return shelf[adminapi.Flow]{
		noun: "flow", header: []string{"NAME", "STEPS", "DEFINE"},
		row:  func(f adminapi.Flow) []string { return []string{f.Name, strings.Join(f.Steps, ","), f.Define} },
		more: func(f adminapi.Flow) (header, row []string) { return []string{"CREATED"}, []string{stamp(f.Created)} },
		all:  adminapi.PoolClient.Flows,
	}
}

func (a *app) flows() *cobra.Command {
	s := flowShelf()
	write := func(verb, short string, do func(adminapi.PoolClient, context.Context, adminapi.Flow) (adminapi.Flow, error)) *cobra.Command {
		var flow adminapi.Flow
		cmd := s.one(a, verb+" NAME", short, "signet flow "+verb+" two --pool demo --step key --step hook:pin\nsignet flow "+verb+" decided --pool demo --define door",
			func(p adminapi.PoolClient, ctx context.Context, name string) (adminapi.Flow, error) {
				flow.Name = name
				return do(p, ctx, flow)
			})
		run := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := needsOne(cmd, "step", "define"); err != nil {
				return err
			}
			if err := notBoth(cmd, "step", "define"); err != nil {
				return err
			}
			return run(cmd, args)
		}
		cmd.Flags().StringArrayVar(&flow.Steps, "step", nil, "`challenge` key, psk or hook:NAME; repeat in order")
		cmd.Flags().StringVar(&flow.Define, "define", "", "instead of steps: the `hook` that decides after each answer")
		return cmd
	}
	return a.inPool("flow", "Which challenges devices answer, in which order",
		write("create", "Create a flow", adminapi.PoolClient.CreateFlow), s.listing(a),
		s.showing(a, "NAME", adminapi.PoolClient.Flow),
		write("update", "Replace a flow", adminapi.PoolClient.ReplaceFlow),
		s.removing(a, "NAME", "Delete a flow that nothing uses", adminapi.PoolClient.DeleteFlow))
}

func hookShelf() shelf[adminapi.Hook] {
	return shelf[adminapi.Hook]{
		noun: "hook", header: []string{"NAME", "URL", "TIMEOUT", "CREATED"},
		row: func(h adminapi.Hook) []string { return []string{h.Name, h.URL, h.Timeout.String(), stamp(&h.Created)} },
		all: adminapi.PoolClient.Hooks,
	}
}

func (a *app) hooks() *cobra.Command {
	s := hookShelf()
	return a.inPool("hook", "Webhooks that take part in flows", a.createHook(), s.listing(a),
		s.showing(a, "NAME", adminapi.PoolClient.Hook), a.updateHook(s),
		s.removing(a, "NAME", "Delete a hook that no flow uses", adminapi.PoolClient.DeleteHook))
}

func (a *app) createHook() *cobra.Command {
	var n adminapi.NewHook
	var timeout adminapi.Duration
	cmd := a.leaf("create NAME", "Register a webhook and print its signing secret, once", "signet hook create pin --pool demo --url https://hooks.example/pin",
		func(cmd *cobra.Command, args []string) error {
			if err := needsOne(cmd, "url"); err != nil {
				return err
			}
			n.Name, n.Timeout = args[0], given(cmd, "timeout", timeout)
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			h, err := p.CreateHook(cmd.Context(), n)
			if err != nil {
				return err
			}
			return a.hookSecret(h)
		})
	cmd.Flags().StringVar(&n.URL, "url", "", "https `URL` that is called")
	spanFlag(cmd, &timeout, "timeout", "2s", "how long an answer may take, 100ms to 10s")
	return cmd
}

func (a *app) hookSecret(h adminapi.Hook) error {
	return a.secret(h, h.Secret, "SECRET", fmt.Sprintf("hook %s calls %s; its signing secret is shown only now", h.Name, h.URL))
}

func (a *app) updateHook(s shelf[adminapi.Hook]) *cobra.Command {
	var change adminapi.HookChange
	var timeout adminapi.Duration
	cmd := a.leaf("update NAME", "Change a hook, or make its signing secret anew",
		"signet hook update pin --pool demo --url https://hooks.example/v2/pin\nsignet hook update pin --pool demo --new-secret",
		func(cmd *cobra.Command, args []string) error {
			if err := needsOne(cmd, "url", "timeout", "new-secret"); err != nil {
				return err
			}
			change.Timeout = given(cmd, "timeout", timeout)
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			h, err := p.UpdateHook(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			if h.Secret != "" {
				return a.hookSecret(h)
			}
			return a.show(h, s.header, s.row(h))
		})
	cmd.ValidArgsFunction = s.names(a)
	cmd.Flags().StringVar(&change.URL, "url", "", "https `URL` that is called")
	cmd.Flags().BoolVar(&change.NewSecret, "new-secret", false, "make a new signing secret and print it, once; the old one ends at once")
	spanFlag(cmd, &timeout, "timeout", "", "how long an answer may take, 100ms to 10s")
	return cmd
}

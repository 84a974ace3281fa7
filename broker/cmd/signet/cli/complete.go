package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/cmdline"
)

// completions completes flags by what help calls their values: those that are called as a
// kind of setting is, such as flow, by the names there are.
func (a *app) completions(c *cobra.Command) {
	for _, set := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
		set.VisitAll(func(f *pflag.Flag) {
			value, _ := pflag.UnquoteUsage(f)
			if _, own := c.GetFlagCompletionFunc(f.Name); own {
				return
			}
			if value == "challenge" {
				complete(c, f.Name, a.forFlag(a.steps))
			}
			for _, n := range adminapi.Nouns() {
				if n.Command == value {
					complete(c, f.Name, a.forFlag(func(ctx context.Context, prefix string) ([]string, error) { return a.names(ctx, n, prefix) }))
				}
			}
		})
	}
	for _, sub := range c.Commands() {
		a.completions(sub)
	}
	if c.Parent() == nil {
		cmdline.Completions(c)
	}
}

// forFlag makes the completion of a flag, which has the line's arguments beside it: of
// commands about a pool the first is the pool.
func (a *app) forFlag(names func(ctx context.Context, prefix string) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if parent := cmd.Parent(); parent != nil && parent.Name() == "pool" && len(args) > 0 {
			a.pool = args[0]
		}
		return a.completing(names)(cmd, nil, prefix)
	}
}

func (a *app) names(ctx context.Context, n adminapi.Noun, prefix string) ([]string, error) {
	p, err := a.enter(ctx)
	if err != nil {
		return nil, err
	}
	return p.Of(n).Names(ctx, prefix)
}

// steps are what a flow may ask: the broker's own challenges and the pool's hooks.
func (a *app) steps(ctx context.Context, prefix string) (all []string, err error) {
	for _, k := range challenge.Kinds() {
		if k.Step {
			all = append(all, k.Name)
		}
	}
	i := slices.IndexFunc(adminapi.Nouns(), func(n adminapi.Noun) bool { return n.Command == "hook" })
	if i < 0 {
		return all, nil
	}
	hooks, err := a.names(ctx, adminapi.Nouns()[i], strings.TrimPrefix(prefix, "hook:"))
	if err != nil {
		return all, nil // the broker's own are known without it
	}
	for _, h := range hooks {
		all = append(all, "hook:"+h)
	}
	return all, nil
}

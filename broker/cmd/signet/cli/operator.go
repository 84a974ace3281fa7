package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/environ"
)

func (a *app) operators() *cobra.Command {
	header := []string{"NAME", "SCOPE", "POOLS", "EXPIRES", "CREATED"}
	row := func(o adminapi.Operator) []string {
		return []string{o.Name, o.Scope, boundTo(o.Pools), stamp(&o.Expires), stamp(&o.Created)}
	}
	listing := a.leaf("list", "List operators", "signet operator list", func(cmd *cobra.Command, _ []string) error {
		all, err := a.allOperators(cmd.Context())
		if err != nil {
			return err
		}
		return list(a, all, header, row)
	})
	show := a.leaf("show NAME", "Show an operator; nobody can show its token again", "signet operator show ada", func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		o, _, err := c.Operator(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.detail(o, header, row(o))
	})
	update := a.updateOperator(header, row)
	var force bool
	remove := a.leaf("delete NAME", "End an operator's access at once", "signet operator delete ada", func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		if err := c.DeleteOperator(cmd.Context(), args[0], force); err != nil {
			return err
		}
		return a.did(outcome{Action: "delete", Kind: "operator", Name: args[0]}, "operator %s has no access any more%s", args[0], a.on())
	})
	remove.Flags().BoolVar(&force, "force", false, "even your own access, which this profile then has no more")
	remove.Aliases = []string{"revoke"}
	names := a.completing(func(ctx context.Context, _ string) ([]string, error) {
		all, err := a.allOperators(ctx)
		var out []string
		for _, o := range all {
			out = append(out, o.Name)
		}
		return out, err
	})
	show.ValidArgsFunction, update.ValidArgsFunction, remove.ValidArgsFunction = names, names, names
	return group("operator", "Who may use this API: one token each, with an end", a.createOperator(), listing, show, update, remove)
}

// boundTo is the cell of the pools that an operator is bound to.
func boundTo(pools []string) string {
	if len(pools) == 0 {
		return "all"
	}
	return strings.Join(pools, ", ")
}

// inPools is the same in a sentence.
func inPools(pools []string) string {
	switch len(pools) {
	case 0:
		return "all pools"
	case 1:
		return "pool " + pools[0]
	}
	return "pools " + strings.Join(pools, ", ")
}

func (a *app) allOperators(ctx context.Context) ([]adminapi.Operator, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	return c.Operators(ctx)
}

func (a *app) createOperator() *cobra.Command {
	var n adminapi.NewOperator
	var life adminapi.Duration
	cmd := a.leaf("create NAME", "Make an operator's token and print it, once", "signet operator create ada --scope write --pool demo --expires 30d > ada.token", func(cmd *cobra.Command, args []string) error {
		n.Name, n.Expires = args[0], given(cmd, "expires", life)
		c, err := a.connect()
		if err != nil {
			return err
		}
		o, err := c.CreateOperator(cmd.Context(), n)
		if err != nil {
			return err
		}
		if o.Warning != "" {
			a.note("warning: %s", o.Warning)
		}
		return a.secret(o, o.Token, "TOKEN", fmt.Sprintf("operator %s with scope %s in %s until %s; the token is shown only now", o.Name, o.Scope, inPools(o.Pools), stamp(&o.Expires)))
	})
	cmd.Flags().StringVar(&n.Scope, "scope", "read", "what it may do, each including those before it: read, enroll, write, admin")
	cmd.Flags().StringArrayVar(&n.Pools, "pool", nil, "bind it to this `pool`; may be repeated; none: all, whatever $"+environ.Pool+" says")
	a.completeRights(cmd)
	spanFlag(cmd, &life, "expires", "90d", "lifetime, 1m to 730d, such as 24h or 30d")
	return cmd
}

// updateOperator makes the command that changes what an operator may do.
func (a *app) updateOperator(header []string, row func(adminapi.Operator) []string) *cobra.Command {
	var change adminapi.OperatorChange
	var pools []string
	var everywhere, force bool
	cmd := a.leaf("update NAME", "Change what an operator may do, from its next request on", "signet operator update ada --scope read\nsignet operator update ci --pool home --pool yard\nsignet operator update ci --all-pools", func(cmd *cobra.Command, args []string) error {
		if err := errors.Join(needsOne(cmd, "scope", "pool", "all-pools"), notBoth(cmd, "pool", "all-pools")); err != nil {
			return err
		}
		switch {
		case everywhere:
			change.Pools = &[]string{} // not null
		case pools != nil:
			change.Pools = &pools
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		o, err := c.ChangeOperator(cmd.Context(), args[0], change, "", force)
		if err != nil {
			return err
		}
		return a.show(o, header, row(o))
	})
	cmd.Long = "Changes what an operator may do, from its next request on. Its token and when that expires stay."
	cmd.Flags().StringVar(&change.Scope, "scope", "", "what it may do, each including those before it: read, enroll, write, admin")
	cmd.Flags().StringArrayVar(&pools, "pool", nil, "bind it to this `pool` and no others, whatever $"+environ.Pool+" says; may be repeated")
	cmd.Flags().BoolVar(&everywhere, "all-pools", false, "bind it to none")
	cmd.Flags().BoolVar(&force, "force", false, "even if it takes something from you")
	a.completeRights(cmd)
	return cmd
}

// completeRights completes the flags of what an operator may do, and where.
func (a *app) completeRights(cmd *cobra.Command) {
	complete(cmd, "scope", cobra.FixedCompletions([]string{
		"read\tsee all but secrets", "enroll\talso admit new devices", "write\talso change devices and settings", "admin\talso operators, keys, anchors and the end of pools",
	}, cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "pool", func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.completing(a.poolNames)(cmd, nil, prefix)
	})
}

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
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
		all, err := a.allOperators(cmd.Context())
		if err != nil {
			return err
		}
		for _, o := range all {
			if o.Name == args[0] {
				return a.detail(o, header, row(o))
			}
		}
		return &hintedError{fmt.Errorf("operator %s: not found", args[0]), a.lister(cmd) + " shows what there is"}
	})
	var force bool
	remove := a.leaf("delete NAME", "End an operator's access at once", "signet operator delete ada", func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		if err := c.DeleteOperator(cmd.Context(), args[0], force); err != nil {
			return err
		}
		a.note("operator %s has no access any more%s", args[0], a.on())
		return nil
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
	show.ValidArgsFunction, remove.ValidArgsFunction = names, names
	return group("operator", "Who may use this API: one token each, with an end", a.createOperator(), listing, show, remove)
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
		return a.secret(o, o.Token, "TOKEN", fmt.Sprintf("operator %s with scope %s in %s until %s; the token is shown only now", o.Name, o.Scope, inPools(o.Pools), stamp(&o.Expires)))
	})
	cmd.Flags().StringVar(&n.Scope, "scope", "read", "what it may do, each including those before it: read, enroll, write, admin")
	cmd.Flags().StringArrayVar(&n.Pools, "pool", nil, "bind it to this `pool`; may be repeated; none: all")
	complete(cmd, "scope", cobra.FixedCompletions([]string{
		"read\tsee all but secrets", "enroll\talso admit new devices", "write\talso change devices and settings", "admin\talso operators, keys, anchors and the end of pools",
	}, cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "pool", func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.completing(a.poolNames)(cmd, nil, prefix)
	})
	spanFlag(cmd, &life, "expires", "90d", "lifetime, 1m to 730d, such as 24h or 30d")
	return cmd
}

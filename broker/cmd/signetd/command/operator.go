package command

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/listing"
	"github.com/signetd/signet/protocol/environ"
)

const day = "2006-01-02T15:04:05Z"

// operatorCommand is the way back in for who has no valid token: on the broker's
// machine, with the right to read its data folder, whether signetd runs or not.
func (o *options) operatorCommand() *cobra.Command {
	group := &cobra.Command{
		Use: "operator", Short: "Operators' access, on this machine and without a token", Args: knownCommand,
		Long: "Makes, lists and ends operators' access on the broker's own machine, whether signetd runs or not.\n" +
			"Whoever may read the data folder may do this; everybody else uses signet operator.",
	}
	group.AddCommand(o.createOperator(), o.listOperators(), o.deleteOperator())
	return group
}

func (o *options) createOperator() *cobra.Command {
	var life adminapi.Duration
	var expires *adminapi.Duration
	var scope string
	var pools []string
	var format string
	c := o.leaf("create NAME", "Make an operator's token and print it, once", "signetd operator create ada --expires 30d --data /var/lib/signet\nsignetd operator create ada -o json",
		func(ctx context.Context, args []string) error {
			cfg, err := o.config(config.Default())
			if err != nil {
				return err
			}
			made, err := onMachine(ctx, &cfg, func(c *adminapi.Client) (adminapi.Operator, error) {
				return c.CreateOperator(ctx, adminapi.NewOperator{Name: args[0], Expires: expires, Scope: scope, Pools: pools})
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(o.stderr, "operator %s with scope %s until %s; the token is shown only now\n", made.Name, made.Scope, made.Expires.UTC().Format(day))
			if made.Warning != "" {
				fmt.Fprintln(o.stderr, "warning:", made.Warning)
			}
			if format != "table" {
				return listing.Show(o.stdout, format, made, []string{"TOKEN"}, []string{made.Token})
			}
			_, err = fmt.Fprintln(o.stdout, made.Token)
			return err
		})
	o.formatFlag(c, &format)
	c.Flags().Var(&life, "expires", "lifetime, 1m to 730d, such as 24h or 30d")
	c.Flags().StringVar(&scope, "scope", string(broker.OperatorAdmin), "what it may do, each including those before it: read, enroll, write, admin")
	c.Flags().StringArrayVar(&pools, "pool", nil, "bind it to this `pool`; may be repeated; none: all, whatever $"+environ.Pool+" says")
	c.Flags().Lookup("expires").DefValue = "90d"
	complete(c, "scope", "read", "enroll", "write", "admin")
	c.PreRun = func(cmd *cobra.Command, _ []string) {
		if cmd.Flags().Changed("expires") {
			expires = &life
		}
	}
	return c
}

func (o *options) listOperators() *cobra.Command {
	var format string
	c := o.leaf("list", "List operators", "signetd operator list\nsignetd operator list -o json", func(ctx context.Context, _ []string) error {
		cfg, err := o.config(config.Default())
		if err != nil {
			return err
		}
		all, err := onMachine(ctx, &cfg, func(c *adminapi.Client) ([]adminapi.Operator, error) { return c.Operators(ctx) })
		if err != nil {
			return err
		}
		rows := make([][]string, len(all))
		for i, op := range all {
			rows[i] = []string{op.Name, op.Scope, cmp.Or(strings.Join(op.Pools, ", "), "all"), op.Expires.UTC().Format(day), op.Created.UTC().Format(day)}
		}
		return listing.Show(o.stdout, format, all, []string{"NAME", "SCOPE", "POOLS", "EXPIRES", "CREATED"}, rows...)
	})
	o.formatFlag(c, &format)
	return c
}

func (o *options) deleteOperator() *cobra.Command {
	return o.leaf("delete NAME", "End an operator's access at once", "signetd operator delete ada", func(ctx context.Context, args []string) error {
		cfg, err := o.config(config.Default())
		if err != nil {
			return err
		}
		_, err = onMachine(ctx, &cfg, func(c *adminapi.Client) (struct{}, error) { return struct{}{}, c.DeleteOperator(ctx, args[0], false) })
		if err != nil {
			return err
		}
		fmt.Fprintf(o.stderr, "operator %s has no access any more\n", args[0])
		return nil
	})
}

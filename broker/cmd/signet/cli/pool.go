package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
)

func poolHeader() []string {
	return []string{"NAME", "ISSUER", "FLOW", "MQTT PASSWORDS", "CLONES", "CREATED"}
}

func poolRow(p adminapi.Pool) []string {
	return []string{p.Name, p.Issuer, p.Flow, p.MQTTPasswordLife.String(), p.Clones, stamp(&p.Created)}
}

func (a *app) pools() *cobra.Command {
	create := a.leaf("create NAME", "Create a pool with its keys, a default client and flow", "signet pool create home",
		a.onPool(false, func(ctx context.Context, c *adminapi.Client, name string) (adminapi.Pool, error) {
			return c.CreatePool(ctx, name)
		}))
	show := a.leaf("show NAME", "Show a pool, with the thumbprint of its anchor",
		"signet pool show demo\nsignet-agent enroll --anchor $(signet pool show demo -o json | jq -r .anchorThumbprint) ...",
		a.onPool(true, func(ctx context.Context, c *adminapi.Client, name string) (adminapi.Pool, error) {
			return c.Pool(ctx, name)
		}))
	show.Long = "Shows a pool. ANCHOR is the thumbprint of the key that vouches for all others of the pool: a device that\n" +
		"enrolls without an enrollment token, which would carry it, pins it with signet-agent enroll --anchor."
	listing := a.leaf("list", "List pools", "signet pool list -o json", func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		pools, err := c.Pools(cmd.Context())
		if err != nil {
			return err
		}
		return list(a, pools, poolHeader(), poolRow)
	})
	update, remove := a.updatePool(), a.deletePool()
	for _, cmd := range []*cobra.Command{show, update, remove} {
		cmd.ValidArgsFunction = a.completing(a.poolNames)
	}
	return group("pool", "Directories of devices", create, listing, show, update, remove)
}

// onPool makes the work of a command whose argument names a pool and that answers with it.
func (a *app) onPool(whole bool, do func(context.Context, *adminapi.Client, string) (adminapi.Pool, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		p, err := do(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		if whole {
			return a.detail(p, append(poolHeader(), "ANCHOR"), append(poolRow(p), p.AnchorThumbprint))
		}
		return a.show(p, poolHeader(), poolRow(p))
	}
}

func (a *app) updatePool() *cobra.Command {
	var change adminapi.PoolChange
	var life adminapi.Duration
	cmd := a.leaf("update NAME", "Change a pool's settings; what is not given stays", "signet pool update demo --flow two\nsignet pool update demo --mqtt-password-life 0s", nil)
	do := a.onPool(false, func(ctx context.Context, c *adminapi.Client, name string) (adminapi.Pool, error) {
		return c.UpdatePool(ctx, name, change)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.started = true
		if err := needsOne(cmd, "flow", "mqtt-password-life", "clones"); err != nil {
			return err
		}
		if cmd.Flags().Changed("mqtt-password-life") {
			change.MQTTPasswordLife = &life
		}
		return do(cmd, args)
	}
	cmd.Flags().StringVar(&change.Flow, "flow", "", "`flow` that becomes the pool's default")
	cmd.Flags().Var(&life, "mqtt-password-life", "how long an MQTT password may be used to connect, 1m to 1d; 0s for none")
	defer complete(cmd, "clones", cobra.FixedCompletions([]string{"note", "quarantine"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&change.Clones, "clones", "", "what is done about a device when two copies of its key are in use: `note` it, or quarantine the device")
	return cmd
}

func (a *app) deletePool() *cobra.Command {
	var force bool
	cmd := a.leaf("delete NAME", "Delete a pool and all that is in it", "signet pool delete demo", func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		if err := c.DeletePool(cmd.Context(), args[0], force); err != nil {
			return err
		}
		return a.did(outcome{Action: "delete", Kind: "pool", Name: args[0]}, "deleted pool %s%s", args[0], a.on())
	})
	cmd.Flags().BoolVar(&force, "force", false, "even if it has devices or enrollment tokens: they go with it, for good")
	return cmd
}

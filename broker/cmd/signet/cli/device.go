package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
)

const maxKeyFile = 8 << 10 // bytes

func (a *app) pools() *cobra.Command {
	header := []string{"NAME", "ISSUER", "FLOW", "CREATED"}
	row := func(p adminapi.Pool) []string { return []string{p.Name, p.Issuer, p.Flow, stamp(&p.Created)} }
	one := func(do func(context.Context, *adminapi.Client, string) (adminapi.Pool, error)) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			p, err := do(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			return a.show(p, header, row(p))
		}
	}
	remove := a.leaf("delete NAME", "Delete a pool and all that is in it", cobra.ExactArgs(1), nil)
	yes := remove.Flags().Bool("yes", false, "really")
	remove.RunE = func(cmd *cobra.Command, args []string) error {
		a.started = true
		c, err := a.connect()
		if err != nil {
			return err
		}
		if !*yes {
			devices, err := c.In(args[0]).Devices(cmd.Context())
			if err != nil {
				return err
			}
			return usagef("this deletes pool %s with its %d devices; add --yes", args[0], len(devices))
		}
		return c.DeletePool(cmd.Context(), args[0])
	}
	return group("pool", "Directories of devices",
		a.leaf("create NAME", "Create a pool with its keys, a default client and flow", cobra.ExactArgs(1),
			one(func(ctx context.Context, c *adminapi.Client, name string) (adminapi.Pool, error) {
				return c.CreatePool(ctx, name)
			})),
		a.leaf("list", "List pools", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			pools, err := c.Pools(cmd.Context())
			if err != nil {
				return err
			}
			return list(a, pools, header, row)
		}),
		a.leaf("show NAME", "Show a pool", cobra.ExactArgs(1),
			one(func(ctx context.Context, c *adminapi.Client, name string) (adminapi.Pool, error) {
				return c.Pool(ctx, name)
			})),
		remove)
}

func deviceHeader() []string {
	return []string{"NAME", "STATUS", "AUTHENTICATORS", "GROUPS", "ATTRIBUTES", "SUBJECT", "CREATED"}
}

func deviceRow(d adminapi.Device) []string {
	var auth []string
	for _, x := range d.Authenticators {
		auth = append(auth, strings.TrimSuffix(x.Kind+":"+x.Alg, ":"))
	}
	return []string{
		d.Name, d.Status, strings.Join(auth, ","), strings.Join(d.Groups, ","), pairs(d.Attributes), d.Subject, stamp(&d.Created),
	}
}

// oneDevice makes a command on one device that answers with it.
func (a *app) oneDevice(use, short string, do func(adminapi.PoolClient, context.Context, string) (adminapi.Device, error)) *cobra.Command {
	return a.leaf(use+" NAME", short, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		d, err := do(p, cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(d, deviceHeader(), deviceRow(d))
	})
}

func (a *app) devices() *cobra.Command {
	listing := a.leaf("list", "List devices by name", cobra.NoArgs, nil)
	count := listing.Flags().Bool("count", false, "print only how many there are")
	listing.RunE = func(cmd *cobra.Command, _ []string) error {
		a.started = true
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		devices, err := p.Devices(cmd.Context())
		if err != nil {
			return err
		}
		if *count {
			_, err := fmt.Fprintln(a.Out, len(devices))
			return err
		}
		return list(a, devices, deviceHeader(), deviceRow)
	}
	return a.inPool("device", "Devices of a pool",
		a.createDevice(), listing, a.updateDevice(),
		a.oneDevice("show", "Show a device", adminapi.PoolClient.Device),
		a.oneDevice("disable", "Take everything from a device until it is enabled again", adminapi.PoolClient.DisableDevice),
		a.oneDevice("enable", "Make a disabled device active", adminapi.PoolClient.EnableDevice),
		a.oneDevice("approve", "Make a pending device active", adminapi.PoolClient.ApproveDevice),
		a.oneDevice("revoke", "End all sessions of a device; it may log in again", adminapi.PoolClient.RevokeSessions),
		a.remove("delete NAME", "Delete a device and end its sessions", adminapi.PoolClient.DeleteDevice),
		a.sessions())
}

// remove makes a command that deletes one thing of a pool and says nothing.
func (a *app) remove(use, short string, do func(adminapi.PoolClient, context.Context, string) error) *cobra.Command {
	return a.leaf(use, short, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		return do(p, cmd.Context(), args[0])
	})
}

func (a *app) createDevice() *cobra.Command {
	var n adminapi.NewDevice
	var keyFile, pskFile string
	var attrs []string
	cmd := a.leaf("create NAME", "Register a device", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		n.Name = args[0]
		var err error
		if n.Attributes, err = parsePairs(attrs); err != nil {
			return err
		}
		for file, to := range map[string]*string{keyFile: &n.Key, pskFile: &n.PSK} {
			if file == "" {
				continue
			}
			raw, err := a.readInput(file, maxKeyFile)
			if err != nil {
				return err
			}
			*to = strings.TrimSpace(string(raw))
		}
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		d, err := p.CreateDevice(cmd.Context(), n)
		if err != nil {
			return err
		}
		return a.show(d, deviceHeader(), deviceRow(d))
	})
	f := cmd.Flags()
	f.StringVar(&keyFile, "key", "", "file with the public key: PEM, JWK or COSE key in hex; - for standard input")
	f.StringVar(&pskFile, "psk-file", "", "file with the shared key of 32 to 64 bytes: hex or base64; - for standard input")
	f.StringArrayVar(&attrs, "attr", nil, "attribute k=v; may be repeated")
	f.StringArrayVar(&n.Groups, "group", nil, "group; may be repeated")
	f.BoolVar(&n.Pending, "pending", false, "wait for approval")
	cmd.MarkFlagsMutuallyExclusive("key", "psk-file")
	return cmd
}

func (a *app) updateDevice() *cobra.Command {
	var change adminapi.DeviceChange
	var attrs []string
	cmd := a.leaf("update NAME", "Replace a device's groups or attributes", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		var err error
		if change.Attributes, err = parsePairs(attrs); err != nil {
			return err
		}
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		d, err := p.UpdateDevice(cmd.Context(), args[0], change)
		if err != nil {
			return err
		}
		return a.show(d, deviceHeader(), deviceRow(d))
	})
	cmd.Flags().StringArrayVar(&attrs, "attr", nil, "attribute k=v; may be repeated; replaces all")
	cmd.Flags().StringArrayVar(&change.Groups, "group", nil, "group; may be repeated; replaces all")
	cmd.MarkFlagsOneRequired("attr", "group")
	return cmd
}

func (a *app) sessions() *cobra.Command {
	header := []string{"ID", "CLIENT", "CREATED", "ROTATED", "EXPIRES", "REVOKED"}
	revoke := a.leaf("revoke NAME [SESSION]", "End one session of a device, or all", cobra.RangeArgs(1, 2), func(cmd *cobra.Command, args []string) error {
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		if len(args) == 2 {
			return p.RevokeSession(cmd.Context(), args[0], args[1])
		}
		_, err = p.RevokeSessions(cmd.Context(), args[0])
		return err
	})
	return group("sessions", "Logins of a device",
		a.leaf("list NAME", "List a device's newest 100 sessions", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			sessions, err := p.Sessions(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return list(a, sessions, header, func(s adminapi.Session) []string {
				return []string{s.ID, s.Client, stamp(&s.Created), stamp(s.Rotated), stamp(s.Expires), fmt.Sprint(s.Revoked)}
			})
		}), revoke)
}

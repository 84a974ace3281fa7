package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
)

const maxKeyFile = 8 << 10 // bytes

func deviceShelf() shelf[adminapi.Device] {
	return shelf[adminapi.Device]{
		noun:   "device",
		header: []string{"NAME", "STATUS", "AUTHENTICATORS", "GROUPS", "ATTRIBUTES", "SUBJECT", "CREATED"},
		row: func(d adminapi.Device) []string {
			var auth []string
			for _, x := range d.Authenticators {
				auth = append(auth, strings.TrimSuffix(x.Kind+":"+x.Alg, ":"))
			}
			return []string{
				d.Name, d.Status, strings.Join(auth, ","), strings.Join(d.Groups, ","), pairs(d.Attributes), d.Subject, stamp(&d.Created),
			}
		},
		more: func(d adminapi.Device) (header, row []string) {
			var ids, keys []string
			for _, x := range d.Authenticators {
				ids = append(ids, x.Kind+":"+x.ID)
				if x.Thumbprint != "" {
					keys = append(keys, x.Thumbprint)
				}
			}
			return []string{"IDS", "THUMBPRINTS", "UPDATED", "SESSIONS AFTER", "CLONED SINCE"},
				[]string{strings.Join(ids, ","), strings.Join(keys, ","), stamp(&d.Updated), stamp(d.SessionsAfter), stamp(d.ClonedSince)}
		},
		all: adminapi.PoolClient.Devices, names: adminapi.PoolClient.DeviceNames,
	}
}

func (a *app) devices() *cobra.Command {
	s := deviceShelf()
	act := func(verb, short string, do func(adminapi.PoolClient, context.Context, string) (adminapi.Device, error)) *cobra.Command {
		return s.one(a, verb+" NAME", short, "signet device "+verb+" lamp-1 --pool demo", do)
	}
	cmd := a.inPool("device", "Devices of a pool",
		a.createDevice(s), a.listDevices(s), a.updateDevice(s), s.showing(a, "NAME", adminapi.PoolClient.Device),
		act("disable", "Take everything from a device until it is enabled again", adminapi.PoolClient.DisableDevice),
		act("enable", "Make a disabled device active", adminapi.PoolClient.EnableDevice),
		act("approve", "Make a pending device active", adminapi.PoolClient.ApproveDevice),
		act("revoke", "End all sessions of a device; it may log in again", adminapi.PoolClient.RevokeSessions),
		s.removing(a, "NAME", "Delete a device and end its sessions", adminapi.PoolClient.DeleteDevice),
		a.sessions(s), a.history(s))
	cmd.AddCommand(a.authenticators(s)...)
	return cmd
}

func (a *app) listDevices(s shelf[adminapi.Device]) *cobra.Command {
	var count bool
	cmd := a.leaf("list", "List devices by name", "signet device list --pool demo\nsignet device list --pool demo --count",
		func(cmd *cobra.Command, _ []string) error {
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			if count {
				n, err := p.CountDevices(cmd.Context())
				if err != nil {
					return err
				}
				if a.format != "table" {
					return a.show(map[string]int{"count": n}, []string{"COUNT"}, []string{fmt.Sprint(n)})
				}
				_, err = fmt.Fprintln(a.Out, n)
				return err
			}
			devices, err := p.Devices(cmd.Context())
			if err != nil {
				return err
			}
			return list(a, devices, s.header, s.row)
		})
	cmd.Flags().BoolVar(&count, "count", false, "print only how many there are")
	return cmd
}

func (a *app) createDevice(s shelf[adminapi.Device]) *cobra.Command {
	var n adminapi.NewDevice
	var keyFile, pskFile string
	var attrs []string
	cmd := s.one(a, "create NAME", "Register a device",
		"signet device create lamp-1 --pool demo --key lamp-1.pem --group lab --attr site=berlin\nsignet device create lamp-2 --pool demo --psk-file - < key.hex",
		func(p adminapi.PoolClient, ctx context.Context, name string) (adminapi.Device, error) {
			n.Name = name
			return p.CreateDevice(ctx, n)
		})
	cmd.Long = "Registers a device. Without a key it is a name only, and enrolls with a token later."
	create := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		a.started = true
		if err := notBoth(cmd, "key", "psk-file"); err != nil {
			return err
		}
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
			if *to = strings.TrimSpace(string(raw)); *to == "" {
				return usagef("%s is empty", file)
			}
		}
		return create(cmd, args)
	}
	f := cmd.Flags()
	f.StringVar(&keyFile, "key", "", "`file` with the public key: PEM, JWK or COSE key in hex; - for standard input")
	f.StringVar(&pskFile, "psk-file", "", "`file` with the shared key of 32 to 64 bytes: hex or base64; - for standard input")
	f.StringArrayVar(&attrs, "attr", nil, "attribute `k=v`; may be repeated")
	f.StringArrayVar(&n.Groups, "group", nil, "`group`; may be repeated")
	f.BoolVar(&n.Pending, "pending", false, "wait for approval")
	return cmd
}

func (a *app) updateDevice(s shelf[adminapi.Device]) *cobra.Command {
	var change adminapi.DeviceChange
	var attrs []string
	cmd := s.one(a, "update NAME", "Replace a device's groups or attributes", "signet device update lamp-1 --pool demo --group lab --attr site=berlin",
		func(p adminapi.PoolClient, ctx context.Context, name string) (adminapi.Device, error) {
			return p.UpdateDevice(ctx, name, change)
		})
	do := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		a.started = true
		if err := needsOne(cmd, "attr", "group"); err != nil {
			return err
		}
		if change.Attributes, err = parsePairs(attrs); err != nil {
			return err
		}
		return do(cmd, args)
	}
	cmd.Flags().StringArrayVar(&attrs, "attr", nil, "attribute `k=v`; may be repeated; replaces all")
	cmd.Flags().StringArrayVar(&change.Groups, "group", nil, "`group`; may be repeated; replaces all")
	return cmd
}

func (a *app) sessions(s shelf[adminapi.Device]) *cobra.Command {
	header := []string{"ID", "CLIENT", "CREATED", "ROTATED", "EXPIRES", "REVOKED", "CLONED", "FROM"}
	listing := a.leaf("list NAME", "List a device's newest 100 sessions", "signet device sessions list lamp-1 --pool demo", func(cmd *cobra.Command, args []string) error {
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		sessions, err := p.Sessions(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return list(a, sessions, header, func(s adminapi.Session) []string {
			return []string{s.ID, s.Client, stamp(&s.Created), stamp(s.Rotated), stamp(s.Expires), fmt.Sprint(s.Revoked), fmt.Sprint(s.Cloned), s.From}
		})
	})
	revoke := a.leaf("revoke NAME [SESSION]", "End one session of a device, or all",
		"signet device sessions revoke lamp-1 --pool demo\nsignet device sessions revoke lamp-1 01a2087e-c5af-775f-894d-42604224acef --pool demo",
		func(cmd *cobra.Command, args []string) error {
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 2 {
				if err := p.RevokeSession(cmd.Context(), args[0], args[1]); err != nil {
					return err
				}
				return a.did(outcome{Action: "revoke", Kind: "session", Pool: a.pool, Name: args[0] + "/" + args[1]},
					"ended session %s of %s%s; backends that verify offline take its access tokens until they expire", args[1], args[0], a.on())
			}
			if _, err = p.RevokeSessions(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.did(outcome{Action: "revoke", Kind: "sessions", Pool: a.pool, Name: args[0]}, "ended all sessions of %s%s; it may log in again", args[0], a.on())
		})
	listing.ValidArgsFunction, revoke.ValidArgsFunction = s.completion(a), func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return s.completion(a)(cmd, args, prefix)
		}
		return a.completing(func(ctx context.Context, _ string) (ids []string, err error) {
			p, err := a.enter(ctx)
			if err != nil {
				return nil, err
			}
			sessions, err := p.Sessions(ctx, args[0])
			for _, one := range sessions {
				ids = append(ids, one.ID)
			}
			return ids, err
		})(cmd, nil, prefix)
	}
	return group("sessions", "Logins of a device", listing, revoke)
}

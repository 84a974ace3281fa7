package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
)

func clientShelf() shelf[adminapi.ClientSettings] {
	span := func(d *adminapi.Duration) string {
		if d == nil || *d == 0 {
			return "none"
		}
		return d.String()
	}
	return shelf[adminapi.ClientSettings]{
		noun:   "client",
		header: []string{"ID", "FLOW", "AUDIENCES", "ACCESS", "REFRESH", "GRACE"},
		row: func(c adminapi.ClientSettings) []string {
			return []string{c.ID, c.Flow, strings.Join(c.Audiences, ","), span(c.AccessLife), span(c.RefreshLife), span(c.Grace)}
		},
		more: func(c adminapi.ClientSettings) (header, row []string) {
			return []string{"CREATED"}, []string{stamp(c.Created)}
		},
		all: adminapi.PoolClient.Clients,
	}
}

func (a *app) clients() *cobra.Command {
	s := clientShelf()
	var made, changes clientFlags
	var create, update *cobra.Command
	create = s.one(a, "create ID", "Create a client", "signet client create app --pool demo --audience telemetry --access-life 15m",
		func(p adminapi.PoolClient, ctx context.Context, id string) (adminapi.ClientSettings, error) {
			c := adminapi.ClientSettings{ID: id}
			made.merge(create, &c)
			return p.CreateClient(ctx, c)
		})
	made.add(create, "1h", "30d", "5m")
	update = s.one(a, "update ID", "Change a client's settings; what is not given stays", "signet client update default --pool demo --flow two --refresh-life 60d",
		func(p adminapi.PoolClient, ctx context.Context, id string) (adminapi.ClientSettings, error) {
			c, err := p.Client(ctx, id)
			if err != nil {
				return c, err
			}
			changes.merge(update, &c)
			return p.ReplaceClient(ctx, c)
		})
	changes.add(update, "", "", "")
	change := update.RunE
	update.RunE = func(cmd *cobra.Command, args []string) error {
		a.started = true
		if err := needsOne(cmd, "flow", "audience", "access-life", "refresh-life", "grace"); err != nil {
			return err
		}
		return change(cmd, args)
	}
	return a.inPool("client", "Applications: their flow, audiences and lifetimes", create, s.listing(a),
		s.showing(a, "ID", adminapi.PoolClient.Client), update,
		s.removing(a, "ID", "Delete a client", adminapi.PoolClient.DeleteClient))
}

// clientFlags are a client's settings as flags.
type clientFlags struct {
	flow                   string
	audiences              []string
	access, refresh, grace adminapi.Duration
}

// add adds the flags; the texts are the defaults that help shows.
func (c *clientFlags) add(cmd *cobra.Command, access, refresh, grace string) {
	f := cmd.Flags()
	f.StringVar(&c.flow, "flow", "", "`flow` of its devices; the pool's if not given")
	f.StringArrayVar(&c.audiences, "audience", nil, "`audience` of its tokens, the pool's name if not given; may be repeated")
	spanFlag(cmd, &c.access, "access-life", access, "life of access and ID tokens, 5m to 1d")
	spanFlag(cmd, &c.refresh, "refresh-life", refresh, "life of refresh tokens, 1h to 10y; 0 for none")
	spanFlag(cmd, &c.grace, "grace", grace, "how long a rotated refresh token still answers with its successor, at most 1h")
}

// merge takes over the settings whose flags were given.
func (c *clientFlags) merge(cmd *cobra.Command, to *adminapi.ClientSettings) {
	f := cmd.Flags()
	if f.Changed("flow") {
		to.Flow = c.flow
	}
	if f.Changed("audience") {
		to.Audiences = c.audiences
	}
	if f.Changed("access-life") {
		to.AccessLife = &c.access
	}
	if f.Changed("refresh-life") {
		to.RefreshLife = &c.refresh
	}
	if f.Changed("grace") {
		to.Grace = &c.grace
	}
}

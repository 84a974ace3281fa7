package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/environ"
)

func connectionHeader() []string {
	return []string{"ID", "DEVICE", "CLIENT ID", "SOURCE", "TLS", "MQTT", "ADMITTED", "SINCE", "HEARD", "SUBSCRIPTIONS", "QUEUED", "IN FLIGHT"}
}

func connectionRow(x adminapi.Connection) []string {
	source := x.Source
	if x.Away {
		source = "(away)"
	}
	return []string{
		x.ID, x.FullName(), x.ClientID, source, x.TLS, x.MQTT, x.Admitted, stamp(x.Since), stamp(x.Heard),
		strconv.Itoa(x.Subscriptions), strconv.Itoa(x.Queued), strconv.Itoa(x.Inflight),
	}
}

// wantedConnections are the flags that say which connections are wanted.
type wantedConnections struct {
	adminapi.ConnectionQuery
}

func (w *wantedConnections) flags(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.Device, "device", "", "those of this `device` of the pool only")
	f.StringVar(&w.Source, "source", "", "those from this `address` or network, such as 192.0.2.0/24, only")
	f.Var(&w.Older, "older", "those that have been there for so long, such as 1h, only")
	f.Lookup("older").DefValue = ""
	f.IntVar(&w.Queued, "queued", 0, "those for which at least this `number` of messages waits only")
	f.BoolVar(&w.Strangers, "strangers", false, "those that are no device's instead")
	complete(cmd, "device", a.completing(func(ctx context.Context, prefix string) ([]string, error) {
		p, err := a.enter(ctx)
		if err != nil {
			return nil, err
		}
		return p.DeviceNames(ctx, prefix)
	}))
	for _, none := range []string{"source", "older", "queued"} {
		complete(cmd, none, cobra.NoFileCompletions)
	}
}

// narrows reports whether any flag says which connections are wanted.
func (w *wantedConnections) narrows() bool { return w.ConnectionQuery != adminapi.ConnectionQuery{} }

// in connects, and takes the pool that commands work in for who names none; of a device there must be one.
func (w *wantedConnections) in(cmd *cobra.Command, a *app) (c *adminapi.Client, err error) {
	if w.Device != "" {
		if _, err := a.enter(cmd.Context()); err != nil {
			return nil, err
		}
	}
	if c, err = a.connect(); err != nil || w.Strangers {
		return c, err
	}
	if w.Pool = a.pool; !cmd.Flags().Changed("pool") && w.Device == "" {
		if w.Pool = a.usualPool(""); w.Pool != "" && a.format == "table" {
			a.note("connections of pool %s; those of all: --pool ''", w.Pool)
		}
	}
	return c, nil
}

func (a *app) connections() *cobra.Command {
	g := group("connection", "MQTT connections of devices, as one broker has them now", a.listConnections(), a.showConnection(), a.kickConnections(), a.traceDevice())
	g.PersistentFlags().StringVar(&a.pool, "pool", "", "`pool` whose devices' connections are meant; all if nothing says which ($"+environ.Pool+")")
	complete(g, "pool", a.completing(a.poolNames))
	g.Long = "MQTT connections of devices, as they are now at the broker that is asked; each replica knows its own.\n" +
		"Connections are nowhere stored: what an operator does with them is (signet audit list --kind connection)."
	return g
}

func (a *app) listConnections() *cobra.Command {
	var want wantedConnections
	var limit int
	cmd := a.leaf("list", "List connections", "signet connection list --pool demo\nsignet connection list --source 192.0.2.0/24 --older 1h\nsignet connection list --queued 100 --sort queued -o json",
		func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit %d, want at least 1, or 0 for all", limit)
			}
			c, err := want.in(cmd, a)
			if err != nil {
				return err
			}
			some, broker, err := c.Connections(cmd.Context(), want.ConnectionQuery, limit)
			if err != nil {
				return err
			}
			if a.format == "table" {
				a.note("%s to broker %s", counted(len(some), "connection"), broker)
			}
			return list(a, some, connectionHeader(), connectionRow)
		})
	want.flags(a, cmd)
	cmd.Flags().BoolVar(&want.Away, "all", false, "sessions without a connection, for which messages may wait, too")
	cmd.Flags().StringVar(&want.Sort, "sort", "", "`order`: age, device, source, queued or silent (age if not given)")
	cmd.Flags().IntVar(&limit, "limit", 1000, "show at most this `number` of them; 0: all")
	complete(cmd, "sort", cobra.FixedCompletions([]string{"age", "device", "source", "queued", "silent"}, cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "limit", cobra.NoFileCompletions)
	return cmd
}

func (a *app) showConnection() *cobra.Command {
	cmd := a.leaf("show ID", "Show one connection and its subscriptions", "signet connection show 5f2c9a1e-42", func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		x, err := c.Connection(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		row := connectionRow(x)
		return a.detail(x, append(connectionHeader(), "BYTES", "TRANSPORT", "CIPHER", "KEEP ALIVE", "UNTIL", "SESSION EXPIRY", "SESSION ENDS", "FILTERS"),
			append(row, strconv.Itoa(x.Bytes), x.Transport, x.Cipher, length(x.KeepAlive, "none"), stamp(x.Until), length(x.SessionExpiry, "never"), stamp(x.Ends), strings.Join(x.Filters, ",")))
	})
	cmd.ValidArgsFunction = a.completing(a.connectionIDs)
	return cmd
}

// length writes a length of time, or what it is that there is none.
func length(d *adminapi.Duration, none string) string {
	if d == nil {
		return none
	}
	return d.String()
}

func (a *app) connectionIDs(ctx context.Context, _ string) (ids []string, err error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	some, _, err := c.Connections(ctx, adminapi.ConnectionQuery{Pool: a.usualPool(a.pool)}, 100)
	for _, x := range some {
		ids = append(ids, x.ID)
	}
	return ids, err
}

// A kicked is what kick prints of connections.
type kicked struct {
	Broker string   `json:"broker,omitempty"`
	Kicked []string `json:"kicked"`
	// Would are those that it would end, with --yes.
	Would []adminapi.Connection `json:"would,omitempty"`
}

func (a *app) kickConnections() *cobra.Command {
	var want wantedConnections
	var yes bool
	cmd := a.leaf("kick [ID]", "End connections; their devices may come back at once",
		"signet connection kick 5f2c9a1e-42 --reason 'hangs since the update'\nsignet connection kick --device lamp-1 --pool demo --yes\nsignet connection kick --source 192.0.2.0/24 --older 1h",
		func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if want.narrows() || yes {
					return usagef("either ID or flags that say which, not both")
				}
				return a.kickOne(cmd.Context(), args[0])
			}
			if !want.narrows() {
				return usagef("%s needs ID, or flags that say which: --device, --source, --older, --queued or --strangers", cmd.CommandPath())
			}
			return a.kickMany(cmd, &want, yes)
		})
	cmd.Long = "Ends one connection, or those that flags say. Without --yes flags only show which would end: nothing ends.\n" +
		"With it, those end that were there when the list was made, and none that came since.\n\n" +
		"A client hears of it (over MQTT 5, reason 0x98) and may come back at once, and its session stays:\n" +
		"to keep a device out, signet device disable."
	want.flags(a, cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "end those that the flags say, instead of showing them")
	cmd.ValidArgsFunction = a.completing(a.connectionIDs)
	return cmd
}

func (a *app) kickOne(ctx context.Context, id string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if _, err := c.Connection(ctx, id); err != nil {
		return err // it says that there is none
	}
	ended, err := c.Kick(ctx, []string{id})
	if err != nil {
		return err
	}
	if a.format != "table" {
		return a.show(kicked{Kicked: ended}, []string{"ID"}, column(ended)...)
	}
	a.note("ended %s%s; its device may come back at once", counted(len(ended), "connection"), a.on())
	return nil
}

func (a *app) kickMany(cmd *cobra.Command, want *wantedConnections, yes bool) error {
	ctx := cmd.Context()
	c, err := want.in(cmd, a)
	if err != nil {
		return err
	}
	some, broker, err := c.Connections(ctx, want.ConnectionQuery, 0)
	if err != nil {
		return err
	}
	if !yes {
		a.note("%s to broker %s would end; to end them: the same with --yes", counted(len(some), "connection"), broker)
		if a.format == "json" || a.format == "yaml" {
			return a.show(kicked{Broker: broker, Kicked: []string{}, Would: some}, nil)
		}
		return list(a, some, connectionHeader(), connectionRow)
	}
	ids := make([]string, 0, len(some))
	for _, x := range some {
		ids = append(ids, x.ID)
	}
	ended, err := c.Kick(ctx, ids)
	if err != nil {
		return fmt.Errorf("after %s: %w", counted(len(ended), "connection"), err)
	}
	if a.format != "table" {
		return a.show(kicked{Broker: broker, Kicked: ended}, []string{"ID"}, column(ended)...)
	}
	a.note("ended %s to broker %s%s; devices may come back at once", counted(len(ended), "connection"), broker, a.on())
	return nil
}

// column gives a row for each text.
func column(texts []string) (rows [][]string) {
	for _, t := range texts {
		rows = append(rows, []string{t})
	}
	return rows
}

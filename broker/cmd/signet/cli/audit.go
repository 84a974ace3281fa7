package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/listing"
	"github.com/signetd/signet/protocol/environ"
)

// followEvery is how often tail asks for more.
const followEvery = time.Second

func recordHeader() []string {
	return []string{"SEQ", "TIME", "ACTOR", "ACTION", "KIND", "NAME", "REASON", "REQUEST"}
}

func recordRow(r adminapi.Record) []string {
	name := r.Name
	if r.Pool != "" {
		name = strings.TrimSuffix(r.Pool+":"+r.Name, ":")
	}
	action := r.Action
	if r.Count > 0 {
		action += " x" + strconv.FormatUint(uint64(r.Count), 10)
	}
	return []string{strconv.FormatUint(r.Seq, 10), stamp(&r.Time), r.Actor, action, r.Kind, name, r.Reason, r.Request}
}

// wanted are the flags that say which records are wanted.
type wanted struct {
	query        adminapi.AuditQuery
	since, until string
}

func (w *wanted) flags(a *app, cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&w.query.Pool, "pool", "", "records of this `pool` only; empty: of all ($"+environ.Pool+")")
	f.StringVar(&w.query.Kind, "kind", "", "records of this `kind` only, such as device or client")
	f.StringVar(&w.query.Actor, "actor", "", "by this `actor` only, such as operator:ada, or by those of a kind, such as operator")
	f.StringVar(&w.query.Device, "device", "", "only what concerns this device, given as `POOL:NAME`, and what it did itself")
	f.BoolVar(&w.query.NoTraffic, "no-traffic", false, "without logins, refreshes, tries and refusals")
	complete(cmd, "pool", a.completing(a.poolNames))
	complete(cmd, "kind", cobra.FixedCompletions(adminapi.RecordKinds(), cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "actor", cobra.FixedCompletions([]string{"operator", "device", "local", "signetd"}, cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "device", cobra.NoFileCompletions)
}

// times are the flags of a listing, which has an end.
func (w *wanted) times(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.since, "since", "", "written at this `time` or later: 2026-01-31T12:00:00Z, or 24h for a day ago")
	cmd.Flags().StringVar(&w.until, "until", "", "written before this `time`")
	complete(cmd, "since", cobra.NoFileCompletions)
	complete(cmd, "until", cobra.NoFileCompletions)
}

// read turns the times that were given into those of the query.
func (w *wanted) read(now time.Time) (err error) {
	if w.query.Since, err = timeFlag("since", w.since, now); err != nil {
		return err
	}
	w.query.Until, err = timeFlag("until", w.until, now)
	return err
}

// inPool takes the pool that commands work in for who names neither one nor a device.
func (w *wanted) inPool(a *app, cmd *cobra.Command) {
	if cmd.Flags().Changed("pool") || w.query.Device != "" {
		return
	}
	if w.query.Pool = a.usualPool(""); w.query.Pool != "" && a.format == "table" {
		a.note("records of pool %s; those of all: --pool ''", w.query.Pool)
	}
}

// timeFlag reads a time, or how long ago it was; zero if text is empty.
func timeFlag(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	ago, err := adminapi.ParseDuration(text)
	if err != nil {
		return time.Time{}, usagef("--%s %q: want a time such as 2026-01-31T12:00:00Z, or how long ago, such as 24h", name, text)
	}
	return now.Add(-time.Duration(ago)), nil
}

func (a *app) audit() *cobra.Command {
	var want wanted
	var after uint64
	var limit int
	listing := a.leaf("list", "Show the newest records, or those behind one",
		"signet audit list --no-traffic --since 24h\nsignet audit list --actor operator:ada --kind client\nsignet audit list --pool demo --after 1200 --limit 50 -o json",
		func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("--limit %d, want at least 1", limit)
			}
			if err := want.read(a.Now()); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			read := latestRecords
			if cmd.Flags().Changed("after") {
				read = recordsBehind
			}
			want.inPool(a, cmd)
			records, err := read(cmd.Context(), c, want.query, after, limit)
			if err != nil {
				return err
			}
			return list(a, records, recordHeader(), recordRow)
		})
	listing.Flags().Uint64Var(&after, "after", 0, "begin behind the record with this `number`; without it, with the newest")
	listing.Flags().IntVar(&limit, "limit", 100, "show at most this `number` of records")
	want.times(listing)
	tail := a.leaf("tail", "Show records as they are written, until interrupted", "signet audit tail --pool demo\nsignet audit tail --after 0 -o json",
		func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			want.inPool(a, cmd)
			return a.followAudit(cmd, c, want.query, after)
		})
	tail.Long = "Shows records as they are written, one line each (-o json: one JSON object each; -o yaml: one document\neach), until interrupted. With --after it begins behind that record and misses none."
	tail.Flags().Uint64Var(&after, "after", 0, "begin behind the record with this `number`; without it, with what comes")
	g := group("audit", "What was done, by whom and why", listing, tail)
	want.flags(a, g)
	return g
}

// mostRecords is how many records one question gives.
const mostRecords = 500

// latestRecords reads the newest records, up to limit, in order.
func latestRecords(ctx context.Context, c *adminapi.Client, q adminapi.AuditQuery, _ uint64, limit int) ([]adminapi.Record, error) {
	out := []adminapi.Record{}
	for before := uint64(0); len(out) < limit; {
		page, err := c.LatestAudit(ctx, q, before, min(limit-len(out), mostRecords))
		if err != nil {
			return nil, err
		}
		out = append(page.Items, out...)
		if before = page.Prev; before == 0 {
			break
		}
	}
	return out, nil
}

// recordsBehind reads up to limit records behind one.
func recordsBehind(ctx context.Context, c *adminapi.Client, q adminapi.AuditQuery, after uint64, limit int) ([]adminapi.Record, error) {
	out := []adminapi.Record{}
	for len(out) < limit {
		page, err := c.Audit(ctx, q, after, min(limit-len(out), mostRecords))
		if err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
		if page.Next == after {
			break
		}
		after = page.Next
	}
	return out, nil
}

// followAudit prints records as they come.
func (a *app) followAudit(cmd *cobra.Command, c *adminapi.Client, q adminapi.AuditQuery, after uint64) error {
	ctx := cmd.Context()
	if !cmd.Flags().Changed("after") {
		page, err := c.LatestAudit(ctx, q, 0, 1) // q, because an operator may be bound to its pool
		if err != nil {
			return err
		}
		after = page.Next
	}
	if a.format == "csv" {
		if err := listing.CSV(a.Out, recordHeader()); err != nil {
			return err
		}
	}
	for {
		page, err := c.Audit(ctx, q, after, mostRecords)
		if err != nil {
			return err
		}
		for _, r := range page.Items {
			if err := a.recordLine(r); err != nil {
				return err
			}
		}
		more := page.Next != after
		after = page.Next
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followEvery):
		}
	}
}

// recordLine prints one record.
func (a *app) recordLine(r adminapi.Record) error {
	row := recordRow(r)
	switch a.format {
	case "json":
		return json.NewEncoder(a.Out).Encode(r)
	case "csv":
		return listing.CSV(a.Out, row)
	case "yaml":
		if _, err := fmt.Fprintln(a.Out, "---"); err != nil {
			return err
		}
		return a.show(r, nil, nil)
	}
	for i, cell := range row {
		if cell == "" {
			row[i] = "-"
		}
	}
	_, err := fmt.Fprintln(a.Out, strings.Join(row, "  "))
	return err
}

func (a *app) history(s shelf[adminapi.Device]) *cobra.Command {
	var limit int
	cmd := a.leaf("history NAME", "Show what was done to a device and by it, newest first", "signet device history lamp-1 --pool demo\nsignet device history lamp-1 --pool demo --limit 5 -o json",
		func(cmd *cobra.Command, args []string) error {
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			if limit < 1 {
				return usagef("--limit %d, want at least 1", limit)
			}
			records := []adminapi.Record{}
			for before := uint64(0); len(records) < limit; {
				page, err := p.DeviceHistory(cmd.Context(), args[0], before, min(limit-len(records), 500))
				if err != nil {
					return err
				}
				records = append(records, page.Items...)
				if before = page.Next; before == 0 {
					break
				}
			}
			return list(a, records, recordHeader(), recordRow)
		})
	cmd.Long = "Shows each change of a device, also from before its name was used again, its ended sessions,\nand the logins of its last sessions."
	cmd.Flags().IntVar(&limit, "limit", 100, "show at most this `number` of records")
	cmd.ValidArgsFunction = s.completion(a)
	return cmd
}

package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
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

func (a *app) audit() *cobra.Command {
	var pool string
	var after uint64
	var limit int
	listing := a.leaf("list", "Show the newest records, or those behind one", "signet audit list\nsignet audit list --pool demo --after 1200 --limit 50 -o json",
		func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if limit < 1 {
				return usagef("--limit %d, want at least 1", limit)
			}
			records, err := auditRecords(cmd, c, pool, after, limit)
			if err != nil {
				return err
			}
			return list(a, records, recordHeader(), recordRow)
		})
	listing.Flags().Uint64Var(&after, "after", 0, "begin behind the record with this `number`; without it, with the newest")
	listing.Flags().IntVar(&limit, "limit", 100, "show at most this `number` of records")
	tail := a.leaf("tail", "Show records as they are written, until interrupted", "signet audit tail --pool demo\nsignet audit tail --after 0 -o json",
		func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.followAudit(cmd, c, pool, after)
		})
	tail.Long = "Shows records as they are written, one line each (-o json: one JSON object each), until\ninterrupted. With --after it begins behind that record and misses none."
	tail.Flags().Uint64Var(&after, "after", 0, "begin behind the record with this `number`; without it, with what comes")
	g := group("audit", "What was done, by whom and why", listing, tail)
	g.PersistentFlags().StringVar(&pool, "pool", "", "records of this `pool` only")
	complete(g, "pool", a.completing(a.poolNames))
	return g
}

// auditRecords reads up to limit records.
func auditRecords(cmd *cobra.Command, c *adminapi.Client, pool string, after uint64, limit int) ([]adminapi.Record, error) {
	const most = 500
	if !cmd.Flags().Changed("after") {
		if limit > most {
			return nil, usagef("--limit %d: the newest %d at most; give --after to read more", limit, most)
		}
		page, err := c.LatestAudit(cmd.Context(), pool, limit)
		return page.Items, err
	}
	out := []adminapi.Record{}
	for len(out) < limit {
		page, err := c.Audit(cmd.Context(), pool, after, min(limit-len(out), most))
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
func (a *app) followAudit(cmd *cobra.Command, c *adminapi.Client, pool string, after uint64) error {
	if a.format != "table" && a.format != "json" {
		return usagef("tail prints lines: -o table or json")
	}
	ctx := cmd.Context()
	if !cmd.Flags().Changed("after") {
		page, err := c.LatestAudit(ctx, pool, 1)
		if err != nil {
			return err
		}
		after = page.Next
	}
	for {
		page, err := c.Audit(ctx, pool, after, 500)
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
	if a.format == "json" {
		return json.NewEncoder(a.Out).Encode(r)
	}
	row := recordRow(r)
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

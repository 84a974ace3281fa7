package adminapi

import (
	"context"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
)

// A Record is the audit trail's line on one thing that was done.
type Record struct {
	Seq     uint64    `json:"seq" doc:"Its place; a number that is missing was a login or the like, kept for a week"`
	Time    time.Time `json:"time"`
	Actor   string    `json:"actor" doc:"Who: operator:NAME, device:POOL:NAME, local (on the broker's machine) or signetd itself"`
	Action  string    `json:"action" doc:"create, update, delete, disable, enable, login, refresh, revoke, ..."`
	Kind    string    `json:"kind" doc:"Of what: pool, device, session, client, ..."`
	Pool    string    `json:"pool,omitempty"`
	Name    string    `json:"name,omitempty" doc:"Which, in the pool; of a session, the device's"`
	Session string    `json:"session,omitempty"`
	Reason  string    `json:"reason,omitempty" doc:"In the actor's words"`
	Request string    `json:"request,omitempty" doc:"Names the request in answers and in the log"`
	Count   uint32    `json:"count,omitempty" doc:"How many, if several were summed up"`
	Before  string    `json:"before,omitempty" doc:"SHA-256 of what was stored before, in hex"`
}

// An AuditPage is a part of the audit trail, in order.
type AuditPage struct {
	Items []Record `json:"items" nullable:"false"`
	Next  uint64   `json:"next" doc:"Give it as after to go on. More may be there even if items are few or none, until it stays the same"`
}

// A HistoryPage is a part of a device's history, newest first.
type HistoryPage struct {
	Items []Record `json:"items" nullable:"false"`
	Next  uint64   `json:"next,omitempty" doc:"Give it as before to get what was earlier; absent on the last"`
}

func wireRecord(r broker.Record) Record {
	out := Record{
		Seq: r.Seq, Time: r.At, Actor: string(r.By.Actor), Action: string(r.What), Kind: string(r.Kind), Name: r.Subject,
		Reason: r.By.Reason, Request: r.By.Request, Count: r.Count, Before: hex.EncodeToString(r.Before),
	}
	if !r.Pool.IsZero() {
		out.Pool = r.Pool.String()
	}
	if !r.Session.IsZero() {
		out.Session = r.Session.String()
	}
	return out
}

func wireRecords(all []broker.Record) []Record {
	out := make([]Record, 0, len(all))
	for _, r := range all {
		out = append(out, wireRecord(r))
	}
	return out
}

type auditInput struct {
	Pool   string `query:"pool" maxLength:"32" doc:"Of this pool only" example:"demo"`
	After  uint64 `query:"after" doc:"Begin behind this one; next of the answer before"`
	Newest bool   `query:"newest" doc:"Begin with the newest that there are instead; after is not read"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

func (s *service) auditRoutes(api huma.API) {
	const tag = "audit"
	handle(s, api, route(http.MethodGet, "/audit", "list-audit", "Read the audit trail, in order", tag), s.audit)
	handle(s, api, route(http.MethodGet, devicesPath+"/{name}/history", "get-device-history", "Read what was done to a device and by it, newest first", tag),
		func(ctx context.Context, in *struct {
			DevicePath
			Before uint64 `query:"before" doc:"Begin before this one; next of the answer before"`
			Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
		}) (HistoryPage, error) {
			id, err := in.device()
			if err != nil {
				return HistoryPage{}, err
			}
			records, err := s.dir.DeviceHistory(ctx, id, in.Before, in.Limit)
			out := HistoryPage{Items: wireRecords(records)}
			if len(records) == in.Limit {
				out.Next = records[len(records)-1].Seq
			}
			return out, err
		})
}

func (s *service) audit(ctx context.Context, in *auditInput) (out AuditPage, err error) {
	var pool ident.Pool
	if in.Pool != "" {
		if pool, err = ident.ParsePool(in.Pool); err != nil {
			return out, err
		}
	}
	var trail control.AuditTrail
	if in.Newest {
		trail, err = s.dir.LatestAudit(ctx, pool, in.Limit)
	} else {
		trail, err = s.dir.Audit(ctx, pool, in.After, in.Limit)
	}
	return AuditPage{Items: wireRecords(trail.Records), Next: trail.Next}, err
}

// Audit reads up to limit records of the audit trail behind one, of a pool if it is
// not empty.
func (c *Client) Audit(ctx context.Context, pool string, after uint64, limit int) (AuditPage, error) {
	return get[AuditPage](ctx, c, "/audit?"+auditQuery(pool, limit)+"&after="+strconv.FormatUint(after, 10))
}

// LatestAudit reads the newest records, up to limit.
func (c *Client) LatestAudit(ctx context.Context, pool string, limit int) (AuditPage, error) {
	return get[AuditPage](ctx, c, "/audit?"+auditQuery(pool, limit)+"&newest=true")
}

func auditQuery(pool string, limit int) string {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if pool != "" {
		q.Set("pool", pool)
	}
	return q.Encode()
}

// DeviceHistory reads up to limit records of a device, newest first, before one (0:
// from the newest).
func (p PoolClient) DeviceHistory(ctx context.Context, name string, before uint64, limit int) (HistoryPage, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}, "before": {strconv.FormatUint(before, 10)}}
	return get[HistoryPage](ctx, p.c, p.path+join("devices", name, "history")+"?"+q.Encode())
}

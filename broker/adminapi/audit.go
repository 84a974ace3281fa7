package adminapi

import (
	"context"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
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
	Prev  uint64   `json:"prev,omitempty" doc:"With newest: give it as before to go back. More may be there even if items are few or none, while it is present"`
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
	Pool    string    `query:"pool" maxLength:"32" doc:"Of this pool only" example:"demo"`
	Kind    string    `query:"kind" maxLength:"64" doc:"Of this kind only" example:"device"`
	Actor   string    `query:"actor" maxLength:"192" doc:"By this actor only, or by those of a kind: operator, device, device:POOL" example:"operator:ada"`
	Device  string    `query:"device" maxLength:"161" doc:"Only what was done to this device and its sessions, and what it did itself: POOL:NAME" example:"demo:lamp-1"`
	Since   time.Time `query:"since" doc:"Written then or later"`
	Until   time.Time `query:"until" doc:"Written before"`
	Traffic bool      `query:"traffic" default:"true" doc:"false leaves out what is kept for a week only: logins, refreshes, tries, refusals"`
	After   uint64    `query:"after" doc:"Begin behind this one; next of the answer before"`
	Newest  bool      `query:"newest" doc:"Begin with the newest that there are instead; after is not read"`
	Before  uint64    `query:"before" doc:"With newest, begin before this one; prev of the answer before"`
	Limit   int       `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

// filter reads what is wanted.
func (in *auditInput) filter() (f control.AuditFilter, err error) {
	f = control.AuditFilter{Kind: broker.RecordKind(in.Kind), Actor: broker.Actor(in.Actor), Since: in.Since, Until: in.Until, NoTraffic: !in.Traffic}
	if kinds := RecordKinds(); in.Kind != "" && !slices.Contains(kinds, in.Kind) {
		return f, broker.Invalid("kind", "there is no kind %q; want one of %s", in.Kind, strings.Join(kinds, ", "))
	}
	if !in.Since.IsZero() && !in.Until.IsZero() && !in.Since.Before(in.Until) {
		return f, broker.Invalid("until", "nothing is both since %s and until %s", in.Since.UTC().Format(time.RFC3339), in.Until.UTC().Format(time.RFC3339))
	}
	if in.Pool != "" {
		if f.Pool, err = ident.ParsePool(in.Pool); err != nil {
			return f, err
		}
	}
	if in.Device != "" {
		f.Device, err = ident.ParseDevice(in.Device)
	}
	return f, err
}

// RecordKinds gives what records may be of.
func RecordKinds() (all []string) {
	for _, k := range broker.RecordKinds() {
		all = append(all, string(k))
	}
	for _, n := range Nouns() {
		all = append(all, n.Command)
	}
	return all
}

func (s *service) auditRoutes(api huma.API) {
	const tag = "audit"
	handle(s, api, inOwnPools(route(broker.OperatorRead, http.MethodGet, "/audit", "list-audit", "Read the audit trail, in order", tag)), s.audit)
	handle(s, api, route(broker.OperatorRead, http.MethodGet, devicesPath+"/{name}/history", "get-device-history", "Read what was done to a device and by it, newest first", tag),
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

func (s *service) audit(ctx context.Context, in *auditInput) (AuditPage, error) {
	f, err := in.filter()
	if err != nil {
		return AuditPage{}, err
	}
	if who := callOf(ctx); !who.operator.Unbound() {
		if f.Pool.IsZero() {
			f.Pool = f.Device.Pool
		}
		if f.Pool.IsZero() {
			return AuditPage{}, who.forbidden("this is about all pools: ask for one, as pool")
		}
		if p := who.reach(f.Pool); p != nil {
			return AuditPage{}, p
		}
	}
	var trail control.AuditTrail
	if in.Newest {
		trail, err = s.dir.LatestAudit(ctx, f, in.Before, in.Limit)
	} else {
		trail, err = s.dir.Audit(ctx, f, in.After, in.Limit)
	}
	return AuditPage{Items: wireRecords(trail.Records), Next: trail.Next, Prev: trail.Prev}, err
}

// An AuditQuery says which records are wanted; what is zero leaves none out.
type AuditQuery struct {
	Pool      string
	Kind      string // one of RecordKinds
	Actor     string // or those of a kind: "operator"
	Device    string // "demo:lamp-1"
	Since     time.Time
	Until     time.Time
	NoTraffic bool
}

// Audit reads up to limit records of the audit trail behind one.
func (c *Client) Audit(ctx context.Context, q AuditQuery, after uint64, limit int) (AuditPage, error) {
	return get[AuditPage](ctx, c, "/audit?"+q.encode(limit)+"&after="+strconv.FormatUint(after, 10))
}

// LatestAudit reads the newest records before one (0: of all), up to limit.
func (c *Client) LatestAudit(ctx context.Context, q AuditQuery, before uint64, limit int) (AuditPage, error) {
	return get[AuditPage](ctx, c, "/audit?"+q.encode(limit)+"&newest=true&before="+strconv.FormatUint(before, 10))
}

func (q AuditQuery) encode(limit int) string {
	v := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, text := range map[string]string{"pool": q.Pool, "kind": q.Kind, "actor": q.Actor, "device": q.Device} {
		if text != "" {
			v.Set(name, text)
		}
	}
	for name, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			v.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.NoTraffic {
		v.Set("traffic", "false")
	}
	return v.Encode()
}

// DeviceHistory reads up to limit records of a device's history, newest first, that are older
// than the record with number before; 0 begins at the newest.
func (p PoolClient) DeviceHistory(ctx context.Context, name string, before uint64, limit int) (HistoryPage, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}, "before": {strconv.FormatUint(before, 10)}}
	return get[HistoryPage](ctx, p.c, p.path+join("devices", name, "history")+"?"+q.Encode())
}

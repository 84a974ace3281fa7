package control

import (
	"context"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// MaxAudit is how many records an Audit gives at most.
const MaxAudit = 500

// Bounds on how much of the journal one question reads, so that it does not hold the store
// for long. It gives what it has found until then.
const (
	auditPages = 10
	auditPage  = 1000 // records
)

// AuditTrail is a part of the journal, in order.
type AuditTrail struct {
	Records []broker.Record
	// Next is the Seq behind which to go on. It moves on even when no record was found,
	// because records of other pools were passed over.
	Next uint64
}

// Audit gives up to limit (1 to MaxAudit) records with a Seq above after, in order, of one
// pool or, with the zero Pool, of all. There are no more only when Next equals after: fewer
// records than limit, or none, do not say so.
func (p *Plane) Audit(ctx context.Context, pool ident.Pool, after uint64, limit int) (AuditTrail, error) {
	out := AuditTrail{Next: after}
	if limit < 1 || limit > MaxAudit {
		return out, invalid("limit %d, want 1 to %d", limit, MaxAudit)
	}
	for range auditPages {
		records, err := p.Store.Since(ctx, out.Next, auditPage)
		if err != nil {
			return out, about(err, "audit")
		}
		for _, r := range records {
			out.Next = r.Seq
			if !pool.IsZero() && r.Pool != pool {
				continue
			}
			if out.Records = append(out.Records, r); len(out.Records) == limit {
				return out, nil
			}
		}
		if len(records) < auditPage {
			break
		}
	}
	return out, nil
}

// LatestAudit gives the newest records, up to limit (1 to MaxAudit), of one pool or, with
// the zero Pool, of all. It looks at the journal's last 10,000 records only.
func (p *Plane) LatestAudit(ctx context.Context, pool ident.Pool, limit int) (AuditTrail, error) {
	if limit < 1 || limit > MaxAudit {
		return AuditTrail{}, invalid("limit %d, want 1 to %d", limit, MaxAudit)
	}
	last, err := p.Store.Last(ctx)
	if err != nil {
		return AuditTrail{}, about(err, "audit")
	}
	out := AuditTrail{Next: last}
	for end := last; end > 0 && len(out.Records) < limit && last-end < auditPages*auditPage; {
		begin := end - min(end, auditPage)
		records, err := p.Store.Since(ctx, begin, auditPage)
		if err != nil {
			return AuditTrail{}, about(err, "audit")
		}
		var found []broker.Record
		for _, r := range records {
			if r.Seq <= end && (pool.IsZero() || r.Pool == pool) {
				found = append(found, r)
			}
		}
		out.Records = append(found, out.Records...)
		end = begin
	}
	out.Records = out.Records[max(0, len(out.Records)-limit):]
	return out, nil
}

// DeviceHistory gives up to limit (1 to MaxAudit) records of a device, newest first, with a
// Seq below before (0: from the newest): its changes, logins and ended sessions.
func (p *Plane) DeviceHistory(ctx context.Context, id ident.Device, before uint64, limit int) ([]broker.Record, error) {
	if limit < 1 || limit > MaxAudit {
		return nil, invalid("limit %d, want 1 to %d", limit, MaxAudit)
	}
	records, err := p.Store.History(ctx, id, before, limit)
	return records, about(err, "history of device %s", id)
}

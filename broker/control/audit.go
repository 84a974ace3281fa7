package control

import (
	"context"
	"slices"
	"time"

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

// An AuditFilter says which records are wanted; what is zero leaves none out.
type AuditFilter struct {
	Pool      ident.Pool
	Kind      broker.RecordKind
	Actor     broker.Actor // as in broker.Actor.Among
	Device    ident.Device // what was done to it, its sessions, and what it did
	Since     time.Time    // written then or later, by the store's clock
	Until     time.Time    // written before
	NoTraffic bool         // without broker.Record.Traffic
}

// fits reports whether r is wanted.
func (f *AuditFilter) fits(r *broker.Record) bool {
	return (f.Pool.IsZero() || r.Pool == f.Pool) &&
		(f.Kind == "" || r.Kind == f.Kind) &&
		(f.Actor == "" || r.By.Actor.Among(f.Actor)) &&
		(f.Device.IsZero() || r.Device() == f.Device || r.By.Actor == broker.DeviceActor(f.Device)) &&
		!r.At.Before(f.Since) && (f.Until.IsZero() || r.At.Before(f.Until)) &&
		!(f.NoTraffic && r.Traffic())
}

func checkAudit(limit int) error {
	if limit < 1 || limit > MaxAudit {
		return invalid("limit %d, want 1 to %d", limit, MaxAudit)
	}
	return nil
}

// AuditTrail is a part of the journal, in order.
type AuditTrail struct {
	Records []broker.Record
	// Next is the Seq behind which to go on. It moves on even when no record was found,
	// because others were passed over.
	Next uint64
	// Prev is the Seq before which to go back; 0: there is nothing earlier that fits.
	// LatestAudit alone gives it.
	Prev uint64
}

// Audit gives up to limit (1 to MaxAudit) records with a Seq above after that fit, in
// order. It looks at 10,000 records at most, and goes on at Next: there are no more
// only when Next equals after. Fewer records than limit, or none, do not say so.
func (p *Plane) Audit(ctx context.Context, f AuditFilter, after uint64, limit int) (AuditTrail, error) {
	out := AuditTrail{Next: after}
	if err := checkAudit(limit); err != nil {
		return out, err
	}
	for range auditPages {
		records, err := p.Store.Since(ctx, out.Next, auditPage)
		if err != nil {
			return out, about(err, "audit")
		}
		for i := range records {
			out.Next = records[i].Seq
			if !f.fits(&records[i]) {
				continue
			}
			if out.Records = append(out.Records, records[i]); len(out.Records) == limit {
				return out, nil
			}
		}
		if len(records) < auditPage {
			break
		}
	}
	return out, nil
}

// LatestAudit gives the newest records with a Seq below before (0: from the newest) that
// fit, up to limit (1 to MaxAudit), in order. It looks at 10,000 numbers of the journal at
// most, and goes back at Prev. It ends where a thousand numbers have nothing but records
// from before f.Since: what a clock set back wrote earlier is not looked for.
func (p *Plane) LatestAudit(ctx context.Context, f AuditFilter, before uint64, limit int) (AuditTrail, error) {
	if err := checkAudit(limit); err != nil {
		return AuditTrail{}, err
	}
	last, err := p.Store.Last(ctx)
	if err != nil {
		return AuditTrail{}, about(err, "audit")
	}
	out, end := AuditTrail{Next: last}, last
	if before > 0 {
		end = min(end, before-1)
	}
	for pages := 0; end > 0 && pages < auditPages; pages++ {
		begin := end - min(end, auditPage)
		records, err := p.Store.Since(ctx, begin, auditPage)
		if err != nil {
			return AuditTrail{}, about(err, "audit")
		}
		seen, old := 0, 0
		for i := range slices.Backward(records) {
			r := &records[i]
			if r.Seq > end {
				continue
			}
			seen++
			if r.At.Before(f.Since) {
				old++
			}
			if !f.fits(r) {
				continue
			}
			if out.Records = append(out.Records, *r); len(out.Records) == limit {
				end, pages = r.Seq-1, auditPages
				break
			}
		}
		if pages == auditPages {
			break
		}
		if end = begin; seen > 0 && old == seen {
			end = 0
		}
	}
	slices.Reverse(out.Records)
	if end > 0 {
		out.Prev = end + 1
	}
	return out, nil
}

// DeviceHistory gives up to limit (1 to MaxAudit) records of a device, newest first, with a
// Seq below before (0: from the newest): its changes, logins and ended sessions.
func (p *Plane) DeviceHistory(ctx context.Context, id ident.Device, before uint64, limit int) ([]broker.Record, error) {
	if err := checkAudit(limit); err != nil {
		return nil, err
	}
	records, err := p.Store.History(ctx, id, before, limit)
	return records, about(err, "history of device %s", id)
}

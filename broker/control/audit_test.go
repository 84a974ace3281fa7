package control_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
)

// A pool whose records are few among many others' is found in pieces.
func TestAuditPassesOthersOver(t *testing.T) {
	w := world(t)
	demo := pool(t, "demo")
	_, err := w.CreateDevice(t.Context(), by(), control.NewDevice{ID: device(t, "demo:first")})
	want(t, err, nil)
	events := make([]broker.Event, 1000)
	for i := range events {
		events[i] = broker.Event{What: "denied", Count: 1}
	}
	for range 12 {
		want(t, w.Store.Append(t.Context(), broker.By{Actor: broker.ActorBroker}, events), nil)
	}
	_, err = w.CreateDevice(t.Context(), by(), control.NewDevice{ID: device(t, "demo:last")})
	want(t, err, nil)
	var names []string
	asked := 0
	for after := uint64(0); ; asked++ {
		trail, err := w.Audit(t.Context(), control.AuditFilter{Pool: demo}, after, control.MaxAudit)
		want(t, err, nil)
		for _, r := range trail.Records {
			if r.Kind == broker.RecordDevice {
				names = append(names, r.Subject)
			}
		}
		if trail.Next == after {
			break
		}
		after = trail.Next
	}
	if fmt.Sprint(names) != "[first last]" || asked < 2 {
		t.Errorf("found %v with %d questions", names, asked)
	}
	latest, err := w.LatestAudit(t.Context(), control.AuditFilter{Pool: demo}, 0, 5)
	want(t, err, nil)
	if len(latest.Records) != 1 || latest.Records[0].Subject != "last" {
		t.Errorf("newest: %+v", latest.Records)
	}
	for _, limit := range []int{-1, 0, control.MaxAudit + 1} {
		_, err := w.Audit(t.Context(), control.AuditFilter{Pool: demo}, 0, limit)
		want(t, err, broker.ErrInvalid)
		_, err = w.LatestAudit(t.Context(), control.AuditFilter{Pool: demo}, 0, limit)
		want(t, err, broker.ErrInvalid)
		_, err = w.DeviceHistory(t.Context(), device(t, "demo:last"), 0, limit)
		want(t, err, broker.ErrInvalid)
	}
}

// A question that fits nothing reads no more than its bound, and says where to go on.
func TestAuditIsBounded(t *testing.T) {
	w := world(t)
	_, err := w.CreateDevice(t.Context(), by(), control.NewDevice{ID: device(t, "demo:first")})
	want(t, err, nil)
	events := make([]broker.Event, 1000)
	for i := range events {
		events[i] = broker.Event{What: "denied", Count: 1}
	}
	for range 25 {
		want(t, w.Store.Append(t.Context(), broker.By{Actor: broker.ActorBroker}, events), nil)
	}
	count := &sinceCounter{Store: w.Store}
	p, err := control.New(control.Config{Store: count, Sealer: w.Sealer, Issuer: w.Issuer, Now: w.Clock.Now})
	want(t, err, nil)
	f := control.AuditFilter{NoTraffic: true, Kind: broker.RecordDevice}
	asked, before := 0, uint64(0)
	var found []broker.Record
	for {
		count.records = 0
		trail, err := p.LatestAudit(t.Context(), f, before, 5)
		want(t, err, nil)
		if asked++; count.records > 10_000 {
			t.Fatalf("question %d read %d records", asked, count.records)
		}
		if found = append(found, trail.Records...); trail.Prev == 0 {
			break
		}
		if before != 0 && trail.Prev >= before {
			t.Fatalf("goes from %d back to %d", before, trail.Prev)
		}
		before = trail.Prev
	}
	if asked != 3 || len(found) != 1 || found[0].Subject != "first" {
		t.Errorf("%d questions found %+v", asked, found)
	}
	count.records = 0
	trail, err := p.Audit(t.Context(), f, found[0].Seq, 5)
	want(t, err, nil)
	if count.records > 10_000 || len(trail.Records) != 0 || trail.Next != found[0].Seq+10_000 {
		t.Errorf("forward: read %d records, goes on at %d", count.records, trail.Next)
	}
	count.records = 0
	trail, err = p.LatestAudit(t.Context(), control.AuditFilter{Since: w.Clock.Now().Add(1)}, 0, 5)
	want(t, err, nil)
	if count.records > 1000 || trail.Prev != 0 {
		t.Errorf("since a time after all: read %d records, goes on before %d", count.records, trail.Prev)
	}
	count.records = 0 // pages of the newest meet without a gap or an overlap
	var seqs []uint64
	for before, pages := uint64(0), 0; pages < 4; pages++ {
		trail, err := p.LatestAudit(t.Context(), control.AuditFilter{}, before, 3)
		want(t, err, nil)
		for i := range trail.Records {
			seqs = append(seqs, trail.Records[len(trail.Records)-1-i].Seq)
		}
		before = trail.Prev
	}
	for i, seq := range seqs {
		if seq != seqs[0]-uint64(i) {
			t.Fatalf("pages: %v", seqs)
		}
	}
}

// A sinceCounter counts the records that are read of the journal.
type sinceCounter struct {
	control.Store
	records int
}

func (c *sinceCounter) Since(ctx context.Context, after uint64, limit int) ([]broker.Record, error) {
	all, err := c.Store.Since(ctx, after, limit)
	c.records += len(all)
	return all, err
}

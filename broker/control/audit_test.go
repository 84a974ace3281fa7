package control_test

import (
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
		trail, err := w.Audit(t.Context(), demo, after, control.MaxAudit)
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
	latest, err := w.LatestAudit(t.Context(), demo, 5)
	want(t, err, nil)
	if len(latest.Records) != 1 || latest.Records[0].Subject != "last" {
		t.Errorf("newest: %+v", latest.Records)
	}
	for _, limit := range []int{-1, 0, control.MaxAudit + 1} {
		_, err := w.Audit(t.Context(), demo, 0, limit)
		want(t, err, broker.ErrInvalid)
		_, err = w.LatestAudit(t.Context(), demo, limit)
		want(t, err, broker.ErrInvalid)
		_, err = w.DeviceHistory(t.Context(), device(t, "demo:last"), 0, limit)
		want(t, err, broker.ErrInvalid)
	}
}

package adminapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// The audit trail says who did what, by which request and why; a pool's is of that
// pool only, and a reader goes on at next.
func TestAudit(t *testing.T) {
	a := serve(t)
	c := a.client(t)
	ctx := t.Context()
	for _, pool := range []string{"demo", "other"} {
		if _, err := c.CreatePool(ctx, pool); err != nil {
			t.Fatal(err)
		}
	}
	before, err := c.LatestAudit(ctx, adminapi.AuditQuery{}, 0, 1)
	if err != nil || len(before.Items) != 1 || before.Items[0].Seq != before.Next {
		t.Fatalf("newest: %+v, %v", before, err)
	}
	why := c.Because("stolen at 5 o'clock, sagt Jörg")
	if _, err := why.In("demo").CreateDevice(ctx, adminapi.NewDevice{Name: "lamp-1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.In("other").CreateDevice(ctx, adminapi.NewDevice{Name: "lamp-1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := why.In("demo").DisableDevice(ctx, "lamp-1"); err != nil {
		t.Fatal(err)
	}
	page, err := c.Audit(ctx, adminapi.AuditQuery{Pool: "demo"}, before.Next, 100)
	if err != nil || len(page.Items) != 2 || page.Next != before.Next+3 {
		t.Fatalf("got %+v, %v", page, err)
	}
	for i, action := range []string{"create", "disable"} {
		r := page.Items[i]
		if r.Actor != "operator:ada" || r.Action != action || r.Kind != "device" || r.Pool != "demo" || r.Name != "lamp-1" ||
			r.Reason != "stolen at 5 o'clock, sagt Jörg" || len(r.Request) != 16 || (r.Before == "") != (action == "create") || r.Time.IsZero() {
			t.Errorf("record %d: %+v", i, r)
		}
	}
	if again, err := c.Audit(ctx, adminapi.AuditQuery{}, page.Next, 1); err != nil || len(again.Items) != 0 || again.Next != page.Next {
		t.Errorf("at the end: %+v, %v", again, err)
	}
	var seqs []uint64
	for after := uint64(0); ; {
		page, err := c.Audit(ctx, adminapi.AuditQuery{}, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Items {
			seqs = append(seqs, r.Seq)
		}
		if page.Next == after {
			break
		}
		after = page.Next
	}
	for i, seq := range seqs {
		if seq != uint64(i)+1 {
			t.Fatalf("records come as %v", seqs)
		}
	}
	if uint64(len(seqs)) != page.Next {
		t.Errorf("%d records, the last is %d", len(seqs), page.Next)
	}
	newest, err := c.LatestAudit(ctx, adminapi.AuditQuery{Pool: "other"}, 0, 2)
	if err != nil || len(newest.Items) != 2 || newest.Items[1].Name != "lamp-1" || newest.Next != page.Next {
		t.Errorf("newest of a pool: %+v, %v", newest, err)
	}
}

// What is not wanted is left out, by each filter; a kind that is none is refused.
func TestAuditFilters(t *testing.T) {
	a := serve(t)
	c := a.client(t)
	ctx := t.Context()
	if _, err := c.CreatePool(ctx, "demo"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lamp-1", "lamp-2"} {
		if _, err := c.In("demo").CreateDevice(ctx, adminapi.NewDevice{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	id := identtest.Device(t, "demo:lamp-1")
	for _, by := range []broker.Actor{broker.DeviceActor(id), broker.ActorBroker} {
		if err := a.Store.Append(ctx, broker.By{Actor: by}, []broker.Event{{Pool: id.Pool, What: "denied", Count: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	now := a.Clock.Now()
	for what, c2 := range map[string]struct {
		q    adminapi.AuditQuery
		want string
	}{
		"kind":         {adminapi.AuditQuery{Kind: "flow"}, "flow default"},
		"actor":        {adminapi.AuditQuery{Actor: "operator:ada", Kind: "device"}, "device lamp-1, device lamp-2"},
		"actors":       {adminapi.AuditQuery{Actor: "operator", Device: "demo:lamp-2"}, "device lamp-2"},
		"no actor":     {adminapi.AuditQuery{Actor: "operator:ad"}, ""},
		"device":       {adminapi.AuditQuery{Device: "demo:lamp-1"}, "device lamp-1, refusal "},
		"no traffic":   {adminapi.AuditQuery{Device: "demo:lamp-1", NoTraffic: true}, "device lamp-1"},
		"since":        {adminapi.AuditQuery{Kind: "device", Since: now}, "device lamp-1, device lamp-2"},
		"since later":  {adminapi.AuditQuery{Since: now.Add(1)}, ""},
		"until":        {adminapi.AuditQuery{Until: now}, ""},
		"until, later": {adminapi.AuditQuery{Kind: "device", Until: now.Add(1)}, "device lamp-1, device lamp-2"},
	} {
		forward, err := c.Audit(ctx, c2.q, 0, 100)
		if err != nil {
			t.Fatal(what, err)
		}
		newest, err := c.LatestAudit(ctx, c2.q, 0, 100)
		if err != nil {
			t.Fatal(what, err)
		}
		for _, page := range []adminapi.AuditPage{forward, newest} {
			var got []string
			for _, r := range page.Items {
				got = append(got, r.Kind+" "+r.Name)
			}
			if text := strings.Join(got, ", "); text != c2.want {
				t.Errorf("%s: %q, want %q", what, text, c2.want)
			}
		}
	}
	for _, q := range []adminapi.AuditQuery{{Kind: "lamp"}, {Device: "lamp-1"}, {Pool: "A"}, {Since: now, Until: now}} {
		if _, err := c.Audit(ctx, q, 0, 1); err == nil {
			t.Errorf("%+v: not refused", q)
		}
	}
}

// Every kind of setting is known by the name that its records have.
func TestRecordKinds(t *testing.T) {
	for _, k := range []string{broker.ClientKind().Name, broker.FlowKind().Name, broker.HookKind().Name, broker.EnrollTokenKind().Name, broker.GroupKind().Name, "pool", "session"} {
		if !slices.Contains(adminapi.RecordKinds(), k) {
			t.Errorf("%s is not among %v", k, adminapi.RecordKinds())
		}
	}
}

func TestDeviceHistory(t *testing.T) {
	a := serve(t)
	c := a.client(t)
	if _, err := c.CreatePool(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	p := c.In("demo")
	if _, err := p.DeviceHistory(t.Context(), "lamp-1", 0, 10); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a device that never was: %v", err)
	}
	for range 3 {
		if _, err := p.CreateDevice(t.Context(), adminapi.NewDevice{Name: "lamp-1"}); err != nil {
			t.Fatal(err)
		}
		if err := p.DeleteDevice(t.Context(), "lamp-1"); err != nil {
			t.Fatal(err)
		}
	}
	var actions []string
	for before := uint64(0); ; {
		page, err := p.DeviceHistory(t.Context(), "lamp-1", before, 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Items {
			actions = append(actions, r.Action)
		}
		if before = page.Next; before == 0 {
			break
		}
	}
	if got := strings.Join(actions, " "); got != "delete create delete create delete create" {
		t.Errorf("got %s", got)
	}
}

// A reason that the audit trail would not keep is refused, and nothing is done.
func TestReasonIsBounded(t *testing.T) {
	a := serve(t)
	last, err := a.Store.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{strings.Repeat("x", broker.MaxReason+1), "\x80", "bell \u0085"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.server.URL+"/api/v1/pools", strings.NewReader(`{"name":"demo"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+a.token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Signet-Reason", reason)
		res, err := a.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("reason %q: %s", reason, res.Status)
		}
	}
	if now, err := a.Store.Last(t.Context()); err != nil || now != last {
		t.Errorf("%d records after %d: %v", now, last, err)
	}
}

package adminapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
)

// routes takes every route from the served description: method and path, filled in.
func (a *api) routes(t *testing.T) [][2]string {
	t.Helper()
	_, doc := a.ask(t, "GET", "/api/openapi.json", "", "")
	var spec struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal([]byte(doc), &spec); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("{pool}", "none", "{name}", "lamp-1", "{id}", "x", "{operator}", "nobody", "{session}", ident.UUID{1}.String())
	var out [][2]string
	for path, operations := range spec.Paths {
		for method := range operations {
			out = append(out, [2]string{strings.ToUpper(method), fill.Replace(path)})
		}
	}
	if len(out) < 38 {
		t.Fatalf("only %d routes in the description", len(out))
	}
	return out
}

// TestEveryRouteNeedsAToken: every route with every kind of token that is not
// good says 401, and with a good one anything else.
func TestEveryRouteNeedsAToken(t *testing.T) {
	a := serve(t)
	_, expired, err := a.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewOperator{Name: "bob", Life: time.Minute, Scope: broker.OperatorAdmin})
	if err != nil {
		t.Fatal(err)
	}
	_, revoked, err := a.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewOperator{Name: "eve", Life: time.Hour, Scope: broker.OperatorAdmin})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.DeleteOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, "eve", false); err != nil {
		t.Fatal(err)
	}
	a.Clock.Advance(time.Minute)
	for _, r := range a.routes(t) {
		a.Clock.Advance(10 * time.Second) // or there were too many bad tokens
		for name, auth := range map[string]string{
			"no token": "", "expired": "Bearer " + expired, "revoked": "Bearer " + revoked, "basic": "Basic " + a.token,
			"unknown": "Bearer sgnt_" + strings.Repeat("A", 43), "garbage": "Bearer \xff;", "empty": "Bearer ", "no scheme": a.token,
		} {
			res, body := a.ask(t, r[0], r[1], auth, "{}")
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" || !strings.Contains(body, "requestId") {
				t.Errorf("%s with %s: got %d %s", r, name, res.StatusCode, body)
			}
		}
		if res, body := a.ask(t, r[0], r[1], "bearer "+a.token, "{}"); res.StatusCode == http.StatusUnauthorized || res.StatusCode >= 500 {
			t.Errorf("%s with a valid token: got %d %s", r, res.StatusCode, body)
		}
	}
	for _, secret := range []string{a.token, expired, revoked} {
		if strings.Contains(a.log.String(), secret) {
			t.Error("the log has a token")
		}
	}
}

func TestManyBadTokensAreHeldOff(t *testing.T) {
	a := serve(t)
	bad := "Bearer sgnt_" + strings.Repeat("A", 43)
	held := 0
	for range 40 {
		res, body := a.ask(t, "GET", "/api/v1/status", bad, "")
		switch res.StatusCode {
		case http.StatusUnauthorized:
		case http.StatusTooManyRequests:
			held++
			wait, err := strconv.Atoi(res.Header.Get("Retry-After"))
			if err != nil || wait < 1 || res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, "requestId") {
				t.Fatalf("got Retry-After %q, %s", res.Header.Get("Retry-After"), body)
			}
		default:
			t.Fatalf("got %d %s", res.StatusCode, body)
		}
	}
	if held != 20 {
		t.Errorf("%d of 40 were held off, want 20", held)
	}
	if n := strings.Count(a.log.String(), "path=/api/v1/status"); n < 2 || n > 20 { // one of each status at once, and sums
		t.Errorf("%d lines of a stranger's flood:\n%s", n, a.log.String())
	}
	if res, _ := a.ask(t, "GET", "/api/v1/status", "Bearer "+a.token, ""); res.StatusCode != 200 {
		t.Errorf("a good token from the same address: got %d", res.StatusCode)
	}
	if res, _ := a.ask(t, "GET", "/api/v1/status", "", ""); res.StatusCode != 401 {
		t.Errorf("no token at all: got %d", res.StatusCode)
	}
	a.Clock.Advance(time.Second)
	if res, _ := a.ask(t, "GET", "/api/v1/status", bad, ""); res.StatusCode != 401 {
		t.Errorf("a second later: got %d", res.StatusCode)
	}
}

// TestThrottleForgets: addresses beyond all bounds cost no memory beyond theirs.
func TestThrottleForgets(t *testing.T) {
	a := serve(t)
	h := a.server.Config.Handler
	ask := func(remote string) int {
		req := httptest.NewRequest("GET", "/api/v1/status", nil)
		req.RemoteAddr = remote
		req.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w.Code
	}
	for i := range 5000 {
		ask(fmt.Sprintf("10.1.%d.%d:1", i/256, i%256))
	}
	if got := ask("192.0.2.1:1"); got != http.StatusTooManyRequests {
		t.Errorf("one of too many addresses: got %d", got)
	}
	a.Clock.Advance(time.Minute)
	for i := range 20 {
		if got := ask(fmt.Sprintf("[2001:db8::%x]:1", i+1)); got != http.StatusUnauthorized {
			t.Errorf("address %d of a fresh network: got %d", i, got)
		}
	}
	if got := ask("[2001:db8::ff]:1"); got != http.StatusTooManyRequests {
		t.Errorf("one more address of the same /64: got %d", got)
	}
}

// fullStore has no room for another flow.
type fullStore struct{ control.Store }

func (fullStore) ChangeSettings(context.Context, broker.By, func(broker.SettingsTx) error) error {
	return fmt.Errorf("put flow: %w: write signet.db: no space left on device", broker.ErrFull)
}

func TestFullDisk(t *testing.T) {
	a := serve(t)
	if res, body := a.ask(t, "POST", "/api/v1/pools", "Bearer "+a.token, `{"name":"demo"}`); res.StatusCode != http.StatusCreated {
		t.Fatal(body)
	}
	a.Plane.Store = fullStore{a.Plane.Store}
	res, body := a.ask(t, "POST", "/api/v1/pools/demo/flows", "Bearer "+a.token, `{"name":"two","steps":["key"]}`)
	if res.StatusCode != http.StatusInsufficientStorage || !strings.Contains(body, "make room") || strings.Contains(body, "signet.db") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if !strings.Contains(a.log.String(), "no space left") {
		t.Errorf("log: %s", a.log)
	}
}

// TestErrorsReadWell: one sentence, each thing said once, what to do where that is clear.
func TestErrorsReadWell(t *testing.T) {
	a := serve(t)
	if _, err := a.client(t).CreatePool(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/pools", `{"name":"demo"}`, 409, "create pool demo: already exists"},
		{"POST", "/pools", `{"name":"Demo"}`, 422, "name: expected string to be a lower-case letter, then a-z, 0-9 and -"},
		{"POST", "/pools", ``, 400, "request body is required"},
		{"GET", "/pools/demo/devices/x", "", 404, "device demo:x: not found"},
		{"GET", "/pools/none/devices", "", 404, "pool none: not found"},
		{"PATCH", "/pools/demo", `{"flow":"no"}`, 422, `pool demo: flow "no" does not exist; create it first`},
		{"DELETE", "/pools/demo/flows/default", "", 409, "flow default is the pool's default; update it instead"},
		{"POST", "/pools/demo/clients", `{"id":"a","accessLife":"1m"}`, 422, "access life 1m, want 5m to 1d"},
		{"POST", "/pools/demo/clients", `{"id":"a","accessLife":"0s"}`, 422, "accessLife: is 0s; leave it out for the default"},
		{"POST", "/pools/demo/clients", `{"id":"a","refreshLife":"11y"}`, 422, "refresh life 4015d, want 1h to 3650d, or 0s for no refresh tokens"},
		{"POST", "/pools/demo/clients", `{"id":"a","grace":"2h"}`, 422, "grace 2h, want at most 1h"},
		{"PUT", "/pools/demo/clients/default", `{"id":"other"}`, 422, `the body is about "other", the path about "default"`},
		{"POST", "/pools/demo/enrollment-tokens", `{"expires":"400d"}`, 422, "an enrollment token lives 1m to 365d, not 400d"},
		{"POST", "/pools/demo/enrollment-tokens", `{"expires":"0s"}`, 422, "expires: is 0s; leave it out for the default"},
		{"POST", "/pools/demo/enrollment-tokens", `{"uses":0}`, 422, "uses: expected number >= 1"},
		{"POST", "/operators", `{"name":"x","scope":"read","expires":"3y"}`, 422, "an operator's token lives 1m to 730d, not 1095d"},
	} {
		res, body := a.ask(t, c.method, "/api/v1"+c.path, "Bearer "+a.token, c.body)
		var p problem.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || res.StatusCode != c.status {
			t.Errorf("%s %s %s: got %d %s", c.method, c.path, c.body, res.StatusCode, body)
			continue
		}
		if p.Error() != c.says {
			t.Errorf("%s %s %s: says %q, want %q", c.method, c.path, c.body, p.Error(), c.says)
		}
	}
}

func TestUpdates(t *testing.T) {
	a, ctx := serve(t), t.Context()
	c := a.client(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.CreatePool(ctx, "demo")
	check(err)
	p := c.In("demo")
	_, err = p.CreateFlow(ctx, adminapi.Flow{Name: "two", Steps: []string{"key", "psk"}})
	check(err)
	pool, err := c.UpdatePool(ctx, "demo", adminapi.PoolChange{Flow: "two"})
	if err != nil || pool.Flow != "two" || len(pool.AnchorThumbprint) != 64 {
		t.Errorf("got %+v, %v", pool, err)
	}
	made, err := p.CreateClient(ctx, adminapi.ClientSettings{ID: "app"})
	check(err)
	if *made.AccessLife != adminapi.Duration(time.Hour) || made.RefreshLife.String() != "30d" || made.Grace.String() != "5m" {
		t.Errorf("defaults are %v, %v, %v", made.AccessLife, made.RefreshLife, made.Grace)
	}
	none, err := p.CreateClient(ctx, adminapi.ClientSettings{ID: "none", RefreshLife: ptr(adminapi.Duration(0))})
	if err != nil || *none.RefreshLife != 0 {
		t.Errorf("got %+v, %v", none, err)
	}
	token, err := p.CreateEnrollmentToken(ctx, adminapi.NewEnrollmentToken{})
	check(err)
	changed, err := p.UpdateEnrollmentToken(ctx, token.ID, adminapi.EnrollmentTokenChange{Uses: ptr(5)})
	if err != nil || changed.Uses != 5 || !changed.Expires.Equal(token.Expires) || changed.Token != "" {
		t.Errorf("got %+v, %v", changed, err)
	}
	changed, err = p.UpdateEnrollmentToken(ctx, token.ID, adminapi.EnrollmentTokenChange{Expires: ptr(adminapi.Duration(48 * time.Hour))})
	if err != nil || changed.Uses != 5 || !changed.Expires.Equal(token.Expires.Add(24*time.Hour)) {
		t.Errorf("got %+v, %v", changed, err)
	}
	hook, err := p.CreateHook(ctx, adminapi.Hook{Name: "pin", URL: "https://hooks.example/"})
	check(err)
	moved, err := p.UpdateHook(ctx, "pin", adminapi.HookChange{URL: "https://other.example/"})
	if err != nil || moved.URL != "https://other.example/" || moved.Secret != "" || *moved.Timeout != *hook.Timeout {
		t.Errorf("got %+v, %v", moved, err)
	}
	fresh, err := p.UpdateHook(ctx, "pin", adminapi.HookChange{NewSecret: true, Timeout: ptr(adminapi.Duration(time.Second))})
	if err != nil || fresh.Secret == "" || fresh.Secret == hook.Secret || fresh.URL != moved.URL || fresh.Timeout.String() != "1s" {
		t.Errorf("got %+v, %v", fresh, err)
	}
}

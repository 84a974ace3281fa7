package adminapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/problem"
)

var update = flag.Bool("update", false, "write docs/openapi.json anew")

// An api is a served API over an empty world.
type api struct {
	*controltest.World
	server *httptest.Server
	token  string
	log    *lines
	mqtt   *fakeMQTT
}

// A lines is a log that several goroutines write.
type lines struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func ptr[T any](v T) *T { return &v }

func serve(t *testing.T) *api {
	t.Helper()
	w := controltest.New(t)
	_, secret, err := w.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewOperator{Name: "ada", Life: time.Hour, Scope: broker.OperatorAdmin})
	if err != nil {
		t.Fatal(err)
	}
	a := &api{World: w, token: secret, log: &lines{}, mqtt: &fakeMQTT{}}
	h, err := adminapi.Handler(adminapi.Config{
		Control: w.Plane, Log: slog.New(slog.NewTextHandler(a.log, nil)), Version: "test", Now: w.Clock.Now,
		Connections: control.NewConnections(a.mqtt, w.Store, "here", "run1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	a.server = httptest.NewTLSServer(h)
	t.Cleanup(a.server.Close)
	return a
}

func (a *api) client(t *testing.T) *adminapi.Client {
	t.Helper()
	c, err := adminapi.NewClient(a.server.URL, a.token, a.server.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends a request; auth is the whole Authorization header.
func (a *api) ask(t *testing.T, method, path, auth, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, a.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := a.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(raw)
}

func TestOpenAPIDocumentIsKept(t *testing.T) {
	_, got := serve(t).ask(t, "GET", "/api/openapi.json", "", "")
	const file = "../../docs/openapi.json"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/openapi.json is not what is served; run go test ./broker/adminapi -update (-kept +served):\n%s", diff)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	a := serve(t)
	auth := "Bearer " + a.token
	for _, c := range []struct {
		method, path, auth string
		status             int
	}{
		{"GET", "/api/v1/nothing", "", 401}, {"GET", "/api/v1/nothing", auth, 404}, {"GET", "/", "", 401},
		{"DELETE", "/api/v1/pools", auth, 405}, {"POST", "/api/docs", "", 401}, {"POST", "/api/docs", auth, 405},
		{"GET", "/api/v1/pools/%2e%2e/devices", auth, 422}, {"GET", "/api/v1/pools/demo/devices/a%2fb", auth, 422},
		{"GET", "/api/v1/pools?limit=0", auth, 422}, {"GET", "/api/v1/pools?limti=1", auth, 422},
	} {
		res, body := a.ask(t, c.method, c.path, c.auth, "")
		if res.StatusCode != c.status || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: got %d %s", c.method, c.path, res.StatusCode, body)
		}
	}
}

func TestBadBodies(t *testing.T) {
	a := serve(t)
	if _, err := a.client(t).CreatePool(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	const devices = "/api/v1/pools/demo/devices"
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"empty", "", 400}, {"not JSON", "hello-secret", 400}, {"a member twice", `{"name":"secret","name":"b"}`, 400},
		{"unknown member", `{"name":"a","secret":1}`, 422},
		{"another case", `{"Name":"a"}`, 422}, {"in both cases", `{"name":"secret","Name":"b"}`, 422},
		{"in both cases, below", `{"name":"a","attributes":{},"Attributes":{"a":"secret"}}`, 422}, {"wrong type", `{"name":7}`, 422},
		{"bad name", `{"name":"a/b"}`, 422}, {"bad key", `{"name":"a","key":"secret"}`, 422},
		{"bad shared key", `{"name":"a","psk":"secret"}`, 422}, {"too large", `{"name":"` + strings.Repeat("a", 70<<10) + `"}`, 413},
		{"deep", strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000), 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := a.ask(t, "POST", devices, "Bearer "+a.token, c.body)
			var p problem.Problem
			if err := json.Unmarshal([]byte(body), &p); err != nil || res.StatusCode != c.status || p.Status != c.status {
				t.Fatalf("got %d %s, want %d", res.StatusCode, body, c.status)
			}
			if p.RequestID == "" || p.RequestID != res.Header.Get("X-Request-Id") || !strings.Contains(a.log.String(), p.RequestID) {
				t.Errorf("request id %q is not in header and log", p.RequestID)
			}
			if strings.Contains(strings.ReplaceAll(body, "body.secret", ""), "secret") {
				t.Errorf("the problem repeats the request: %s", body)
			}
		})
	}
}

func TestDocsPageIsSelfContained(t *testing.T) {
	res, body := serve(t).ask(t, "GET", "/api/docs", "", "")
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-") {
		t.Errorf("got %d, policy %q", res.StatusCode, res.Header.Get("Content-Security-Policy"))
	}
	for _, bad := range []string{"<script", "http://", "https://", " src=", "<link"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"/api/v1/pools/{pool}/devices/{name}/disable", `id="unauthorized"`, "<code>steps</code>", "<code>after</code>", "201 ",
		`name="viewport" content="width=device-width`, "overflow-wrap: anywhere", "table-layout: fixed"} { // the last three: no scrolling sideways on a phone
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// The document has what programs that read such documents ask for, and in its schemas no
// word that the standard lacks.
func TestDocumentIsInOrder(t *testing.T) {
	_, body := serve(t).ask(t, "GET", "/api/openapi.json", "", "")
	var doc struct {
		Servers []struct{ URL string }
		Tags    []struct{ Name string }
		Paths   map[string]map[string]struct {
			OperationID, Summary string
			Tags                 []string
			Responses            map[string]struct{ Description string }
		}
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Servers) == 0 || doc.Servers[0].URL == "" {
		t.Error("no servers")
	}
	tags, ids := map[string]bool{}, map[string]bool{}
	for _, tag := range doc.Tags {
		tags[tag.Name] = true
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			at := method + " " + path
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" {
				t.Errorf("%s: operation %q %q: no id of its own, or no summary", at, op.OperationID, op.Summary)
			}
			ids[op.OperationID] = true
			if len(op.Tags) != 1 || !tags[op.Tags[0]] {
				t.Errorf("%s: tags %v are not declared", at, op.Tags)
			}
			for status, r := range op.Responses {
				if r.Description == "" {
					t.Errorf("%s: answer %s says nothing", at, status)
				}
			}
		}
	}
	var all any
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatal(err)
	}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, child := range v {
				if name == "patternDescription" || name == "$schema" {
					t.Errorf("%s has %s, which is no word of OpenAPI 3.1", at, name)
				}
				walk(at+"/"+name, child)
			}
		case []any:
			for i, child := range v {
				walk(fmt.Sprint(at, "/", i), child)
			}
		}
	}
	walk("", all)
}

func TestClientAgainstHandler(t *testing.T) {
	a, ctx := serve(t), t.Context()
	c := a.client(t)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	_, err := c.CreatePool(ctx, "demo")
	must("create pool", err)
	p := c.In("demo")
	for _, name := range []string{"b", "a", "c:1"} {
		_, err := p.CreateDevice(ctx, adminapi.NewDevice{Name: name, Groups: []string{"lab"}})
		must("create device", err)
	}
	devices, err := p.Devices(ctx)
	must("list devices", err)
	if len(devices) != 3 || devices[0].Name != "a" || devices[2].Name != "c:1" {
		t.Errorf("got %v", devices)
	}
	d, err := p.DisableDevice(ctx, "c:1")
	must("disable", err)
	if d.Status != string(broker.StatusDisabled) {
		t.Errorf("got %+v", d)
	}
	token, err := p.CreateEnrollmentToken(ctx, adminapi.NewEnrollmentToken{Uses: ptr(100), Expires: ptr(adminapi.Duration(30 * 24 * time.Hour))})
	must("enrollment token", err)
	again, err := p.EnrollmentToken(ctx, token.ID)
	must("show enrollment token", err)
	if !strings.HasPrefix(token.Token, "sgne_") || again.Token != "" || again.Uses != 100 {
		t.Errorf("got %+v, then %+v", token, again)
	}
	hook, err := p.CreateHook(ctx, adminapi.Hook{Name: "pin", URL: "https://hooks.example/"})
	must("hook", err)
	_, err = p.CreateFlow(ctx, adminapi.Flow{Name: "two", Steps: []string{"key", "hook:pin"}})
	must("flow", err)
	settings, err := p.Client(ctx, "default")
	must("client", err)
	settings.Flow, settings.RefreshLife = "two", ptr(adminapi.Duration(36*time.Hour))
	settings, err = p.ReplaceClient(ctx, settings)
	must("replace client", err)
	if hook.Secret == "" || settings.Flow != "two" || settings.RefreshLife.String() != "1d12h" {
		t.Errorf("got %+v", settings)
	}
	key, err := p.RotateKey(ctx, adminapi.KeyRotation{})
	must("rotate", err)
	key, err = p.ActivateKey(ctx, key.ID)
	must("activate", err)
	if key.State != "active" {
		t.Errorf("got %+v", key)
	}
	_, err = p.Device(ctx, "nobody")
	var refused *problem.Problem
	if !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("got %v", err)
	}
	status, err := c.Status(ctx)
	if err != nil || status.Operator != "ada" || status.Pools != 1 {
		t.Errorf("got %+v, %v", status, err)
	}
}

func TestPages(t *testing.T) {
	a := serve(t)
	c := a.client(t)
	for _, n := range []string{"a", "b", "c"} {
		if _, err := c.CreatePool(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/api/v1/pools"} {
		var names []string
		for after := ""; ; {
			_, body := a.ask(t, "GET", path+"?limit=1&after="+after, "Bearer "+a.token, "")
			var p adminapi.Page[struct{ Name string }]
			if err := json.Unmarshal([]byte(body), &p); err != nil || len(p.Items) != 1 {
				t.Fatalf("got %s, %v", body, err)
			}
			names = append(names, p.Items[0].Name)
			if after = p.Next; after == "" {
				break
			}
		}
		if !cmp.Equal(names, []string{"a", "b", "c"}) {
			t.Errorf("%s: got %v", path, names)
		}
	}
}

func TestClientKeepsItsToken(t *testing.T) {
	for _, bad := range []string{"http://signet.example", "signet.example", "", "https://user@signet.example", "https://"} {
		if _, err := adminapi.NewClient(bad, "t", nil); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	var asked int
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer other.Close()
	redirect := httptest.NewTLSServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	c, err := adminapi.NewClient(redirect.URL, "t", redirect.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pools(t.Context()); err == nil || asked != 0 {
		t.Errorf("followed a redirect: %v", err)
	}
}

func TestDurations(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "24h": 24 * time.Hour, "90m": 90 * time.Minute, "0s": 0, "0": 0, "250ms": 250 * time.Millisecond,
		"10y": 87600 * time.Hour, "2w": 336 * time.Hour, "1y1w1d1h": (365+7+1)*24*time.Hour + time.Hour, "100y": 876000 * time.Hour,
	} {
		got, err := adminapi.ParseDuration(in)
		if err != nil || time.Duration(got) != want {
			t.Errorf("%s: got %v, %v", in, time.Duration(got), err)
		}
		if back, err := adminapi.ParseDuration(got.String()); err != nil || back != got {
			t.Errorf("%s: written as %s", in, got)
		}
	}
	for _, in := range []string{"", "d", "-1h", "1d-1h", "1.5d", "30", "99999d", "1h1d", "w", "1d1w", "1d1d", "+1h", "36500d1s", "101y", "1000y", "65535y", "99y65535w"} {
		if got, err := adminapi.ParseDuration(in); !errors.Is(err, adminapi.ErrDuration) {
			t.Errorf("%q: got %v, %v", in, got, err)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"30d", "1d12h", "90m", "", "-1h", "d", "10y", "1y2w3d4h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := adminapi.ParseDuration(s)
		if err != nil {
			return
		}
		if back, err := adminapi.ParseDuration(d.String()); err != nil || back != d || d < 0 {
			t.Fatalf("%q is %d, written %s, read %d, %v", s, d, d, back, err)
		}
	})
}

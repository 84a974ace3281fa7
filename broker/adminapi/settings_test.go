package adminapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
)

// with sends a request with a condition.
func (a *api) with(t *testing.T, method, path, header, value, body string) (*http.Response, problem.Problem) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, a.server.URL+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if header != "" {
		req.Header.Set(header, value)
	}
	res, err := a.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var p problem.Problem
	_ = json.NewDecoder(res.Body).Decode(&p)
	return res, p
}

// TestConditions: of every kind, and of a pool, an answer has a revision, and a
// change holds for the revision that it names and for no other.
func TestConditions(t *testing.T) {
	a := serve(t)
	c := a.client(t)
	if _, err := c.CreatePool(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	p := c.In("demo")
	token, err := p.CreateEnrollmentToken(t.Context(), adminapi.NewEnrollmentToken{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct{ path, create, change, changeMethod string }{
		{"/pools/demo/clients/app", `{"id":"app"}`, `{"id":"app","accessLife":"%dm"}`, "PUT"},
		{"/pools/demo/flows/two", `{"name":"two","steps":["key"]}`, `{"name":"two","steps":["key","psk"],"define":""}`, "PUT"},
		{"/pools/demo/hooks/pin", `{"name":"pin","url":"https://hooks.example/"}`, `{"timeout":"%ds"}`, "PATCH"},
		{"/pools/demo/groups/lab", `{"name":"lab","precedence":1}`, `{"name":"lab","precedence":%d}`, "PUT"},
		{"/pools/demo/enrollment-tokens/" + token.ID, "", `{"uses":%d}`, "PATCH"},
	} {
		if k.create != "" {
			res, _ := a.with(t, "PUT", k.path, "If-None-Match", "*", k.create)
			if res.StatusCode != http.StatusCreated || res.Header.Get("ETag") == "" {
				t.Fatalf("%s: created %d", k.path, res.StatusCode)
			}
			if res, p := a.with(t, "PUT", k.path, "If-None-Match", "*", k.create); res.StatusCode != http.StatusPreconditionFailed || !strings.Contains(p.Detail, "leave out If-None-Match") {
				t.Errorf("%s: created twice: %d %+v", k.path, res.StatusCode, p)
			}
		}
		res, _ := a.with(t, "GET", k.path, "", "", "")
		first := res.Header.Get("ETag")
		change := func(n int) string { return strings.ReplaceAll(k.change, "%d", fmt.Sprint(n)) }
		if res, p := a.with(t, k.changeMethod, k.path, "If-Match", `"1000000"`, change(6)); res.StatusCode != http.StatusPreconditionFailed || !strings.Contains(p.Detail, "read it again") {
			t.Errorf("%s: of another revision: %d %+v", k.path, res.StatusCode, p)
		}
		res, p := a.with(t, k.changeMethod, k.path, "If-Match", `"7", `+first, change(6))
		second := res.Header.Get("ETag")
		if res.StatusCode != http.StatusOK || second == "" || second == first {
			t.Errorf("%s: of its revision %s: %d %s %+v", k.path, first, res.StatusCode, second, p)
		}
		res, _ = a.with(t, k.changeMethod, k.path, "If-Match", second, change(6))
		if same := res.Header.Get("ETag"); res.StatusCode != http.StatusOK || same != second {
			t.Errorf("%s: the same again: %d, %s after %s", k.path, res.StatusCode, same, second)
		}
		if res, _ := a.with(t, "DELETE", k.path, "If-Match", first, ""); res.StatusCode != http.StatusPreconditionFailed {
			t.Errorf("%s: deleted of an old revision: %d", k.path, res.StatusCode)
		}
		for _, odd := range []string{"W/" + second, strings.Trim(second, `"`), `"x"`, `"-1"`} {
			if res, _ := a.with(t, "DELETE", k.path, "If-Match", odd, ""); res.StatusCode != http.StatusPreconditionFailed {
				t.Errorf("%s: deleted of %s: %d", k.path, odd, res.StatusCode)
			}
		}
		if res, _ := a.with(t, "DELETE", k.path, "If-Match", second, ""); res.StatusCode != http.StatusNoContent {
			t.Errorf("%s: not deleted: %d", k.path, res.StatusCode)
		}
		if res, _ := a.with(t, k.changeMethod, k.path, "If-Match", "*", change(6)); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: changed after it was deleted: %d", k.path, res.StatusCode)
		}
	}
	res, _ := a.with(t, "GET", "/pools/demo", "", "", "")
	if res, _ := a.with(t, "PATCH", "/pools/demo", "If-Match", `"0"`, `{"flow":"default"}`); res.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("pool of another revision: %d", res.StatusCode)
	}
	if res, _ := a.with(t, "PATCH", "/pools/demo", "If-Match", res.Header.Get("ETag"), `{"flow":"default"}`); res.StatusCode != http.StatusOK {
		t.Errorf("pool of its revision: %d", res.StatusCode)
	}
}

// countedStore counts the rows that lists read.
type countedStore struct {
	control.Store
	rows int
}

func (c *countedStore) ListSettings(ctx context.Context, pool ident.Pool, kind, after string, limit int) ([]broker.Document, error) {
	all, err := c.Store.ListSettings(ctx, pool, kind, after, limit)
	c.rows += len(all)
	return all, err
}

// TestListsReadPageByPage: a page costs its own rows, however many there are.
func TestListsReadPageByPage(t *testing.T) {
	a := serve(t)
	if _, err := a.client(t).CreatePool(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	pool, err := ident.ParsePool("demo")
	if err != nil {
		t.Fatal(err)
	}
	const many = 1234
	err = a.Store.ChangeSettings(t.Context(), broker.By{Actor: broker.ActorLocal}, func(tx broker.SettingsTx) error {
		for i := range many {
			token := broker.EnrollToken{Pool: pool, ID: fmt.Sprintf("%016x", i), Key: []byte{1}, Uses: 1, Expires: a.Clock.Now().Add(time.Hour)}
			if _, err := broker.EnrollTokenKind().Put(tx, &token, a.Clock.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	counted := &countedStore{Store: a.Plane.Store}
	a.Plane.Store = counted
	all, err := a.client(t).In("demo").EnrollmentTokens(t.Context())
	if err != nil || len(all) != many || all[many-1].ID != fmt.Sprintf("%016x", many-1) {
		t.Fatalf("%d tokens, %v", len(all), err)
	}
	if counted.rows > many+10 {
		t.Errorf("%d rows were read for %d", counted.rows, many)
	}
	counted.rows = 0
	res, body := a.ask(t, "GET", "/api/v1/pools/demo/enrollment-tokens?limit=7&after=00000000000003e7", "Bearer "+a.token, "")
	var page adminapi.Page[adminapi.EnrollmentToken]
	if err := json.Unmarshal([]byte(body), &page); err != nil || res.StatusCode != 200 || len(page.Items) != 7 || page.Items[0].ID != fmt.Sprintf("%016x", 1000) || counted.rows > 8 {
		t.Errorf("%d rows read for %s, %v", counted.rows, body, err)
	}
}

func (c *countedStore) ListDevices(ctx context.Context, pool ident.Pool, after string, limit int) ([]broker.Device, error) {
	all, err := c.Store.ListDevices(ctx, pool, after, limit)
	c.rows += len(all)
	return all, err
}

// TestCountDevices: a pool says how many devices it has, and reads none of them for it.
func TestCountDevices(t *testing.T) {
	a := serve(t)
	if _, err := a.client(t).CreatePool(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	counted := &countedStore{Store: a.Plane.Store}
	a.Plane.Store = counted
	p := a.client(t).In("demo")
	for want := range 3 {
		if n, err := p.CountDevices(t.Context()); err != nil || n != want {
			t.Errorf("%d devices, want %d, %v", n, want, err)
		}
		if _, err := p.CreateDevice(t.Context(), adminapi.NewDevice{Name: fmt.Sprintf("lamp-%d", want)}); err != nil {
			t.Fatal(err)
		}
	}
	if counted.rows != 0 {
		t.Errorf("%d devices were read", counted.rows)
	}
	if _, err := a.client(t).In("none").CountDevices(t.Context()); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("no such pool: %v", err)
	}
}

// TestAuthenticatorIDs: every kind of authenticator is shown with the one id that its key has.
func TestAuthenticatorIDs(t *testing.T) {
	a := serve(t)
	if _, err := a.client(t).CreatePool(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	p := a.client(t).In("demo")
	const key = "a30101200621582003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
	for name, n := range map[string]adminapi.NewDevice{"key": {Key: key}, "psk": {PSK: strings.Repeat("ab", 32)}} {
		n.Name = name
		shown, err := p.CreateDevice(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.MakeAuthenticator(t.Context(), name, "totp", adminapi.TOTP{}, false); err != nil {
			t.Fatal(err)
		}
		if shown, err = p.Device(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		pool, err := ident.ParsePool("demo")
		if err != nil {
			t.Fatal(err)
		}
		id, err := ident.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := a.Store.Device(t.Context(), ident.Device{Pool: pool, Name: id})
		if err != nil || len(shown.Authenticators) != 2 || len(stored.Authenticators) != 2 {
			t.Fatalf("%s: %+v, %v", name, shown, err)
		}
		for i, x := range shown.Authenticators {
			if x.ID != stored.Authenticators[i].ID.String() || len(x.ID) != 43 || x.Kind != stored.Authenticators[i].Kind {
				t.Errorf("%s: shown as %+v", name, x)
			}
		}
	}
}

// TestNounsAreDescribed: whatever a form says in its tags can be a flag and a column.
func TestNounsAreDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range adminapi.Nouns() {
		if seen[n.Command] || n.One == "" || n.Plural == "" || n.About == "" || n.Create.Example == "" || n.Change.Example == "" {
			t.Errorf("%s is not wholly described", n.Command)
		}
		seen[n.Command] = true
		form := reflect.TypeOf(n.New()).Elem()
		columns, key := 0, false
		for i := range form.NumField() {
			f := form.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			key = key || name == n.Key
			if f.Tag.Get("column") != "" {
				columns++
			}
			if f.Tag.Get("flag") != "" && f.Tag.Get("usage") == "" {
				t.Errorf("%s: flag %s has no help", n.Command, f.Tag.Get("flag"))
			}
		}
		if columns == 0 || !key {
			t.Errorf("%s: %d columns, key %v", n.Command, columns, key)
		}
	}
	if !seen["group"] {
		t.Error("no groups")
	}
}

// TestApply: by any client, all or nothing, and only what was shown if a plan is given.
func TestApply(t *testing.T) {
	a := serve(t)
	c := a.client(t)
	do := func(body string) (adminapi.Applied, *problem.Problem) {
		t.Helper()
		out, err := c.Apply(t.Context(), json.RawMessage(body))
		if err == nil {
			return out, nil
		}
		p, ok := err.(*problem.Problem)
		if !ok {
			t.Fatal(err)
		}
		return out, p
	}
	const two = `"pools":[{"name":"a"},{"name":"b"}],"groups":[{"pool":"a","name":"x"},{"pool":"b","name":"y","precedence":3}]`
	if _, p := do(`{` + two + `,"flows":[{"pool":"b","name":"f","steps":["hook:none"]}]}`); p == nil || p.Status != 422 || p.Errors[0].Location != "flows[0].steps[0]" {
		t.Fatalf("got %+v", p)
	}
	if pools, err := c.Pools(t.Context()); err != nil || len(pools) != 0 {
		t.Fatalf("half of it was done: %v, %v", pools, err)
	}
	dry, p := do(`{"dryRun":true,` + two + `}`)
	if p != nil || len(dry.Changes) != 4 || !dry.DryRun || dry.Plan == "" {
		t.Fatalf("got %+v, %+v", dry, p)
	}
	if _, p := do(`{"plan":"other",` + two + `}`); p == nil || p.Status != http.StatusPreconditionFailed {
		t.Errorf("another plan: %+v", p)
	}
	done, p := do(`{"plan":"` + dry.Plan + `",` + two + `}`)
	if p != nil || done.Plan != dry.Plan || done.Changes[3].Action != adminapi.ActionCreate {
		t.Errorf("got %+v, %+v", done, p)
	}
	for body, status := range map[string]int{
		`{`: 400, `[]`: 400, `{"groups":[],"groups":[]}`: 400, `{"groups":null}`: 422, `{"groups":{}}`: 422, `{"dryRun":1}`: 422,
		`{"groups":[{"pool":"a"}]}`: 422, `{"groups":[{"pool":"a","name":"x","Name":"y"}]}`: 422, `{"none":[]}`: 422, `{}`: 200,
	} {
		res, text := a.ask(t, "POST", "/api/v1/apply", "Bearer "+a.token, body)
		if res.StatusCode != status {
			t.Errorf("%s: got %d %s, want %d", body, res.StatusCode, text, status)
		}
	}
	if res, _ := a.ask(t, "POST", "/api/v1/apply", "Bearer "+a.token, `{"groups":[`+strings.Repeat(" ", 1<<20)+`]}`); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %d", res.StatusCode)
	}
}

// TestApplyMany: a file of settings may be far larger than any other request, up to a
// number of items that is said with the place of the first that is too many.
func TestApplyMany(t *testing.T) {
	a := serve(t)
	request := func(dry bool, from, n int) json.RawMessage {
		var b strings.Builder
		fmt.Fprintf(&b, `{"dryRun":%t,"pools":[{"name":"demo"}],"groups":[`, dry)
		for i := range n {
			fmt.Fprintf(&b, `{"pool":"demo","name":"g%d","description":"room %d of the house by the sea"},`, from+i, i)
		}
		return json.RawMessage(strings.TrimSuffix(b.String(), ",") + "]}")
	}
	c := a.client(t)
	for _, n := range []int{257, 3000, 4999} {
		raw := request(true, n, n)
		dry, err := c.Apply(t.Context(), raw)
		if err != nil || len(dry.Changes) != n+1 || !dry.Differs() {
			t.Fatalf("%d items, %d bytes, dry: %d changes, %v", n, len(raw), len(dry.Changes), err)
		}
		done, err := c.Apply(t.Context(), request(false, n, n))
		if err != nil || len(done.Changes) != n+1 || done.Plan != dry.Plan {
			t.Fatalf("%d items: %d changes, %v", n, len(done.Changes), err)
		}
		if again, err := c.Apply(t.Context(), raw); err != nil || again.Differs() {
			t.Fatalf("%d items again: %v", n, err)
		}
	}
	_, err := c.Apply(t.Context(), request(true, 0, 5002))
	var p *problem.Problem
	if !errors.As(err, &p) || p.Status != http.StatusUnprocessableEntity || len(p.Errors) != 1 ||
		p.Errors[0].Location != "groups[4999]" || !strings.Contains(p.Errors[0].Message, "at most 5000 at a time") {
		t.Errorf("too many: %v", err)
	}
}

// FuzzApply puts bytes where a request to apply is read.
func FuzzApply(f *testing.F) {
	for _, s := range []string{`{}`, `{"dryRun":true,"pools":[{"name":"demo"}]}`, `{"groups":[{"pool":"demo","name":"lab","precedence":-1}]}`,
		`{"clients":[{"pool":"demo","id":"a","accessLife":"0s","audiences":[1]}]}`, `{"hooks":[null,[],{"url":{}}],"prune":1}`, `{"flows":[{"pool":"demo","name":"x","steps":["hook:"]}]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, n := range adminapi.CheckApply([]byte(body)) {
			if n.Message == "" {
				t.Fatalf("%s: nothing is said of %q", body, n.Location)
			}
		}
	})
}

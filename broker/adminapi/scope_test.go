package adminapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
)

// everywhere marks in scopes' table what is not in one pool, and narrow those of them that
// an operator who is bound to pools may still use, as far as his own pools go.
const (
	everywhere = "everywhere"
	narrow     = "narrow"
)

// routeScopes is what every operation needs, by its id: written out a second time, so that
// none changes unnoticed, and a new one has its line here or fails.
const routeScopes = `
status                          read   narrow
list-pools                      read   narrow
create-pool                     write  everywhere
get-pool                        read
update-pool                     write
delete-pool                     admin
rotate-anchor                   admin
list-keys                       read
rotate-key                      admin
activate-key                    admin
retire-key                      admin
list-devices                    read
create-device                   enroll
get-device                      read
update-device                   write
delete-device                   write
approve-device                  enroll
disable-device                  write
enable-device                   write
revoke-device                   write
get-device-history              read
trace-device                    write
create-totp                     write
delete-totp                     write
list-sessions                   read
revoke-session                  write
list-enrollment-tokens          read
create-enrollment-token         enroll
get-enrollment-token            read
replace-enrollment-token        write
update-enrollment-token         write
delete-enrollment-token         enroll
list-clients                    read
create-client                   write
get-client                      read
replace-client                  write
delete-client                   write
list-flows                      read
create-flow                     write
get-flow                        read
replace-flow                    write
delete-flow                     write
list-hooks                      read
create-hook                     write
get-hook                        read
replace-hook                    write
update-hook                     write
delete-hook                     write
list-groups                     read
create-group                    write
get-group                       read
replace-group                   write
delete-group                    write
apply                           write  narrow
list-audit                      read   narrow
list-connections                read   narrow
get-connection                  read   narrow
kick-connections                write  narrow
list-operators                  read   everywhere
create-operator                 admin  everywhere
get-operator                    read   everywhere
update-operator                 admin  everywhere
delete-operator                 admin  everywhere
`

// operator makes one, and gives its Authorization header.
func (a *api) operator(t *testing.T, name string, scope broker.OperatorScope, pools ...ident.Pool) string {
	t.Helper()
	_, secret, err := a.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewOperator{Name: name, Life: time.Hour, Scope: scope, Pools: pools})
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + secret
}

// TestEveryRouteHoldsItsScope asks every operation of the description with a token of every
// scope, of all pools, of the operation's own and of another.
func TestEveryRouteHoldsItsScope(t *testing.T) {
	a := serve(t)
	c := a.client(t)
	for _, name := range []string{"mine", "other"} {
		if _, err := c.CreatePool(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	table := map[string][]string{}
	for line := range strings.Lines(strings.TrimSpace(routeScopes)) {
		f := strings.Fields(line)
		table[f[0]] = f[1:]
	}
	all := broker.OperatorScopes()
	type tokens struct{ unbound, mine, other string }
	auth := map[broker.OperatorScope]tokens{}
	for _, s := range all {
		auth[s] = tokens{a.operator(t, "all-"+string(s), s),
			a.operator(t, "mine-"+string(s), s, poolOf(t, "mine")), a.operator(t, "other-"+string(s), s, poolOf(t, "other"))}
	}
	_, doc := a.ask(t, "GET", "/api/openapi.json", "", "")
	var spec struct {
		Paths map[string]map[string]struct {
			OperationID string
			Security    []map[string][]string
		}
	}
	if err := json.Unmarshal([]byte(doc), &spec); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("{pool}", "mine", "{name}", "lamp-1", "{id}", "x", "{operator}", "nobody", "{session}", ident.UUID{1}.String())
	for path, operations := range spec.Paths {
		for method, op := range operations {
			want, ok := table[op.OperationID]
			if !ok {
				t.Errorf("%s %s: operation %s is not in the table: say what it needs", method, path, op.OperationID)
				continue
			}
			delete(table, op.OperationID)
			if got := fmt.Sprint(op.Security); got != "[map[operator:["+want[0]+"]]]" {
				t.Errorf("%s: the description says %s, want scope %s", op.OperationID, got, want[0])
			}
			if method == "get" && want[0] != "read" || method != "get" && want[0] == "read" {
				t.Errorf("%s: %s needs %s", op.OperationID, method, want[0])
			}
			for _, s := range all {
				enough := slices.Index(all, s) >= slices.Index(all, broker.OperatorScope(want[0]))
				if op.OperationID == "delete-pool" && enough {
					continue // the others need the pool
				}
				asks := func(who, header string, allowed bool, says string) {
					t.Helper()
					res, body := a.ask(t, strings.ToUpper(method), fill.Replace(path), header, "{")
					if (res.StatusCode != http.StatusForbidden) != allowed || res.StatusCode == http.StatusUnauthorized || res.StatusCode >= 500 {
						t.Errorf("%s with %s of %s: got %d %s", op.OperationID, s, who, res.StatusCode, body)
					}
					if !allowed && (!strings.Contains(body, says) || !strings.Contains(body, "requestId")) {
						t.Errorf("%s with %s of %s: does not say %q: %s", op.OperationID, s, who, says, body)
					}
				}
				lacks := "this needs scope " + want[0]
				bounds := lacks
				if enough {
					bounds = "is bound to"
				}
				asks("all", auth[s].unbound, enough, lacks)
				switch {
				case slices.Contains(want, everywhere):
					asks("mine", auth[s].mine, false, bounds)
				case slices.Contains(want, narrow):
					if op.OperationID != "list-audit" { // it wants to be asked for one
						asks("mine", auth[s].mine, enough, lacks)
					}
				default:
					asks("mine", auth[s].mine, enough, lacks)
					asks("other", auth[s].other, false, bounds)
				}
			}
		}
	}
	for id := range table {
		t.Errorf("operation %s is in the table, but not in the description", id)
	}
	if strings.Contains(a.log.String(), "panic") {
		t.Error(a.log)
	}
}

func poolOf(t *testing.T, name string) ident.Pool {
	t.Helper()
	p, err := ident.ParsePool(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestBoundOperators: what spans pools shows and takes only what is in the operator's own, and
// whether there is another pool cannot be told.
func TestBoundOperators(t *testing.T) {
	a := serve(t)
	c := a.client(t)
	for _, name := range []string{"mine", "other"} {
		if _, err := c.CreatePool(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	bound := a.operator(t, "bob", broker.OperatorWrite, poolOf(t, "mine"))
	enroller := a.operator(t, "eve", broker.OperatorEnroll)
	admin := a.operator(t, "joe", broker.OperatorAdmin, poolOf(t, "mine"))
	says := func(res *http.Response, body string) string {
		var p problem.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(res.StatusCode, " ", p.Detail)
	}
	elsewhere := "403 this is about another pool; operator bob is bound to mine"
	for _, c := range []struct{ auth, method, path, body, says string }{
		{bound, "GET", "/pools/other", "", elsewhere},
		{bound, "GET", "/pools/none", "", elsewhere},
		{bound, "GET", "/pools/NO", "", elsewhere},
		{bound, "GET", "/pools/other/devices?limit=0", "", elsewhere},
		{bound, "GET", "/audit", "", "403 this is about all pools: ask for one, as pool; operator bob is bound to mine"},
		{bound, "GET", "/audit?newest=true", "", "403 this is about all pools: ask for one, as pool; operator bob is bound to mine"},
		{bound, "GET", "/audit?pool=other", "", elsewhere},
		{bound, "GET", "/audit?device=other:lamp-1", "", elsewhere},
		{bound, "GET", "/audit?pool=mine", "", "200 "},
		{bound, "GET", "/audit?device=mine:lamp-1", "", "200 "},
		{bound, "POST", "/apply", `{"flows":[{"pool":"mine","name":"two","steps":["key"]},{"pool":"other","name":"two","steps":["key"]}]}`, elsewhere},
		{bound, "POST", "/apply", `{"dryRun":true,"pools":[{"name":"other"}]}`, elsewhere},
		{bound, "POST", "/apply", `{"flows":[{"pool":"none","name":"two","steps":["key"]}]}`, elsewhere},
		{bound, "POST", "/apply", `{"flows":[{"pool":"mine","name":"two","steps":["key"]}]}`, "200 "},
		{admin, "POST", "/operators", `{"name":"all","scope":"admin"}`, "403 this is about all pools; operator joe is bound to mine"},
		{enroller, "POST", "/operators", `{"name":"all","scope":"read"}`, "403 this needs scope admin; operator eve has enroll"},
		{enroller, "POST", "/pools/mine/enrollment-tokens", `{"name":"lamp-1","replace":true}`, "403 this needs scope write; operator eve has enroll"},
		{enroller, "POST", "/pools/mine/enrollment-tokens", `{"name":"lamp-1"}`, "201 "},
	} {
		if got := says(a.ask(t, c.method, "/api/v1"+c.path, c.auth, c.body)); got != c.says {
			t.Errorf("%s %s %s: got %q, want %q", c.method, c.path, c.body, got, c.says)
		}
	}
	if _, body := a.ask(t, "GET", "/api/v1/pools", bound, ""); strings.Contains(body, `"other"`) || !strings.Contains(body, `"mine"`) {
		t.Errorf("pools: %s", body)
	}
	if _, body := a.ask(t, "GET", "/api/v1/audit?pool=mine", bound, ""); strings.Contains(body, `"other"`) || !strings.Contains(body, `"mine"`) {
		t.Errorf("audit: %s", body)
	}
	_, body := a.ask(t, "GET", "/api/v1/status", bound, "")
	var s adminapi.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.Pools != 1 || s.Scope != "write" || fmt.Sprint(s.BoundTo) != "[mine]" || s.Operator != "bob" {
		t.Errorf("status: %+v, %v", s, err)
	}
	if err := c.DeletePool(t.Context(), "mine", true); err != nil {
		t.Fatal(err)
	}
	made := says(a.ask(t, "POST", "/api/v1/apply", bound, `{"pools":[{"name":"mine"}]}`))
	if made != "403 a pool would have to be made; operator bob is bound to mine" {
		t.Errorf("a pool made by apply: got %q", made)
	}
	if _, err := c.CreateOperator(t.Context(), adminapi.NewOperator{Name: "x", Scope: "read", Pools: []string{"none"}}); err == nil || !strings.Contains(err.Error(), "pool none does not exist") {
		t.Errorf("bound to a pool that there is not: %v", err)
	}
}

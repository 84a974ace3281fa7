package cli_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

const wholeFile = `# what we run
pools:
  - name: demo
    flow: two
clients:
  - pool: demo
    id: app
    audiences: [telemetry]
    accessLife: 15m
flows:
  - pool: demo
    name: two
    steps: [key, hook:pin]
hooks:
  - pool: demo
    name: pin
    url: https://hooks.example/pin
groups:
  - pool: demo
    name: lab
    precedence: 10
    description: rooms & halls
`

// settings writes a file of settings and gives its name.
func (s *shell) settings(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(s.home, name)
	write(t, path, []byte(text))
	return path
}

// TestApplyADayOfSettings: a file makes all it says, pool included; a second run
// changes nothing; a change shows as what it is.
func TestApplyADayOfSettings(t *testing.T) {
	s := login(t)
	file := s.settings(t, "all.yaml", wholeFile)
	r := s.run(t, "", "diff", "-f", file)
	if r.code != 1 || r.err != "5 to create, 0 to update, 0 to delete, 0 unchanged\n" ||
		r.out != "+ pool demo\n+ client demo/app\n+ flow demo/two\n+ hook demo/pin\n+ group demo/lab\n" {
		t.Fatalf("diff: %+v", r)
	}
	if out := s.ok(t, "pool list -o json"); out != "[]\n" {
		t.Fatalf("diff made something: %s", out)
	}
	r = s.run(t, "", "apply", "-f", file)
	if r.code != 0 || !strings.Contains(r.out, "created hook demo/pin\n    secret, shown only now: whsec_") || strings.Count(r.out, "created ") != 5 {
		t.Fatalf("apply: %+v", r)
	}
	if out := s.ok(t, "apply -f "+file); strings.Count(out, "unchanged ") != 5 || strings.Contains(out, "whsec_") {
		t.Errorf("again: %s", out)
	}
	if r := s.run(t, "", "diff", "-f", file); r.code != 0 || r.out != "" {
		t.Errorf("no differences: %+v", r)
	}
	changed := strings.NewReplacer("15m", "30m", "precedence: 10", "precedence: 5").Replace(wholeFile)
	r = s.run(t, changed, "diff", "-f", "-")
	if want := "~ client demo/app\n    accessLife: 15m -> 30m\n~ group demo/lab\n    precedence: 10 -> 5\n"; r.code != 1 || r.out != want {
		t.Errorf("got %+v, want %s", r, want)
	}
	var out adminapi.Applied
	if err := json.Unmarshal([]byte(s.run(t, changed, "apply", "-f", "-", "-o", "json").out), &out); err != nil || !out.Differs() || out.DryRun {
		t.Errorf("got %+v, %v", out, err)
	}
	if out := s.ok(t, "group show lab"); !strings.Contains(out, "PRECEDENCE   5\n") || !strings.Contains(out, "rooms & halls") {
		t.Errorf("got %s", out)
	}
	if out := s.ok(t, "hook list"); !strings.Contains(out, "2s") {
		t.Errorf("got %s", out)
	}
}

// TestApplyLargeFiles: hundreds and thousands of settings go through diff and apply, and
// one too many is said with its place in its file.
func TestApplyLargeFiles(t *testing.T) {
	s := login(t)
	groups := func(n int) string {
		var b strings.Builder
		b.WriteString("groups:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {pool: demo, name: g%d, description: room %d of the house}\n", i, i)
		}
		return b.String()
	}
	s.ok(t, "pool create demo")
	had := 0
	for _, n := range []int{257, 3000} {
		file := s.settings(t, "many.yaml", groups(n))
		if r := s.run(t, "", "diff", "-f", file); r.code != 1 || strings.Count(r.out, "+ group demo/g") != n-had {
			t.Fatalf("diff of %d: %d, %d lines, %s", n, r.code, strings.Count(r.out, "\n"), r.err)
		}
		if r := s.run(t, "", "apply", "-f", file); r.code != 0 || strings.Count(r.out, "created group ") != n-had {
			t.Fatalf("apply of %d: %d, %d lines, %s", n, r.code, strings.Count(r.out, "\n"), r.err)
		}
		had = n
	}
	first, second := s.settings(t, "first.yaml", groups(4000)), s.settings(t, "second.yaml", strings.ReplaceAll(groups(1500), "name: g", "name: h"))
	want := second + ": line 1002, column 5: is one too many: at most 5000 at a time; apply the rest by itself\n"
	if r := s.run(t, "", "apply", "-f", first, "-f", second); r.code != 2 || !strings.HasSuffix(r.err, want) {
		t.Errorf("got %d, %.300s, want %s", r.code, r.err, want)
	}
}

// TestApplySaysEverythingThatIsWrong: with file, line and column, in one run, and nothing is done.
func TestApplySaysEverythingThatIsWrong(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	first := s.settings(t, "first.yaml", `clients:
  - pool: demo
    id: app
    accesLife: 15m
    grace: 2h
  - pool: demo
    id: two
    flow: gone
    audiences: 7
  - pool: none
    id: three
`)
	second := s.settings(t, "second.yaml", `flows:
  - {pool: demo, name: fine, steps: [key]}
  - {pool: demo, name: bad, steps: [key, guess, hook:nope]}
  - {pool: demo, name: needs, steps: [key, hook:nope]}
clints: []
enrollments:
  - {pool: demo, id: 0011223344556677, uses: 5, expires: 2026-01-20T00:00:00Z}
hooks:
  - {pool: demo, name: h, url: https://127.0.0.1/}
  - {pool: demo, name: h, url: https://hooks.example/}
  - {pool: demo, name: u, url: https://hooks.example/, timeout: soon}
`)
	r := s.run(t, "", "apply", "-f", first, "-f", second)
	for _, want := range []string{
		first + `: line 4, column 5: unknown key "accesLife", did you mean "accessLife"?`,
		first + ": line 9, column 5: expected array",
		first + ": line 10, column 5: pool none does not exist; name it under pools, or create it first",
		second + `: line 3, column 42: flow "bad": unknown step "guess", want key, psk, totp or hook:NAME`,
		second + `: line 4, column 44: flow needs: hook "nope" does not exist; create it first`,
		second + `: line 5, column 1: unknown key "clints", did you mean "clients"?`,
		second + ": line 7, column 22: write numbers in decimal, such as 10 or 0.5; what is meant as text, in quotes",
		second + ": line 9, column 27: hook h: hook URL: ",
		second + ": line 10, column 5: hook h is in hooks[0] already",
		second + ": line 11, column 56: invalid duration",
	} {
		if !strings.Contains(r.err, want) {
			t.Errorf("missing: %s in\n%s", want, r.err)
		}
	}
	if r.code != 2 || r.out != "" || !strings.Contains(r.err, " things are wrong; nothing was changed") {
		t.Errorf("got %d, %q, %s", r.code, r.out, r.err)
	}
	if out := s.ok(t, "flow list -o csv"); strings.Count(out, "\n") != 2 {
		t.Errorf("something was done: %s", out)
	}
	if r := s.run(t, "", "diff", "-f", first); r.code != 2 {
		t.Errorf("diff in trouble: %+v", r)
	}
	for text, want := range map[string]string{
		"clients:\n  - {pool: demo, id: a, id: b}\n":              `line 2, column 25: key "id" comes twice`,
		"clients: &x []\nflows: *x\n":                             "line 1, column 10: anchors and aliases",
		"clients: {}\n":                                           "line 1, column 1: clients is a list",
		"- a\n":                                                   "line 1, column 1: want lists such as pools:",
		"prune: true\n":                                           `line 1, column 1: unknown key "prune"`,
		"clients:\n  - id: a\n":                                   "line 2, column 5: expected required property pool",
		"clients:\n  - {pool: demo, id: A}\n":                     "line 2, column 18: ",
		"clients:\n  - {pool: demo, id: a, flow: none}\n":         "line 2, column 25: client a: flow \"none\" does not exist",
		"pools:\n  - {name: demo, flow: none}\n":                  "line 2, column 18: pool demo: flow \"none\" does not exist",
		"groups:\n  - {pool: demo, name: g, created: 2026-01-01}": "line 2, column 27: unknown key \"created\"",
		"groups:\n  - demo\n":                                     "line 2, column 5: is not a mapping",
	} {
		if r := s.run(t, text, "apply", "-f", "-"); r.code != 2 || !strings.Contains(r.err, "-: "+want) {
			t.Errorf("%q: got %+v, want %s", text, r, want)
		}
	}
	r = s.run(t, "groups:\n  - {pool: demo, name: g, name: h, precedence: -1}\n", "apply", "-f", "-")
	if want := "signet: 2 things are wrong; nothing was changed\n-: line 2, column 27: key \"name\" comes twice; it is on line 2 already\n" +
		"-: line 2, column 36: expected number >= 0\n"; r.err != want {
		t.Errorf("the file's and the broker's: %+v, want %s", r, want)
	}
	if r := s.run(t, "", "apply"); r.code != 2 || !strings.Contains(r.err, "needs -f FILE") {
		t.Errorf("no file: %+v", r)
	}
}

// TestPruneAsksFirst: what no file mentions goes, of the kinds and in the pools that it names, once somebody said yes.
func TestPruneAsksFirst(t *testing.T) {
	s := login(t)
	for _, line := range []string{
		"pool create demo", "pool create other", "group create old --pool demo", "group create kept --pool demo", "group create far --pool other",
		"flow create spare --pool demo --step key", "client create app --pool demo --flow spare",
	} {
		s.ok(t, line)
	}
	var token adminapi.EnrollmentToken
	if err := json.Unmarshal([]byte(s.ok(t, "enrollment create --pool demo -o json")), &token); err != nil {
		t.Fatal(err)
	}
	file := s.settings(t, "p.yaml", "groups:\n  - {pool: demo, name: kept, precedence: 1}\nenrollments: []\n")
	r := s.run(t, "", "apply", "-f", file, "--prune")
	if r.code != 2 || !strings.Contains(r.err, "deletes group demo/old\n") || !strings.Contains(r.err, "deletes enrollment demo/"+token.ID) || strings.Contains(r.err, "far") || !strings.Contains(r.err, "--yes") {
		t.Fatalf("got %+v", r)
	}
	if out := s.ok(t, "group show kept --pool demo"); strings.Contains(out, "PRECEDENCE   1") {
		t.Errorf("the preview did something: %s", out)
	}
	if r := s.run(t, "", "diff", "-f", file, "--prune"); r.code != 1 || !strings.Contains(r.out, "- group demo/old\n") {
		t.Errorf("got %+v", r)
	}
	if out := s.ok(t, "apply -f "+file+" --prune --yes"); !strings.Contains(out, "deleted group demo/old\n") || !strings.Contains(out, "updated group demo/kept\n") {
		t.Errorf("got %s", out)
	}
	if out := s.ok(t, "group list --pool other") + s.ok(t, "client list --pool demo"); !strings.Contains(out, "far") || !strings.Contains(out, "app") {
		t.Errorf("pruned what the file says nothing of: %s", out)
	}
	// The default client stays; what is in use does not go.
	r = s.run(t, "pools: [{name: demo}]\nclients:\n  - {pool: demo, id: app, flow: spare}\nflows: []\n", "apply", "-f", "-", "--prune", "--yes")
	if r.code != 2 || !strings.Contains(r.err, "flow default is the pool's default") || !strings.Contains(r.err, "flow spare is used by client app") {
		t.Errorf("got %+v", r)
	}
	s.ok(t, "client show default --pool demo")
}

// logIn gives a device of a pool a session with a client.
func (s *shell) logIn(t *testing.T, pool, name, client string) {
	t.Helper()
	s.ok(t, "device create "+name+" --pool "+pool)
	id := identtest.Device(t, pool+":"+name)
	session, err := ident.NewUUID(s.Clock.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Store.RecordLogin(t.Context(), broker.By{Actor: broker.ActorBroker}, broker.Login{Session: broker.Session{
		ID: session, Device: id, Client: client, Created: s.Clock.Now(), Expires: s.Clock.Now().Add(time.Hour),
	}}); err != nil {
		t.Fatal(err)
	}
}

// TestDeletingWhatIsInUse: a client that devices are logged in with goes only with --force, by
// its own command as by apply, which says before what would break.
func TestDeletingWhatIsInUse(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	s.ok(t, "client create app --pool demo")
	s.ok(t, "client create spare --pool demo")
	s.logIn(t, "demo", "lamp-1", "app")
	const breaks = "client app has 1 live session of 1 device: their connections end"
	if r := s.run(t, "", "client", "delete", "app", "--pool", "demo"); r.code != 5 || !strings.Contains(r.err, breaks) || !strings.Contains(r.err, ": signet client delete app --pool demo --force") {
		t.Errorf("delete: %+v", r)
	}
	file := s.settings(t, "c.yaml", "pools: [{name: demo}]\nclients: []\n")
	if r := s.run(t, "", "diff", "-f", file, "--prune"); r.code != 1 || !strings.Contains(r.out, "- client demo/app\n    breaks: "+breaks) {
		t.Errorf("diff: %+v", r)
	}
	for _, yes := range []string{"", " --yes"} {
		if r := s.run(t, "", strings.Fields("apply -f "+file+" --prune"+yes)...); r.code != 2 || !strings.Contains(r.err, "deletes client demo/app: "+breaks) ||
			!strings.Contains(r.err, "deletes client demo/spare\n") || !strings.Contains(r.err, "1 of them in use") || !strings.Contains(r.err, "--force") {
			t.Errorf("apply%s: %+v", yes, r)
		}
	}
	c, err := adminapi.NewClient(s.url, s.token, s.transport)
	if err != nil {
		t.Fatal(err)
	}
	var refused *problem.Problem
	if _, err := c.Apply(t.Context(), json.RawMessage(`{"prune":true,"pools":[{"name":"demo"}],"clients":[]}`)); !errors.As(err, &refused) || refused.Status != 409 || !refused.Forcible || !strings.Contains(refused.Detail, breaks) {
		t.Errorf("apply by the API: %v", err)
	}
	if out := s.ok(t, "client list --pool demo"); !strings.Contains(out, "app") || !strings.Contains(out, "spare") {
		t.Errorf("something went: %s", out)
	}
	if out := s.ok(t, "apply -f "+file+" --prune --force"); !strings.Contains(out, "deleted client demo/app\n") {
		t.Errorf("with --force: %s", out)
	}
	s.ok(t, "client create app --pool demo")
	s.ok(t, "client delete app --pool demo --force")
}

// TestApplyTakesTokensThatAreThere: an enrollment token is changed by its id, and never made.
func TestApplyTakesTokensThatAreThere(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	var token adminapi.EnrollmentToken
	if err := json.Unmarshal([]byte(s.ok(t, "enrollment create -o json --group lab")), &token); err != nil {
		t.Fatal(err)
	}
	text := "enrollments:\n  - pool: demo\n    id: \"" + token.ID + "\"\n    uses: 1\n    expires: 2026-01-02T00:00:00Z\n    groups: [lab]\n"
	if r := s.run(t, text, "diff", "-f", "-"); r.code != 0 {
		t.Errorf("as it is: %+v", r)
	}
	if r := s.run(t, strings.Replace(text, "uses: 1", "uses: 7", 1), "apply", "-f", "-"); r.code != 0 || !strings.Contains(r.out, "uses: 1 -> 7") {
		t.Errorf("got %+v", r)
	}
	if r := s.run(t, strings.Replace(text, token.ID, "0011223344556677", 1), "apply", "-f", "-"); r.code != 2 || !strings.Contains(r.err, "line 3, column 5: ") || !strings.Contains(r.err, "signet enrollment create") {
		t.Errorf("got %+v", r)
	}
}

// editor makes a program that edits as sed does.
func (s *shell) editor(t *testing.T, script string) {
	t.Helper()
	path := filepath.Join(s.home, "editor")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.env["VISUAL"] = path
}

func TestEdit(t *testing.T) {
	s := login(t)
	t.Setenv("TMPDIR", s.home)
	s.ok(t, "pool create demo")
	s.ok(t, "group create lab --precedence 10")
	s.editor(t, `sed -i 's/precedence: 10/precedence: 3/' "$1"`)
	if out := s.ok(t, "group edit lab"); !strings.Contains(out, "lab   3") {
		t.Errorf("got %s", out)
	}
	s.editor(t, "true")
	if r := s.run(t, "", "client", "edit", "default"); r.code != 0 || r.err != "nothing changed\n" {
		t.Errorf("got %+v", r)
	}
	s.editor(t, `cat "$1" >&2; echo 'accesLife: 5m' >> "$1"`)
	r := s.run(t, "", "client", "edit", "default")
	if r.code != 2 || !strings.Contains(r.err, "accessLife: 1h\n") || strings.Contains(r.err, "created") || !strings.Contains(r.err, "column 1: unexpected property") || !strings.Contains(r.err, "your text is kept in ") {
		t.Errorf("got %+v", r)
	}
	_, kept, _ := strings.Cut(strings.TrimSpace(r.err), "your text is kept in ")
	if text := string(read(t, kept)); !strings.Contains(text, "accesLife: 5m") {
		t.Errorf("kept %q", text)
	}
	s.editor(t, "exit 3") // as vim's :cq does
	if r := s.run(t, "", "client", "edit", "default"); r.code != 1 || !strings.Contains(r.err, "ended with 3: nothing was changed") || strings.Contains(r.err, "set EDITOR") {
		t.Errorf("got %+v", r)
	}
	s.env["VISUAL"] = ""
	s.env["EDITOR"] = filepath.Join(s.home, "none")
	if r := s.run(t, "", "group", "edit", "lab"); r.code != 4 || !strings.Contains(r.err, "set EDITOR") {
		t.Errorf("got %+v", r)
	}
}

// TestEditMeetsAnotherChange: who was slower is told, and keeps the text.
func TestEditMeetsAnotherChange(t *testing.T) {
	s := login(t)
	t.Setenv("TMPDIR", s.home)
	s.ok(t, "pool create demo")
	s.ok(t, "group create lab --precedence 10")
	went, goOn := filepath.Join(s.home, "went"), filepath.Join(s.home, "goon")
	s.editor(t, `sed -i 's/precedence: 10/precedence: 3/' "$1"; : > `+went+`; while [ ! -e `+goOn+` ]; do sleep 0.01; done`)
	ended := make(chan result)
	go func() { ended <- s.run(t, "", "group", "edit", "lab") }()
	for {
		if _, err := os.Stat(went); err == nil {
			break
		}
	}
	s.ok(t, "group update lab --precedence 7")
	write(t, goOn, nil)
	r := <-ended
	if r.code != 1 || !strings.Contains(r.err, "somebody changed group lab meanwhile") || !strings.Contains(r.err, "your text is kept in ") {
		t.Errorf("got %+v", r)
	}
	if out := s.ok(t, "group show lab"); !strings.Contains(out, "PRECEDENCE   7\n") {
		t.Errorf("got %s", out)
	}
}

// TestGroups: the plainest kind has all commands.
func TestGroups(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	s.run(t, "", "group", "create", "lab", "--precedence", "10", "--description", "rooms 1 to 4")
	s.ok(t, "group create hall")
	if out := s.ok(t, "group list"); !strings.Contains(out, "hall  -           -") || !strings.Contains(out, "lab   10          rooms 1 to 4") {
		t.Errorf("got %s", out)
	}
	if out := s.ok(t, "group update lab --precedence 0"); !strings.Contains(out, "lab   0           rooms 1 to 4") {
		t.Errorf("got %s", out)
	}
	if out := s.ok(t, "__complete group show la"); !strings.HasPrefix(out, "lab\n") || strings.Contains(out, "hall") {
		t.Errorf("got %s", out)
	}
	for _, line := range []string{"group create lab", "group create Lab", "group create x --precedence -1", "group show none", "group update lab", "group delete none"} {
		if r := s.run(t, "", strings.Fields(line)...); r.code == 0 {
			t.Errorf("%s: went well", line)
		}
	}
	s.ok(t, "group delete lab")
}

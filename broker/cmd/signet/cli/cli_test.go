package cli_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/cmd/signet/cli"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
)

// A shell runs signet against a broker's API with a home of its own.
type shell struct {
	transport http.RoundTripper // that believes the broker
	*controltest.World
	url, ca, token, home string
	env                  map[string]string
}

// A result is what one run left behind.
type result struct {
	code     int
	out, err string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	w := controltest.New(t)
	_, secret, err := w.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewOperator{Name: "ada", Life: time.Hour, Scope: broker.OperatorAdmin})
	if err != nil {
		t.Fatal(err)
	}
	h, err := adminapi.Handler(adminapi.Config{Control: w.Plane, Log: slog.New(slog.DiscardHandler), Version: "test", Now: w.Clock.Now,
		Connections: control.NewConnections(fakeMQTT{}, w.Store, "here", "run1")})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	home := t.TempDir()
	ca := filepath.Join(home, "root.pem")
	write(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return &shell{World: w, transport: server.Client().Transport, url: server.URL, ca: ca, token: secret, home: home, env: map[string]string{"HOME": home}}
}

// emptyWord stands for the word that is being completed and has no letter yet.
const emptyWord = "@"

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs one line; stdin is in.
func (s *shell) run(t *testing.T, in string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := cli.Run(t.Context(), cli.Surroundings{
		In: strings.NewReader(in), Out: &out, Err: &errs, Getenv: func(k string) string { return s.env[k] }, Now: s.Clock.Now,
	}, args)
	return result{code, out.String(), errs.String()}
}

// ok runs a line of words that must work, and gives its output.
func (s *shell) ok(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	for i, w := range words {
		if w == emptyWord {
			words[i] = ""
		}
	}
	r := s.run(t, "", words...)
	if r.code != 0 {
		t.Fatalf("signet %s: exit %d, %s", line, r.code, r.err)
	}
	return r.out
}

// login makes a shell that is logged in.
func login(t *testing.T) *shell {
	t.Helper()
	s := newShell(t)
	if r := s.run(t, s.token+"\n", "login", "--server", s.url, "--ca", s.ca); r.code != 0 || r.out != "" || strings.Contains(r.err, s.token) {
		t.Fatalf("login: %+v", r)
	}
	return s
}

func TestLoginKeepsAProfile(t *testing.T) {
	s := login(t)
	path := filepath.Join(s.home, ".config", "signet", "profiles.json")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("profile: %v, %v", info, err)
	}
	if out := s.ok(t, "status"); !strings.Contains(out, "ada") {
		t.Errorf("got %q", out)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	twice := strings.Replace(string(raw), `"server"`, `"Server": "https://elsewhere.example", "server"`, 1)
	if err := os.WriteFile(path, []byte(twice), 0o600); err != nil || twice == string(raw) {
		t.Fatal(err, twice)
	}
	if r := s.run(t, "", "status"); r.code == 0 || !strings.Contains(r.err, "is damaged") {
		t.Errorf("a profile with two servers: %+v", r)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := s.run(t, "", "status"); r.code != 1 || !strings.Contains(r.err, "chmod 600") {
		t.Errorf("readable profile: %+v", r)
	}
}

func TestProfileTokenStaysWithItsServer(t *testing.T) {
	s := login(t)
	if r := s.run(t, "", "status", "--server", "https://elsewhere.example"); r.code != 2 || !strings.Contains(r.err, "no operator's token for https://elsewhere.example") {
		t.Errorf("got %+v", r)
	}
}

func TestFlagsBeforeEnvironmentBeforeFile(t *testing.T) {
	s := login(t)
	s.env["SIGNET_TOKEN"] = "sgnt_wrong"
	if r := s.run(t, "", "status"); r.code != 3 || !strings.Contains(r.err, "signet login") {
		t.Errorf("environment did not win over the file: %+v", r)
	}
	if r := s.run(t, "", "status", "--token", s.token); r.code != 0 {
		t.Errorf("flag did not win over the environment: %+v", r)
	}
}

// TestAProfileFlagBeatsTheEnvironment: what is deleted is deleted where the flag says, and the
// confirmation says where that is; the environment still beats a profile that it names itself.
func TestAProfileFlagBeatsTheEnvironment(t *testing.T) {
	s, other := login(t), login(t)
	if r := s.run(t, other.token+"\n", "login", "--server", other.url, "--ca", other.ca, "--profile", "b2"); r.code != 0 {
		t.Fatal(r.err)
	}
	s.ok(t, "profile use default")
	s.ok(t, "pool create demo")
	other.ok(t, "pool create demo")
	other.ok(t, "device create lamp-1")
	s.env["SIGNET_SERVER"], s.env["SIGNET_TOKEN"], s.env["SIGNET_CA"] = s.url, s.token, s.ca
	if out := s.ok(t, "status --profile b2 -o json"); !strings.Contains(out, other.url) || !strings.Contains(out, `"profile": "b2"`) {
		t.Errorf("status: %s", out)
	}
	if r := s.run(t, "", "pool", "delete", "demo", "--profile", "b2"); r.code != 5 || !strings.Contains(r.err, other.url) || !strings.Contains(r.err, `"b2"`) {
		t.Errorf("asked to confirm: %+v", r)
	}
	if r := s.run(t, "", "pool", "delete", "demo", "--force", "--profile", "b2"); r.code != 0 || !strings.Contains(r.err, other.url) {
		t.Errorf("deleted: %+v", r)
	}
	if out := other.ok(t, "pool list"); strings.Contains(out, "demo") {
		t.Errorf("the profile's broker still has %s", out)
	}
	s.env["SIGNET_PROFILE"] = "b2"
	if out := s.ok(t, "pool list"); !strings.Contains(out, "demo") {
		t.Errorf("the environment's broker lost its pool, or was not asked: %s", out)
	}
}

// TestLoginTriesTheBrokerFirst: nobody types a token for a broker that is not there or not known.
func TestLoginTriesTheBrokerFirst(t *testing.T) {
	s := newShell(t)
	for line, want := range map[string]struct {
		code int
		says string
	}{
		"login --server https://127.0.0.1:1": {6, "is signetd running"},
		"login --server " + s.url:            {3, "--ca FILE"},
	} {
		if r := s.run(t, "", strings.Fields(line)...); r.code != want.code || !strings.Contains(r.err, want.says) || strings.Contains(r.err, "standard input") {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

// TestProfilesAreListedAndUsed: a profile may name the pool that commands work in.
func TestProfilesAreListedAndUsed(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create home")
	s.ok(t, "pool create work")
	if r := s.run(t, "", "device", "list"); r.code != 2 || !strings.Contains(r.err, "which pool?") {
		t.Errorf("without a pool: %+v", r)
	}
	s.ok(t, "profile use default --pool work")
	s.ok(t, "device create lamp-1")
	if out := s.ok(t, "device list --pool work"); !strings.Contains(out, "lamp-1") {
		t.Errorf("the pool of the profile was not used: %s", out)
	}
	if r := s.run(t, s.token+"\n", "login", "--server", s.url, "--ca", s.ca, "--profile", "lab"); r.code != 0 {
		t.Fatal(r.err)
	}
	if out := s.ok(t, "profile list -o csv"); !strings.Contains(out, ",default,"+s.url+",work") || !strings.Contains(out, "*,lab,"+s.url+",") || strings.Contains(out, s.token) {
		t.Errorf("got %s", out)
	}
	s.ok(t, "profile use default")
	if r := s.run(t, "", "profile", "use", "nowhere"); r.code != 4 || !strings.Contains(r.err, "no profile") {
		t.Errorf("got %+v", r)
	}
}

func TestMistakesSayTheNextStep(t *testing.T) {
	s := newShell(t)
	in := login(t)
	in.ok(t, "pool create demo")
	in.ok(t, "pool create other")
	in.ok(t, "device create kept --pool other")
	for _, c := range []struct {
		in   *shell
		line string
		code int
		says string
	}{
		{s, "status", 2, "signet login --server URL"},
		{s, "login", 2, "signet login --server https://HOST:8443"},
		{s, "status --server http://x --token t", 2, "https://"},
		{s, "status --server " + s.url + " --token t", 3, "--ca FILE"},
		{s, "status --server https://127.0.0.1:1 --token t", 6, "signet: https://127.0.0.1:1 is not reached: 127.0.0.1:1: connection refused\n  is signetd running there? check --server"},
		{s, "status --server " + s.url + " --ca " + s.ca + " --token t", 3, "has expired"},
		{s, "status --ca /nowhere --server " + s.url + " --token t", 4, "--ca"},
		{s, "status --profile x", 4, "no profile"},
		{s, "polo list", 2, "unknown command"},
		{s, "enroll create --pool home", 2, "did you mean signet enrollment?"},
		{s, "device lits --watch", 2, "did you mean signet device list?"},
		{s, "pool lits", 2, "unknown command"},
		{s, "pool", 2, "create"},
		{s, "pool list --nope", 2, "unknown flag"},
		{s, "pool create", 2, "signet pool create needs NAME"},
		{s, "pool create", 2, "see signet pool create --help"},
		{s, "pool create a b", 2, "\"b\" is too many"},
		{s, "polo", 2, "did you mean signet pool?"},
		{s, "device lits", 2, "did you mean signet device list?"},
		{s, "key retire -abc --pool demo", 2, "put -- before an argument that begins with -, as in: signet key retire -- -abc"},
		{s, "enrollment create --uses x", 2, `--uses "x": want a whole number`},
		{in, "enrollment create --pool demo --replace", 2, "--name"},
		{in, "enrollment create --pool demo --replace --network 192.0.2.0/24", 2, "--name-pattern"},
		{in, "enrollment create --pool demo --replace --name-pattern *", 2, "fits any name"},
		{in, "enrollment create --pool demo --name lamp-1 --name-pattern lamp-*", 2, "not for both"},
		{in, "enrollment create --pool demo --name lamp/1", 2, "character 5"},
		{in, "enrollment create --pool demo --network 192.0.2.7/24", 2, "192.0.2.0/24 is meant"},
		{in, "enrollment create --pool demo --network north", 2, "is no network"},
		{s, "enrollment create --expires 1x", 2, `--expires "1x": want such as 30d`},
		{in, "status --server " + in.url + " --token t", 3, "has expired"}, // the profile's root is believed still
		{s, "client update default", 2, "needs --flow or --audience"},
		{s, "device update a", 2, "needs --attr or --group"},
		{s, "flow create x", 2, "needs --step or --define"},
		{in, "flow create x --step hook:pin --step key --pool demo", 2, "anybody who can reach the broker could make it call your hook"},
		{s, "hook create x", 2, "needs --url"},
		{s, "token inspect sgne_x", 2, "standard input"},
		{s, "login --server localhost:8443", 2, "https://"},
		{s, "status --server https://x --token a --token-file b", 2, "give one of them"},
		{s, "status --server https://x --token a --ca-fingerprint 12", 2, "64 hex digits"},
		{s, "pool list -o xml", 2, "table, json, yaml or csv"},
		{s, "enrollment create --expires 30x", 2, "30d"},
		{in, "device list", 2, "demo, other"},
		{in, "device show lamp-1 --pool demo", 4, "not found\n  signet device list --pool demo shows what there is\n"},
		{in, "device disable lamp-1 --pool demo", 4, "  signet device list --pool demo shows what there is\n"},
		{in, "device sessions list lamp-1 --pool demo", 4, "  signet device list --pool demo shows what there is\n"},
		{in, "device sessions revoke lamp-1 01a2087e-c5af-775f-894d-42604224acef --pool demo", 4, "  signet device sessions list lamp-1 --pool demo shows what there is\n"},
		{in, "enrollment delete 39e8f701361b7b1a --pool demo", 4, "  signet enrollment list --pool demo shows what there is\n"},
		{in, "operator show eve", 4, "  signet operator list shows what there is\n"},
		{in, "device list --pool nix", 4, "pool nix: not found\n  signet pool list shows the pools there are"},
		{in, "enrollment create --pool nix", 4, "  signet pool list shows the pools there are"},
		{in, "pool show nix", 4, "  signet pool list shows the pools there are"},
		{in, "device create a.b --pool demo", 2, "name: expected string to be letters, digits"},
		{in, "device create a --attr x --pool demo", 2, "k=v"},
		{in, "flow create two --step key --step hook:pin --pool demo", 2, "create it first"},
		{in, "flow create two --pool demo", 2, "step"},
		{in, "enrollment create --pool demo --uses 0", 2, "uses: expected number >= 1"},
		{in, "enrollment create --pool demo --expires 0", 2, "expires: is 0s; leave it out for the default"},
		{in, "enrollment create --pool demo --expires 2y", 2, "an enrollment token lives 1m to 365d, not 730d"},
		{in, "client create a --pool demo --access-life 2d", 2, "access life 2d, want 5m to 1d"},
		{in, "client create a --pool demo --refresh-life 11y", 2, "want 1h to 3650d, or 0s for no refresh tokens"},
		{in, "key show nope --pool demo", 4, "signet key list"},
		{in, "pool update demo --flow nope", 2, "does not exist; create it first"},
		{in, "pool create demo", 5, "already exists\n  choose another name; signet pool list shows those that are taken\n"},
		{in, "client create default --pool demo", 5, "already exists\n  choose another name; signet client list --pool demo shows those that are taken\n"},
		{in, "pool delete other", 5, "pool other has 1 device and 0 enrollment tokens, which go with it for good; force it if that is meant\n"},
		{in, "pool delete other", 5, ": signet pool delete other --force"},
	} {
		t.Run(c.line, func(t *testing.T) {
			r := c.in.run(t, "", strings.Fields(c.line)...)
			if r.code != c.code || !strings.Contains(r.err, c.says) || r.out != "" {
				t.Errorf("got %+v, want exit %d and %q", r, c.code, c.says)
			}
		})
	}
}

func TestOperatorsDay(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	token := s.ok(t, "enrollment create --uses 100 --expires 30d --group lab --attr site=berlin")
	if !strings.HasPrefix(token, "sgne_") || strings.Count(token, "\n") != 1 {
		t.Errorf("not the token alone: %q", token)
	}
	r := s.run(t, token, "token", "inspect", "-")
	if r.code != 0 || !strings.Contains(r.out, "enrollment token  id ") || strings.Contains(r.out, strings.TrimSpace(token)) {
		t.Errorf("inspect: %+v", r)
	}
	var tokens []adminapi.EnrollmentToken
	if err := json.Unmarshal([]byte(s.ok(t, "enrollment list -o json")), &tokens); err != nil || len(tokens) != 1 || tokens[0].Uses != 100 {
		t.Errorf("got %v, %v", tokens, err)
	}
	s.ok(t, "device create lamp-1 --group lab --attr site=berlin --pending")
	s.ok(t, "device approve lamp-1")
	if out := s.ok(t, "device disable lamp-1 -o yaml"); !strings.Contains(out, "status: disabled") {
		t.Errorf("got %s", out)
	}
	s.ok(t, "device enable lamp-1")
	s.ok(t, "device revoke lamp-1")
	s.ok(t, "device sessions list lamp-1")
	s.ok(t, "device sessions revoke lamp-1")
	if out := s.ok(t, "device list -o csv"); !strings.HasPrefix(out, "NAME,STATUS,") || !strings.Contains(out, "\nlamp-1,active,") {
		t.Errorf("got %s", out)
	}
	if r := s.run(t, "", "pool", "delete", "demo"); !strings.Contains(r.err, "pool demo has 1 device and 1 enrollment token, which go with it for good") {
		t.Errorf("got %+v", r)
	}
	if out := s.ok(t, "device show lamp-1"); !strings.Contains(out, "IDS ") {
		t.Errorf("no id of its key: %s", out)
	}
	if out := s.ok(t, "device list --count"); out != "1\n" {
		t.Errorf("got %q", out)
	}
	if out := s.ok(t, "hook create pin --url https://hooks.example/pin --timeout 500ms"); !strings.HasPrefix(out, "whsec_") {
		t.Errorf("got %q", out)
	}
	s.ok(t, "flow create two --step key --step hook:pin")
	s.ok(t, "client update default --flow two --refresh-life 60d")
	if out := s.ok(t, "client show default"); !strings.Contains(out, "60d") || !strings.Contains(out, "1h") {
		t.Errorf("got %s", out)
	}
	var key adminapi.Key
	if err := json.Unmarshal([]byte(s.ok(t, "key rotate -o json")), &key); err != nil || key.State != "next" {
		t.Fatalf("got %+v, %v", key, err)
	}
	s.ok(t, "key activate "+key.ID)
	if out := s.ok(t, "key list"); strings.Count(out, "verifying") != 1 || strings.Count(out, "active") != 1 {
		t.Errorf("got %s", out)
	}
	var keys []adminapi.Key
	if err := json.Unmarshal([]byte(s.ok(t, "key list -o json")), &keys); err != nil || len(keys) != 2 {
		t.Fatalf("got %+v, %v", keys, err)
	}
	for _, k := range keys { // what list says is when retire lets it go
		if (k.State == "verifying") != (k.Retirable != nil) {
			t.Errorf("key %s is %s, retirable %v", k.ID, k.State, k.Retirable)
		}
		if k.State != "verifying" {
			continue
		}
		if r := s.run(t, "", "key", "retire", k.ID); r.code == 0 || !strings.Contains(r.err, k.Retirable.UTC().Format(time.RFC3339)) {
			t.Errorf("retire says %q, list %v", r.err, k.Retirable)
		}
		if out := s.ok(t, "key retire "+k.ID+" --force"); !strings.Contains(out, "gone") {
			t.Errorf("retired: %s", out)
		}
	}
	if out := s.ok(t, "key list"); strings.Contains(out, "verifying") {
		t.Errorf("after it is gone: %s", out)
	}
	s.ok(t, "device delete lamp-1")
	s.ok(t, "pool delete demo --force")
}

func TestClientDefaults(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	if out := s.ok(t, "client create app"); !strings.Contains(out, "app  -     demo       1h      30d      5m") {
		t.Errorf("got %s", out)
	}
	if out := s.ok(t, "client create none --refresh-life 0 --access-life 5m --grace 0"); !strings.Contains(out, "5m      none     none") {
		t.Errorf("got %s", out)
	}
	if out := s.ok(t, "client update none --refresh-life 10y"); !strings.Contains(out, "5m      3650d    none") {
		t.Errorf("got %s", out)
	}
}

func TestShowIsTheWholeThing(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	var p adminapi.Pool
	if err := json.Unmarshal([]byte(s.ok(t, "pool show demo -o json")), &p); err != nil || len(p.AnchorThumbprint) != 64 {
		t.Fatalf("got %+v, %v", p, err)
	}
	if out := s.ok(t, "pool show demo"); !strings.Contains(out, "\nANCHOR          "+p.AnchorThumbprint+"\n") {
		t.Errorf("got %s", out)
	}
	s.ok(t, "device create lamp-1 --group lab")
	s.ok(t, "flow create two --step key --step psk")
	s.ok(t, "hook create pin --url https://hooks.example/pin")
	id, _, _ := strings.Cut(s.ok(t, "enrollment list -o csv"), "\n")
	if !strings.HasPrefix(id, "ID,USED") {
		t.Errorf("got %s", id)
	}
	for _, line := range []string{
		"device show lamp-1", "flow show two", "hook show pin", "client show default", "operator show ada",
		"pool update demo --flow two", "hook update pin --timeout 1s",
	} {
		if out := s.ok(t, line); strings.Count(out, "\n") < 2 {
			t.Errorf("%s: got %s", line, out)
		}
	}
	if out := s.ok(t, "hook update pin --new-secret"); !strings.HasPrefix(out, "whsec_") {
		t.Errorf("got %s", out)
	}
}

func TestEnrollmentTokensCanGrow(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	var made adminapi.EnrollmentToken
	if err := json.Unmarshal([]byte(s.ok(t, "enrollment create -o json")), &made); err != nil {
		t.Fatal(err)
	}
	if out := s.ok(t, "enrollment update "+made.ID+" --uses 5 --expires 30d"); !strings.Contains(out, "0 of 5  2026-01-31") {
		t.Errorf("got %s", out)
	}
	if out := s.ok(t, "enrollment show "+made.ID); !strings.Contains(out, "USED        0 of 5") || strings.Contains(out, made.Token) {
		t.Errorf("got %s", out)
	}
	s.ok(t, "enrollment delete "+made.ID)
}

// TestEveryCommandHelpsItself: each command has an example, and completion for the
// three shells knows commands, formats and what the broker has.
func TestEveryCommandHelpsItself(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	s.ok(t, "device create lamp-1")
	leaves := 0
	var walk func(path string)
	walk = func(path string) {
		out := s.ok(t, strings.TrimSpace(path+" --help"))
		below := false
		for _, line := range strings.Split(s.ok(t, "__complete "+path+" "+emptyWord), "\n") {
			name, about, ok := strings.Cut(line, "\t")
			if ok && about != "" && name != "help" && name != "completion" && !strings.HasPrefix(name, "-") {
				below = true
				walk(strings.TrimSpace(path + " " + name))
			}
		}
		if !below {
			leaves++
			if !strings.Contains(out, "Examples:\n  signet") {
				t.Errorf("signet %s has no example", path)
			}
		}
	}
	walk("")
	if leaves < 45 {
		t.Errorf("only %d commands", leaves)
	}
	for line, want := range map[string]string{
		"pool list -o": "table\njson\nyaml\ncsv\n", "key rotate --alg": "ES256\nEdDSA\nRS256\n", "device list --pool": "demo\n",
		"device disable": "lamp-1\n", "pool show": "demo\n", "operator delete": "ada\n", "status --profile": "default\n",
	} {
		if out := s.ok(t, "__complete "+line+" "+emptyWord); !strings.HasPrefix(out, want) {
			t.Errorf("completion after %q: got %q", line, out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := s.ok(t, "completion "+shell); !strings.Contains(out, "signet") {
			t.Errorf("%s: got %s", shell, out)
		}
	}
}

// TestScopedOperators: who may less is told what it lacks, whom to ask, and what it may.
func TestScopedOperators(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	s.ok(t, "pool create other")
	for line, want := range map[string]string{"--scope": "read\tsee all but secrets\nenroll\t", "bob --pool": "demo\nother\n"} {
		if out := s.ok(t, "__complete operator create "+line+" "+emptyWord); !strings.HasPrefix(out, want) {
			t.Errorf("completion after %q: got %q", line, out)
		}
	}
	if r := s.run(t, "", "operator", "create", "eve", "--scope", "root"); r.code != 2 || !strings.Contains(r.err, "read, enroll, write, admin") {
		t.Errorf("unknown scope: %+v", r)
	}
	s.token = strings.TrimSpace(s.ok(t, "operator create eve"))
	bob := s.run(t, "", "operator", "create", "bob", "--scope", "write", "--pool", "other", "--pool", "demo")
	if bob.code != 0 || !strings.Contains(bob.err, "operator bob with scope write in pools demo, other until ") {
		t.Errorf("got %+v", bob)
	}
	list := s.ok(t, "operator list -o csv")
	for _, line := range []string{"NAME,SCOPE,POOLS,EXPIRES,CREATED\n", "\nada,admin,all,", "\nbob,write,\"demo, other\",", "\neve,read,all,"} {
		if !strings.Contains(list, line) {
			t.Errorf("no %q in %s", line, list)
		}
	}
	s.env["SIGNET_TOKEN"], s.env["SIGNET_SERVER"], s.env["SIGNET_CA"] = s.token, s.url, s.ca
	if out := s.ok(t, "status"); !strings.Contains(out, "eve") || !strings.Contains(out, "read") {
		t.Errorf("status: %s", out)
	}
	r := s.run(t, "", "device", "create", "lamp-1", "--pool", "demo")
	if r.code != 3 || !strings.Contains(r.err, "this needs scope enroll; operator eve has read") || !strings.Contains(r.err, "signet operator create NAME --scope SCOPE") {
		t.Errorf("not allowed: %+v", r)
	}
	s.env["SIGNET_TOKEN"] = strings.TrimSpace(bob.out)
	if out := s.ok(t, "pool list -o csv"); strings.Count(out, "\n") != 3 {
		t.Errorf("pools: %s", out)
	}
	if r := s.run(t, "", "pool", "create", "third"); r.code != 3 || !strings.Contains(r.err, "this is about all pools; operator bob is bound to demo, other") {
		t.Errorf("not his: %+v", r)
	}
}

// TestOperatorsCanBeChanged: by their commands; whoever asks for what only one's own token can
// give back must force it.
func TestOperatorsCanBeChanged(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	s.ok(t, "operator create ci --scope write")
	if out := s.ok(t, "operator update ci --scope enroll --pool demo -o csv"); !strings.Contains(out, "\nci,enroll,demo,") {
		t.Errorf("got %s", out)
	}
	if out := s.ok(t, "operator update ci --all-pools -o csv"); !strings.Contains(out, "\nci,enroll,all,") {
		t.Errorf("got %s", out)
	}
	if out := s.ok(t, "operator show ci"); !strings.Contains(out, "enroll") {
		t.Errorf("got %s", out)
	}
	for line, says := range map[string]string{
		"operator update ci":                          "needs --scope or --pool or --all-pools",
		"operator update ci --pool demo --all-pools":  "not both",
		"operator update ada --scope read --force":    "is the last admin of all pools",
		"operator update nobody --scope read":         "not found",
		"operator update ci --scope read --pool none": "create it first",
	} {
		if r := s.run(t, "", strings.Fields(line)...); r.code == 0 || !strings.Contains(r.err, says) {
			t.Errorf("%s: %+v", line, r)
		}
	}
	s.ok(t, "operator create eve --scope admin")
	if r := s.run(t, "", "operator", "update", "ada", "--scope", "read"); r.code != 5 || !strings.Contains(r.err, "operator ada is you") || !strings.Contains(r.err, ": signet operator update ada --scope read --force") {
		t.Errorf("oneself: %+v", r)
	}
	s.ok(t, "operator update ada --scope read --force")
	if r := s.run(t, "", "operator", "update", "ada", "--scope", "admin"); r.code != 3 || !strings.Contains(r.err, "needs scope admin") {
		t.Errorf("back again: %+v", r)
	}
}

// TestTheLastAdminsEndIsSaid: at login and by status while there is time, and at once to who makes
// the only one.
func TestTheLastAdminsEndIsSaid(t *testing.T) {
	s := login(t)
	const says = "warning: the token of ada, the last admin of all pools, expires on "
	if r := s.run(t, "", "status"); r.code != 0 || strings.Contains(r.err, "warning") {
		t.Errorf("too early: %+v", r)
	}
	s.Clock.Advance(50 * time.Minute)
	if r := s.run(t, "", "status"); r.code != 0 || strings.Count(r.err, "warning:") != 1 || !strings.Contains(r.err, says) {
		t.Errorf("status: %+v", r)
	}
	if r := s.run(t, s.token+"\n", "login", "--server", s.url, "--ca", s.ca); r.code != 0 || !strings.Contains(r.err, says) {
		t.Errorf("login: %+v", r)
	}
	if r := s.run(t, "", "operator", "create", "eve", "--scope", "admin"); r.code != 0 || strings.Contains(r.err, "warning") {
		t.Errorf("a second one: %+v", r)
	}
	if r := s.run(t, "", "status"); strings.Contains(r.err, "last admin") || !strings.Contains(r.err, "warning: your token expires on ") {
		t.Errorf("with another one: %+v", r)
	}
}

func TestLoginByFingerprint(t *testing.T) {
	s := newShell(t)
	block, _ := pem.Decode(read(t, s.ca))
	sum := sha256.Sum256(block.Bytes)
	pin := hex.EncodeToString(sum[:])
	file := filepath.Join(s.home, "token")
	write(t, file, []byte(s.token+"\n"))
	if r := s.run(t, "", "login", "--server", s.url, "--ca-fingerprint", strings.Repeat("0", 64), "--token-file", file); r.code != 3 || !strings.Contains(r.err, "another broker") {
		t.Errorf("another fingerprint: %+v", r)
	}
	if r := s.run(t, "", "login", "--server", s.url, "--ca-fingerprint", "SHA256:"+strings.ToUpper(pin), "--token-file", file, "--profile", "lab"); r.code != 0 {
		t.Fatalf("login: %+v", r)
	}
	s.ok(t, "status --profile lab")
	s.env["SIGNET_PROFILE"] = "lab"
	s.ok(t, "status")
	r := s.run(t, "wrong\n", "login", "--server", s.url, "--ca-fingerprint", pin)
	if r.code != 3 || !strings.Contains(r.err, "signetd operator create") {
		t.Errorf("wrong token: %+v", r)
	}
	s.env["SIGNET_TOKEN_FILE"] = file
	s.ok(t, "status --server "+s.url+" --ca-fingerprint "+pin)
}

// TestNoTokenBelowTheWorkingFolder: a relative HOME is no place for an operator's token.
func TestNoTokenBelowTheWorkingFolder(t *testing.T) {
	for _, env := range []map[string]string{{"HOME": "rel"}, {"HOME": "."}, {"XDG_CONFIG_HOME": "rel"}, {"HOME": "rel", "XDG_CONFIG_HOME": "rel"}} {
		s := newShell(t)
		t.Chdir(t.TempDir())
		s.env = env
		r := s.run(t, s.token+"\n", "login", "--server", s.url, "--ca", s.ca)
		if r.code != 2 || !strings.Contains(r.err, "no place for profiles") || !strings.Contains(r.err, "SIGNET_TOKEN") {
			t.Errorf("%v: %+v", env, r)
		}
		if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
			t.Errorf("%v: login left %v, %v", env, left, err)
		}
	}
}

func TestLogoutForgetsTheToken(t *testing.T) {
	s := newShell(t)
	s.env["XDG_CONFIG_HOME"] = filepath.Join(s.home, "xdg")
	for _, profile := range []string{"lab", "default"} {
		if r := s.run(t, s.token+"\n", "login", "--server", s.url, "--ca", s.ca, "--profile", profile); r.code != 0 {
			t.Fatalf("login: %+v", r)
		}
	}
	s.ok(t, "logout")
	s.ok(t, "status --profile lab")
	s.ok(t, "logout --profile lab")
	if r := s.run(t, "", "logout", "--profile", "lab"); r.code != 4 || !strings.Contains(r.err, "no profile") {
		t.Errorf("twice: %+v", r)
	}
	if raw := read(t, filepath.Join(s.home, "xdg", "signet", "profiles.json")); strings.Contains(string(raw), s.token) {
		t.Error("the token is there still")
	}
}

func TestPinnedNameMustFit(t *testing.T) {
	s := newShell(t)
	block, _ := pem.Decode(read(t, s.ca))
	sum := sha256.Sum256(block.Bytes)
	url := strings.Replace(s.url, "127.0.0.1", "localhost", 1)
	if r := s.run(t, "", "status", "--server", url, "--ca-fingerprint", hex.EncodeToString(sum[:]), "--token", s.token); r.code != 3 || !strings.Contains(r.err, "localhost") {
		t.Errorf("got %+v", r)
	}
}

func TestDeviceKeyFromAFile(t *testing.T) {
	s, key := login(t), newSigner(t)
	s.ok(t, "pool create demo")
	file := filepath.Join(s.home, "key")
	write(t, file, []byte(hex.EncodeToString(key.Key().MarshalCOSE())+"\n"))
	if out := s.ok(t, "device create lamp-1 --key "+file); !strings.Contains(out, "key:ES256") {
		t.Errorf("got %s", out)
	}
	write(t, file, []byte("-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n"))
	if r := s.run(t, "", "device", "create", "lamp-2", "--key", file); r.code != 2 || !strings.Contains(r.err, "must not leave the device") {
		t.Errorf("got %+v", r)
	}
}

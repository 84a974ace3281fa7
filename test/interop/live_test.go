package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A scenario is one run of the independent client.
type scenario struct {
	name    string // client.py's name of it
	device  string
	token   string // the enrollment token; that of dev.env if empty
	more    []string
	prepare [][]string          // what the operator does before
	asks    map[string][]string // and when the client asks for it
}

// TestClientInPython runs the independent client against a real signetd, with
// each kind of key, over TLS and WebSocket, through every refusal, and has
// another's library read the tokens that it got.
func TestClientInPython(t *testing.T) {
	setUp(t)
	env := serve(t)
	signet := buildSignet(t)
	door := doorHook(t, env, signet)
	waiting := enrollment(t, env, signet, "--approve")
	device := func(command string) []string { return []string{"device", command, "python-operated", "--pool", "demo"} }
	secret := strings.Repeat("5eed", 16)
	for _, s := range []scenario{
		{name: "life", device: "python-p256"},
		{name: "life", device: "python-ed25519", more: []string{"--ed25519"}},
		{name: "web", device: "python-web"},
		{name: "doubled", device: "python-doubled"},
		{name: "psk", device: "python-psk", more: []string{"--psk", secret}, prepare: [][]string{
			{"flow", "create", "shared", "--pool", "demo", "--step", "psk"}, {"client", "create", "shared", "--pool", "demo", "--flow", "shared"},
			{"device", "create", "python-psk", "--pool", "demo", "--psk-file", write(t, "psk", secret)}}},
		{name: "hook", device: "python-hook", prepare: door},
		{name: "refusals", device: "python-refusals"},
		{name: "operated", device: "python-operated", token: waiting, asks: map[string][]string{
			"approve": device("approve"), "disable": device("disable"), "enable": device("enable"), "revoke": device("revoke")}},
	} {
		t.Run(s.device, func(t *testing.T) {
			for _, args := range s.prepare {
				operate(t, env, signet, args...)
			}
			var got struct {
				Done, Issuer, JWT string
				Met               map[string]int
			}
			if err := json.Unmarshal(s.run(t, env, signet), &got); err != nil || got.Done != s.name {
				t.Fatalf("%+v: %v", got, err)
			}
			if s.name == "life" {
				if got.Issuer != env["SIGNET_SERVER"]+"/pools/demo" {
					t.Errorf("issuer %q", got.Issuer)
				}
				readLive(t, env, got.Issuer, got.JWT)
			}
			if s.name == "refusals" && len(got.Met) < 7 {
				t.Errorf("met only %v", got.Met)
			}
		})
	}
}

// run runs the client, does what it asks for, and gives its last line.
func (s scenario) run(t *testing.T, env map[string]string, signet string) []byte {
	t.Helper()
	token := s.token
	if token == "" {
		token = env["SIGNET_ENROLLMENT"]
	}
	args := append([]string{"client.py", s.name, "--broker", strings.TrimPrefix(env["SIGNET_BROKER"], "mqtts://"), "--web", strings.TrimPrefix(env["SIGNET_SERVER"], "https://"),
		"--ca", env["SIGNET_CA"], "--pool", "demo", "--name", s.device, "--token", token}, s.more...)
	c := exec.CommandContext(t.Context(), python, args...)
	c.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var last []byte
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = bytes.Clone(lines.Bytes())
		var asked struct{ Step string }
		if json.Unmarshal(last, &asked) == nil && asked.Step != "" {
			operate(t, env, signet, s.asks[asked.Step]...)
			if _, err := io.WriteString(in, "done\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", s.name, err, last, errs.String())
	}
	return last
}

// operate runs the operators' program and gives what it prints.
func operate(t *testing.T, env map[string]string, signet string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), signet, args...)
	c.Env = os.Environ()
	for _, name := range []string{"SIGNET_SERVER", "SIGNET_TOKEN", "SIGNET_CA"} {
		c.Env = append(c.Env, name+"="+env[name])
	}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("signet %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// enrollment makes an enrollment token.
func enrollment(t *testing.T, env map[string]string, signet string, more ...string) string {
	t.Helper()
	out := operate(t, env, signet, append([]string{"enrollment", "create", "--pool", "demo"}, more...)...)
	token := regexp.MustCompile(`sgne_[A-Za-z0-9_-]{59}`).FindString(out)
	if token == "" {
		t.Fatalf("no token in %q", out)
	}
	return token
}

// doorHook serves the demonstration's webhook, whose secret the broker makes, and
// gives what else the operator does for a client with a second challenge.
func doorHook(t *testing.T, env map[string]string, signet string) [][]string {
	t.Helper()
	address, program := freePort(t), filepath.Join(t.TempDir(), "doorhook")
	run(t, "../..", "go", "build", "-o", program, "./test/demo/doorhook")
	out := operate(t, env, signet, "hook", "create", "door", "--pool", "demo", "--url", "http://"+address+"/", "-o", "json")
	c := exec.Command(program, "-listen", address, "-secret", regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`).FindString(out), "-code", "4711")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return [][]string{{"flow", "create", "two", "--pool", "demo", "--step", "key", "--step", "hook:door"}, {"client", "create", "doors", "--pool", "demo", "--flow", "two"}}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readLive verifies a token with python3-jwt and the pool's published keys.
func readLive(t *testing.T, env map[string]string, issuer, jwt string) {
	t.Helper()
	jwks := fetch(t, env["SIGNET_CA"], issuer+"/.well-known/jwks.json")
	file := filepath.Join(t.TempDir(), "live.json")
	raw, err := json.Marshal(map[string]any{
		"issuer": issuer, "audience": "demo", "jwks": string(jwks),
		"valid":   []map[string]string{{"form": "jwt", "class": "access", "name": "live", "token": jwt}},
		"invalid": []map[string]string{{"form": "jwt", "class": "access", "name": "live, changed", "token": jwt[:len(jwt)-10] + "AAAAAAAAAA"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	var v verdicts
	if err := json.Unmarshal(run(t, "", python, "verify.py", file, strconv.FormatInt(time.Now().Unix(), 10)), &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Valid) != 1 || !v.Valid[0].Accepted || len(v.Invalid) != 1 || v.Invalid[0].Accepted {
		t.Errorf("python3-jwt says %+v", v)
	}
}

func fetch(t *testing.T, ca, url string) []byte {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, res.Status, err)
	}
	return body
}

// serve builds signetd, runs it and gives what it left in dev.env.
func serve(t *testing.T) map[string]string {
	t.Helper()
	return serveWith(t, build(t, "./broker/cmd/signetd")).env
}

// build builds programs, and gives the folder that they are in.
func build(t *testing.T, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "../..", "go", append([]string{"build", "-o", dir}, programs...)...)
	return dir
}

// A served is a signetd that runs.
type served struct {
	env         map[string]string // what it left in dev.env
	mqtt, https string            // where it listens
	log         *written
}

// serveWith runs the signetd in that folder, with more in its environment.
func serveWith(t *testing.T, programs string, environ ...string) *served {
	t.Helper()
	dir := t.TempDir()
	s := &served{mqtt: freePort(t), https: freePort(t)}
	var exited <-chan struct{}
	s.log, exited = start(t, environ, filepath.Join(programs, "signetd"), "serve", "--dev", "--data", filepath.Join(dir, "data"),
		"--listen-mqtt", s.mqtt, "--listen-https", s.https, "--listen-health", freePort(t))
	s.env = waitFor(t, filepath.Join(dir, "data", "dev.env"), exited)
	return s
}

// start runs a server until the test ends, and gives what it says.
func start(t *testing.T, environ []string, program string, args ...string) (log *written, exited <-chan struct{}) {
	t.Helper()
	c := exec.Command(program, args...)
	c.Env = append(os.Environ(), environ...)
	log = new(written)
	c.Stdout, c.Stderr = log, log
	c.WaitDelay = time.Second // for what its own children have to say
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { _ = c.Wait(); close(over) }()
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		<-over
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(program), log.from(0))
		}
	})
	return log, over
}

// written is what a program has written so far.
type written struct {
	mu  sync.Mutex // guards all
	all []byte
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, p...)
	return len(p), nil
}

func (w *written) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

func (w *written) from(at int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.all[at:])
}

// freePort gives an address on loopback that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // nothing was accepted
	return ln.Addr().String()
}

// waitFor waits until signetd has written path to its end; it listens by then.
func waitFor(t *testing.T, path string, exited <-chan struct{}) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if env := readEnv(path); env["SIGNET_ENROLLMENT"] != "" {
			return env
		}
		select {
		case <-exited:
			t.Fatal("signetd has ended")
		case <-ctx.Done():
			t.Fatalf("signetd did not write %s", path)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// readEnv gives the complete lines of path; none while it is not there.
func readEnv(path string) map[string]string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	env := make(map[string]string)
	for line := range strings.Lines(string(raw)) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok && strings.HasSuffix(line, "\n") {
			env[k] = v
		}
	}
	return env
}

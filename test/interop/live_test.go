package interop

import (
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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestClientInPython runs the independent client against a real signetd, with
// both kinds of key, and has another's library read the tokens that it got.
func TestClientInPython(t *testing.T) {
	needPython(t)
	env := serve(t)
	broker := strings.TrimPrefix(env["SIGNET_BROKER"], "mqtts://")
	for _, key := range []struct {
		name string
		args []string
	}{{"p256", nil}, {"ed25519", []string{"--ed25519"}}} {
		t.Run(key.name, func(t *testing.T) {
			args := []string{"client.py", "--broker", broker, "--ca", env["SIGNET_CA"], "--pool", "demo", "--name", "python-" + key.name, "--token", env["SIGNET_ENROLMENT"]}
			var got struct {
				Issuer, JWT string
				Offset      int `json:"clock_offset"`
			}
			if err := json.Unmarshal(run(t, "", python, append(args, key.args...)...), &got); err != nil {
				t.Fatal(err)
			}
			if got.Issuer != env["SIGNET_SERVER"]+"/pools/demo" {
				t.Errorf("issuer %q", got.Issuer)
			}
			readLive(t, env, got.Issuer, got.JWT)
		})
	}
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
	dir := t.TempDir()
	program := filepath.Join(dir, "signetd")
	run(t, "../..", "go", "build", "-o", program, "./broker/cmd/signetd")
	mqtt, https, health := freePort(t), freePort(t), freePort(t)
	c := exec.Command(program, "serve", "--dev", "--data", filepath.Join(dir, "data"), "--listen-mqtt", mqtt, "--listen-https", https, "--listen-health", health)
	var log strings.Builder
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = c.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		<-exited
		if t.Failed() {
			t.Logf("signetd: %s", log.String())
		}
	})
	return waitFor(t, filepath.Join(dir, "data", "dev.env"), exited)
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
		if env := readEnv(path); env["SIGNET_ENROLMENT"] != "" {
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

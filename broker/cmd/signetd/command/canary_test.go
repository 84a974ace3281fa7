package command

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/broker/config"
)

// A fleet is the real programs around one broker that logs all it can, and all
// that they said where no secret belongs.
type fleet struct {
	dir, bin string
	env      map[string]string // what the broker left for scripts
	broker   *exec.Cmd
	said     map[string][]byte   // by who said it
	canaries map[string][][]byte // secrets by name, in every form they might be written
}

// plant remembers a secret, and the bytes that its text stands for.
func (f *fleet) plant(name, text string, raw []byte) {
	var forms [][]byte
	if text != "" {
		forms = append(forms, []byte(text))
	}
	if len(raw) >= 8 {
		forms = append(forms, raw, []byte(hex.EncodeToString(raw)), []byte(strings.ToUpper(hex.EncodeToString(raw))),
			[]byte(strings.Trim(fmt.Sprint(raw), "[]")), // how fmt writes bytes
			[]byte(base64.RawStdEncoding.EncodeToString(raw[:len(raw)/3*3])), []byte(base64.RawURLEncoding.EncodeToString(raw[:len(raw)/3*3])))
	}
	f.canaries[name] = append(f.canaries[name], forms...)
}

func (f *fleet) say(who string, what []byte) {
	f.said[who] = append(f.said[who], what...)
}

// run runs a program. What it writes to standard error must hold no secret; its
// output is the caller's to judge.
func (f *fleet) run(t *testing.T, in string, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(f.bin, program), args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = strings.NewReader(in), &out, &errs, f.dir
	for k, v := range f.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Env = append(cmd.Env, "HOME="+f.dir, "PATH="+os.Getenv("PATH"))
	err := cmd.Run()
	line := program + " " + strings.Join(args[:min(2, len(args))], " ")
	t.Logf("%s: %v %.120s", line, err, errs.String())
	f.say("standard error of "+line, errs.Bytes())
	return strings.TrimSpace(out.String())
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{dir: t.TempDir(), bin: t.TempDir(), env: map[string]string{}, said: map[string][]byte{}, canaries: map[string][][]byte{}}
	build := exec.Command("go", "build", "-o", f.bin+string(filepath.Separator), "..", "../../signet", "../../../../agent/cmd/signet-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	data := filepath.Join(f.dir, "data")
	f.broker = exec.Command(filepath.Join(f.bin, "signetd"), "serve", "--dev", "--data", data,
		"--listen-mqtt", "127.0.0.1:0", "--listen-https", "127.0.0.1:0", "--listen-health", "127.0.0.1:0")
	f.broker.Env = []string{"SIGNET_LOG_LEVEL=debug", "SIGNET_HEALTH_PROFILES=true", "HOME=" + f.dir}
	log, err := os.Create(filepath.Join(f.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	f.broker.Stderr = log
	if err := f.broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.broker.Process.Kill() // a second time, mostly
		_ = log.Close()
	})
	for range 400 {
		raw, err := os.ReadFile(filepath.Join(data, "dev.env"))
		if err == nil && bytes.Contains(raw, []byte("SIGNET_ENROLLMENT=")) {
			for line := range strings.Lines(string(raw)) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
				f.env[k] = v
			}
			return f
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("signetd does not start")
	return nil
}

// TestNoSecretIsTold: operators, devices and strangers do what they do, rightly and
// wrongly, with the log at its loudest, and no secret is in what is written about it.
func TestNoSecretIsTold(t *testing.T) {
	f := newFleet(t)
	f.plantBroker(t)
	f.operators(t)
	f.devices(t)
	f.hooks(t)
	f.strangers(t)
	f.health(t)
	if err := f.broker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := f.broker.Wait(); err != nil {
		t.Errorf("signetd ended with %v", err)
	}
	for who, name := range map[string]string{"the log": "log", "the store": "data/" + config.StoreFile} {
		raw, err := os.ReadFile(filepath.Join(f.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		f.say(who, raw)
	}
	if log := f.said["the log"]; !bytes.Contains(log, []byte("level=DEBUG")) || !bytes.Contains(log, []byte("authenticated")) || !bytes.Contains(log, []byte("status=401")) {
		t.Errorf("the log is not as loud as it should be:\n%s", log)
	}
	if len(f.canaries) < 15 {
		t.Errorf("only %d secrets planted", len(f.canaries))
	}
	for name, forms := range f.canaries {
		if len(forms) == 0 {
			t.Errorf("%s: nothing to look for", name)
		}
		for _, form := range forms {
			for who, text := range f.said {
				if i := bytes.Index(text, form); i >= 0 {
					t.Errorf("%s is in %s, after %q", name, who, text[max(0, i-60):i])
				}
			}
		}
	}
}

// plantBroker reads the broker's own secrets from its folder.
func (f *fleet) plantBroker(t *testing.T) {
	kek, err := os.ReadFile(filepath.Join(f.dir, "data", config.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	f.plant("key-encryption key", "", kek)
	for _, name := range []string{"root.key", "intermediate.key"} {
		f.plantKey(t, name, filepath.Join(f.dir, "data", config.CAFolder, name))
	}
	f.plant("development operator's token", f.env["SIGNET_TOKEN"], nil)
	f.plant("development enrollment token", f.env["SIGNET_ENROLLMENT"], nil)
}

// plantKey plants a private key in PEM: its base64 and the scalar in it.
func (f *fleet) plantKey(t *testing.T, name, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	f.plant(name, strings.Split(string(raw), "\n")[2], block.Bytes[36:68]) // PKCS #8 of P-256
}

func (f *fleet) operators(t *testing.T) {
	f.plant("operator's token", f.run(t, "", "signet", "operator", "create", "ada"), nil)
	f.plant("local operator's token", f.run(t, "", "signetd", "operator", "create", "eve", "--data", "data"), nil)
	f.plant("enrollment token", f.run(t, "", "signet", "enrollment", "create", "--uses", "9"), nil)
	wrong := "sgnt_" + strings.Repeat("wrong", 8) + "abc"
	f.plant("wrong token", wrong, nil)
	for _, args := range [][]string{{"status", "--token", wrong}, {"login", "--server", f.env["SIGNET_SERVER"]}, {"token", "inspect", wrong}, {"device", "show", "x", "--token", wrong}} {
		f.say("output of signet "+args[0], []byte(f.run(t, wrong+"\n", "signet", args...)))
	}
	f.run(t, f.env["SIGNET_TOKEN"]+"\n", "signet", "login", "--server", f.env["SIGNET_SERVER"])
	f.say("output of signet operator list", []byte(f.run(t, "", "signet", "operator", "list", "-o", "json")))
	f.say("output of signet enrollment list", []byte(f.run(t, "", "signet", "enrollment", "list", "-o", "json")))
}

func (f *fleet) devices(t *testing.T) {
	psk := strings.Repeat("5ec2e7", 10) + "beef"
	raw, err := hex.DecodeString(psk)
	if err != nil {
		t.Fatal(err)
	}
	f.plant("shared key", psk, raw)
	if err := os.WriteFile(filepath.Join(f.dir, "psk"), []byte(psk), 0o600); err != nil {
		t.Fatal(err)
	}
	f.run(t, "", "signet", "device", "create", "meter-1", "--psk-file", "psk")
	f.run(t, psk[:40], "signet", "device", "create", "meter-2", "--psk-file", "-")
	f.run(t, "", "signet", "flow", "create", "shared", "--step", "psk")
	f.run(t, "", "signet", "client", "create", "meters", "--flow", "shared")
	var pool struct{ AnchorThumbprint string }
	if err := json.Unmarshal([]byte(f.run(t, "", "signet", "pool", "show", "demo", "-o", "json")), &pool); err != nil {
		t.Fatal(err)
	}
	enroll := func(name string, args ...string) {
		f.say("output of signet-agent enroll", []byte(f.run(t, "", "signet-agent", append([]string{"enroll", "--broker", f.env["SIGNET_BROKER"],
			"--ca", f.env["SIGNET_CA"], "--pool", "demo", "--name", name, "--state", name}, args...)...)))
	}
	enroll("meter-1", "--psk-file", "psk", "--client", "meters", "--anchor", pool.AnchorThumbprint)
	enroll("lamp-1", "--token", f.env["SIGNET_ENROLLMENT"])
	enroll("lamp-2", "--token", f.env["SIGNET_ENROLLMENT"][:40]+"AAAA"+f.env["SIGNET_ENROLLMENT"][44:])
	for _, name := range []string{"lamp-1", "meter-1"} {
		for _, format := range []string{"jwt", "cwt"} {
			for _, kind := range []string{"access", "id"} {
				text := f.run(t, "", "signet-agent", "token", "--state", name, "--format", format, "--type", kind)
				if text != "" {
					f.plant(name+"'s "+kind+" token, "+format, text[len(text)-40:], nil)
				}
			}
		}
		dir, err := keyfile.View(filepath.Join(f.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		record, err := dir.Load(t.Context())
		if err != nil || len(record.Refresh) == 0 {
			t.Fatalf("%s has no refresh token: %v", name, err)
		}
		f.plant(name+"'s refresh token", "", record.Refresh)
		for _, verb := range []string{"status", "check", "bugreport"} {
			f.say("output of signet-agent "+verb, []byte(f.run(t, "", "signet-agent", verb, "--state", name)))
		}
	}
	f.plantKey(t, "lamp-1's private key", filepath.Join(f.dir, "lamp-1", "device.key"))
	f.run(t, "", "signet", "device", "disable", "lamp-1")
	f.say("output of signet-agent check", []byte(f.run(t, "", "signet-agent", "check", "--state", "lamp-1")))
}

// hooks has a webhook fail with a secret in its answer, about a secret answer.
func (f *fleet) hooks(t *testing.T) {
	const told, answered = "told-by-the-hook-5ec2e7", "answered-by-the-device-5ec2e7"
	f.plant("hook's words", told, nil)
	f.plant("device's answer", answered, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && bytes.Contains(body, []byte(`"verify"`)) {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprintf(w, `{"public":{"ask":"code"},"private":{"code":"%s"},"broken":`, told)
	}))
	defer server.Close()
	secret := f.run(t, "", "signet", "hook", "create", "pin", "--url", server.URL)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(raw) != 32 {
		t.Fatalf("hook secret: %v", err)
	}
	f.plant("hook's secret", secret, raw)
	f.run(t, "", "signet", "flow", "create", "pins", "--step", "key", "--step", "hook:pin")
	f.run(t, "", "signet", "client", "create", "doors", "--flow", "pins")
	answer := filepath.Join(f.dir, "answer")
	if err := os.WriteFile(answer, []byte("#!/bin/sh\necho "+answered+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.say("output of signet-agent enroll", []byte(f.run(t, "", "signet-agent", "enroll", "--broker", f.env["SIGNET_BROKER"], "--ca", f.env["SIGNET_CA"], "--pool", "demo",
		"--name", "door-1", "--state", "door-1", "--client", "doors", "--answer-command", answer, "--token", f.env["SIGNET_ENROLLMENT"])))
}

// strangers sends secrets where they do not belong.
func (f *fleet) strangers(t *testing.T) {
	const lost = "a-secret-in-the-wrong-place-5ec2e7"
	f.plant("misplaced secret", lost, nil)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, c := range []struct{ method, path, auth, body string }{
		{"GET", "/api/v1/pools?token=" + lost, "", ""},
		{"GET", "/api/v1/pools", "Bearer " + lost, ""},
		{"GET", "/api/v1/pools", "Basic " + lost, ""},
		{"POST", "/api/v1/pools/demo/devices", "Bearer " + f.env["SIGNET_TOKEN"], `{"name":"a","key":"` + lost + `"}`},
		{"POST", "/api/v1/pools/demo/devices", "Bearer " + f.env["SIGNET_TOKEN"], `{"name":"a","psk":"` + lost + `"}`},
		{"POST", "/api/v1/pools/demo/devices", "Bearer " + f.env["SIGNET_TOKEN"], `{"name":"a","psk":` + lost},
		{"POST", "/api/v1/pools/demo/devices", "Bearer " + f.env["SIGNET_TOKEN"], lost},
		{"POST", "/pools/demo/oauth2/token", "", "refresh_token=" + lost},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, f.env["SIGNET_SERVER"]+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", c.auth)
		req.Header.Set("Content-Type", "application/json")
		f.ask(t, web, req)
	}
	for _, packets := range [][]byte{
		append(connect("demo:lamp-1", "demo:lamp-1", lost), publish("devices/demo/lamp-1/x", lost)...),
		append(connect("anon-"+strings.Repeat("0f", 16), "", ""), publish("signet/v1/anon-"+strings.Repeat("0f", 16)+"/rq", lost)...),
		append(connect("anon-"+strings.Repeat("0e", 16), "", ""), publish("elsewhere", lost)...),
		[]byte(lost),
	} {
		c, err := tls.Dial("tcp", strings.TrimPrefix(f.env["SIGNET_BROKER"], "mqtts://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(packets); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil { // long enough to be read
			t.Fatal(err)
		}
		got, _ := io.ReadAll(io.LimitReader(c, 4096)) // cut off, mostly
		f.say("answers of the MQTT server", got)
		_ = c.Close()
	}
}

func (f *fleet) ask(t *testing.T, c *http.Client, req *http.Request) string {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	f.say("answers of "+req.URL.Path, raw)
	return string(raw)
}

// health reads all that is told without asking who asks.
func (f *fleet) health(t *testing.T) {
	log, err := os.ReadFile(filepath.Join(f.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(log), "health=")
	addr := strings.Fields(rest)[0]
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/debug/pprof/goroutine?debug=2", "/debug/pprof/allocs?debug=1"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if f.ask(t, http.DefaultClient, req) == "" {
			t.Errorf("%s says nothing", path)
		}
	}
}

// connect is an MQTT 3.1.1 CONNECT packet (3.1).
func connect(id, user, password string) []byte {
	flags := byte(2)
	body := []byte{0, 4, 'M', 'Q', 'T', 'T', 4}
	if user != "" {
		flags |= 0xc0
	}
	body = append(body, flags, 0, 30)
	body = field(body, id)
	if user != "" {
		body = field(field(body, user), password)
	}
	return append([]byte{0x10, byte(len(body))}, body...)
}

// publish is a PUBLISH packet of QoS 0 (3.3).
func publish(topic, payload string) []byte {
	body := append(field(nil, topic), payload...)
	return append([]byte{0x30, byte(len(body))}, body...)
}

func field(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

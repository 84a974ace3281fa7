package command

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/protocol"
)

func run(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func enrollToken(t *testing.T) string {
	t.Helper()
	tok, err := protocol.NewEnrollToken(bytes.Repeat([]byte{3}, 28), bytes.Repeat([]byte{4}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return tok.Reveal()
}

func TestArguments(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("STATE_DIRECTORY", "")
	large := filepath.Join(t.TempDir(), "all-roots.pem")
	if err := os.WriteFile(large, bytes.Repeat([]byte("\n"), maxCA+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"", 2, "enroll"},
		{"frobnicate", 2, "no command"},
		{"enrolll --name x", 2, "did you mean signet-agent enroll?"},
		{"Status", 2, "did you mean signet-agent status?"},
		{"credential", 2, "did you mean signet-agent credentials mqtt?"},
		{"enroll", 2, "needs --broker"},
		{"enroll --broker mqtts://h --pool Demo --name a", 2, "--pool"},
		{"enroll --broker mqtts://h --pool demo --name a/b", 2, "--name"},
		{"enroll --broker mqtts://h --pool demo --name a --key tpm", 2, "only file"},
		{"enroll --broker mqtts://h --pool demo --name a --token nonsense", 2, "copy the token again"},
		{"enroll --broker mqtts://h --pool demo --name a --ca-fingerprint 12", 2, "fingerprint"},
		{"enroll --broker mqtt://far.example --pool demo --name a", 2, "mqtts://"},
		{"status --state /nonexistent", 4, "enroll"},
		{"token --type x", 2, "access or id"},
		{"token --type id --audience b", 2, "audience is the client"},
		{"token", 4, "enroll"},
		{"run --group staff", 2, "numbers"},
		{"status extra", 2, "unexpected"},
		{"status -o yaml", 2, "text or json"},
		{"enroll --broker mqtts://h --pool demo --name a --key file:rsa", 2, "only file"},
		{"enroll --broker mqtts://h --pool demo --name a --ca /nonexistent", 4, "CA file"},
		{"enroll --broker mqtts://h --pool demo --name a --ca " + large, 2, "at most 32768"},
		{"enroll --broker mqtts://h --pool demo --name a --token @/nonexistent", 4, "enrollment token"},
		{"enroll --broker mqtts://u:p@h --pool demo --name a", 2, "mqtts://"},
		{"enroll --broker mqtts://h --pool demo --name a --anchor zz", 2, "thumbprint of the pool"},
		{"run", 4, "enroll"},
		{"check", 4, "enroll"},
		{"unenroll", 4, "enroll"},
	} {
		code, _, errs := run(t, strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(errs, tt.says) {
			t.Errorf("%q: code %d, %q", tt.args, code, errs)
		}
	}
	for _, version := range []string{"version", "--version"} {
		if code, out, _ := run(t, version); code != 0 || !strings.HasPrefix(out, "signet-agent ") {
			t.Errorf("%s: %d %q", version, code, out)
		}
	}
}

// Who has several devices is told how to name one.
func TestSeveralDevices(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_STATE_HOME", home)
	t.Setenv("STATE_DIRECTORY", "")
	for _, name := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(home, "signet", name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, "signet", name, settingsName), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range []string{"run", "status", "check", "token", "unenroll"} {
		code, _, errs := run(t, command)
		if want := "2 devices in " + filepath.Join(home, "signet") + ": a, b: name one\nhint: add --name NAME, or --state FOLDER\n"; code != 2 || !strings.HasSuffix(errs, want) {
			t.Errorf("%s: %d %q, want %q", command, code, errs, want)
		}
	}
}

// Help that was asked for goes to standard output, and nothing else happens; a
// flag that does not exist costs one line and a hint.
func TestHelp(t *testing.T) {
	for command, flag := range map[string]string{
		"enroll": "-ca-fingerprint", "run": "-group", "status": "-socket", "key": "-key", "check": "-state", "token": "-audience", "bugreport": "-name", "unenroll": "-state",
	} {
		for _, help := range []string{"-h", "--help"} {
			if code, out, errs := run(t, command, help); code != 0 || errs != "" || !strings.Contains(out, "  -"+flag) {
				t.Errorf("%s %s: %d %q %q", command, help, code, out, errs)
			}
		}
		code, out, errs := run(t, command, "--colour")
		if code != 2 || out != "" || strings.Count(errs, "\n") != 2 || !strings.Contains(errs, "-colour") || !strings.Contains(errs, "hint: ") {
			t.Errorf("%s --colour: %d %q %q", command, code, out, errs)
		}
	}
	if code, out, errs := run(t, "--help"); code != 0 || errs != "" || !strings.Contains(out, "bugreport") {
		t.Errorf("--help: %d %q %q", code, out, errs)
	}
}

// A broker that is away costs nothing but the attempt: the key stays, so that the next
// attempt is the same device's, and nothing that other commands would take for a device.
func TestEnrollWithoutBroker(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	tok := enrollToken(t)
	args := []string{"enroll", "--broker", "mqtt://127.0.0.1:1", "--pool", "demo", "--name", "lamp-1", "--token", tok, "--state", dir}
	code, _, errs := run(t, args...)
	if code != 6 || strings.Contains(errs, tok) {
		t.Fatalf("code %d: %s", code, errs)
	}
	key, err := os.ReadFile(filepath.Join(dir, "device.key"))
	if err != nil {
		t.Fatal(err)
	}
	if code, _, _ = run(t, args...); code != 6 {
		t.Fatal("no broker, yet it went well")
	}
	again, err := os.ReadFile(filepath.Join(dir, "device.key"))
	if err != nil || !bytes.Equal(key, again) {
		t.Error("the second attempt made a second identity")
	}
	for _, command := range []string{"status", "check", "run", "token"} {
		if code, _, errs := run(t, command, "--state", dir); code != 4 || !strings.Contains(errs, "no enrolled device found in "+dir) {
			t.Errorf("%s: %d %s", command, code, errs)
		}
	}
	code, out, _ := run(t, "bugreport", "--state", dir)
	if code != 0 || strings.Contains(out, tok) || strings.Contains(out, "PRIVATE") {
		t.Errorf("bugreport %d %s", code, out)
	}
	if code, out, errs = run(t, "unenroll", "--state", dir); code != 0 {
		t.Errorf("unenroll %d %s %s", code, out, errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "device.key")); err == nil {
		t.Error("the key is still there")
	}
}

// status and token prefer the running agent.
func TestAsksTheRunningAgent(t *testing.T) {
	dir, err := os.MkdirTemp("", "sa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := localapi.Listen(ctx, filepath.Join(dir, socketName), false)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- localapi.Serve(ctx, ln, nil, func(_ context.Context, r localapi.Request) localapi.Reply {
			if r.Op == "status" {
				return localapi.Reply{Status: json.RawMessage(`{"device":"demo:a","running":true,"phase":"disabled","for":2,"reason":"refused: device disabled"}`)}
			}
			return localapi.Reply{Token: r.Type + "/" + r.Format + "/" + r.Audience}
		})
	}()
	if code, out, errs := run(t, "token", "--state", dir, "--audience", "x"); code != 0 || out != "access/jwt/x\n" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if code, out, _ := run(t, "status", "--state", dir); code != 0 || out != "demo:a: disabled for 2s; refused: device disabled\n" {
		t.Errorf("%d %q", code, out)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnswerCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answer")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nread p\necho \"$1 $p\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := answerWith(path, answerTime)(t.Context(), "colour", map[string]string{"a": "b"})
	// The parameters come without a newline, so read fails but fills p.
	if err != nil || string(got) != `colour {"a":"b"}` {
		t.Errorf("%q, %v", got, err)
	}
}

package command

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// onFull runs the program with standard output on a device that takes nothing.
func (m *machine) onFull(ctx context.Context, args ...string) (code int, errs string) {
	m.t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		m.t.Skip(err)
	}
	defer full.Close()
	var e bytes.Buffer
	p := &program{in: strings.NewReader(""), out: full, err: &e, getenv: func(k string) string { return m.env[k] }, now: time.Now}
	return p.main(ctx, args), e.String()
}

// No command says that all went well when what it printed went nowhere.
func TestOutputNowhere(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	ended, end := context.WithCancel(t.Context())
	end()
	tried := map[string]bool{}
	for _, args := range [][]string{
		enrollArgs(b, dir, "--ca", b.ca(t)), {"key", "--state", dir}, {"status", "--state", dir}, {"status", "--state", dir, "-o", "json"},
		{"check", "--state", dir}, {"token", "--state", dir}, {"token", "--state", dir, "--type", "id"},
		{"credentials", "mqtt", "--state", dir}, {"credentials", "mqtt", "--state", dir, "-o", "json"}, {"credentials", "mqtt", "--state", dir, "-o", "password"},
		{"bugreport", "--state", dir}, {"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}, {"version"}, {"help"}, {"enroll", "-h"},
		{"run", "--state", dir}, {"unenroll", "--state", dir},
	} {
		ctx := t.Context()
		if args[0] == "run" {
			ctx = ended
		}
		tried[args[0]] = true
		if code, errs := m.onFull(ctx, args...); code != 1 || !strings.Contains(errs, "write the output") || !strings.Contains(errs, "no space left") || !strings.Contains(errs, "hint: what was printed is not whole") {
			t.Errorf("%v: code %d, %q", args, code, errs)
		}
	}
	m.must(append(enrollArgs(b, dir, "--ca", b.ca(t)), "--name", "lamp-9")...)
	stop := m.start(filepath.Join(dir, socketName), "--state", dir)
	defer stop()
	other := &machine{t: t}
	for _, args := range [][]string{{"status", "--state", dir}, {"check", "--state", dir}, {"token", "--state", dir}, {"credentials", "mqtt", "--state", dir}, {"bugreport", "--state", dir}} {
		if code, errs := other.onFull(t.Context(), args...); code != 1 || !strings.Contains(errs, "write the output") {
			t.Errorf("%v beside a running agent: code %d, %q", args, code, errs)
		}
	}
	for _, c := range commands() {
		if !tried[c.word()] && c.word() != "answer" { // needs a challenge that waits
			t.Errorf("%s was not tried", c.name)
		}
	}
}

package power

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A site is a development broker and the programs that talk to it.
type site struct {
	bin string
	log string            // of signetd
	env map[string]string // what signetd left for scripts
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{bin: t.TempDir(), env: map[string]string{}}
	build := exec.Command("go", "build", "-o", s.bin+string(filepath.Separator),
		"../../broker/cmd/signetd", "../../broker/cmd/signet", "../../agent/cmd/signet-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	data := filepath.Join(t.TempDir(), "data")
	broker := s.command("signetd", "serve", "--dev", "--data", data,
		"--listen-mqtt", freeAddr(t), "--listen-https", freeAddr(t), "--listen-health", freeAddr(t))
	log, err := os.Create(data + ".log")
	if err != nil {
		t.Fatal(err)
	}
	s.log = log.Name()
	broker.Stdout, broker.Stderr = log, log
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = broker.Process.Signal(syscall.SIGTERM)
		_ = broker.Wait()
		_ = log.Close()
	})
	for range 400 {
		if s.read(filepath.Join(data, "dev.env")) {
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	raw, _ := os.ReadFile(data + ".log")
	t.Fatalf("signetd does not start:\n%s", raw)
	return nil
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// read takes over what signetd left for scripts; false if it is not all there yet.
func (s *site) read(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for line := bufio.NewScanner(f); line.Scan(); {
		if k, v, ok := strings.Cut(line.Text(), "="); ok {
			s.env[k] = v
		}
	}
	return s.env["SIGNET_ENROLLMENT"] != ""
}

func (s *site) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Env = os.Environ()
	for _, name := range []string{"SIGNET_SERVER", "SIGNET_TOKEN", "SIGNET_CA"} {
		cmd.Env = append(cmd.Env, name+"="+s.env[name])
	}
	return cmd
}

// must runs a program that has to succeed, and gives its standard output.
func (s *site) must(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	out, err := s.command(program, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%s %v: %v\n%s%s", program, args, err, out, exit.Stderr)
		}
		t.Fatal(err)
	}
	return out
}

// cloned gives how often signetd has told of a clone of the device.
func (s *site) cloned(t *testing.T, device string) int {
	t.Helper()
	raw, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, "a device was cloned") && strings.Contains(line, device) {
			n++
		}
	}
	return n
}

// mustJSON runs a program and reads the JSON that it prints.
func (s *site) mustJSON(t *testing.T, into any, program string, args ...string) {
	t.Helper()
	if out := s.must(t, program, append(args, "-o", "json")...); json.Unmarshal(out, into) != nil {
		t.Fatalf("%s %v: no JSON: %s", program, args, out)
	}
}

package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var built atomic.Bool // programs has something to clean up

// programs builds ours once for the whole run. Those that SIGNET_BENCH_BIN names,
// a folder, are taken as they are: the ones that are shipped.
var programs = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("SIGNET_BENCH_BIN"); dir != "" {
		return filepath.Abs(dir)
	}
	built.Store(true)
	dir, err := os.MkdirTemp("", "signet-bench")
	if err != nil {
		return "", err
	}
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir,
		"../../broker/cmd/signetd", "../../agent/cmd/signet-agent")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build programs: %w\n%s", err, out)
	}
	return dir, nil
})

// program gives the path of a built program.
func program(t testing.TB, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// TestMain is the main of small servers, too, in child processes.
func TestMain(m *testing.M) {
	for variable, server := range map[string]func() error{minimalEnv: minimalServer, streamEnv: streamServer, mqttEnv: mqttServer} {
		if os.Getenv(variable) == "" {
			continue
		}
		if err := server(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", variable, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if built.Load() {
		if dir, err := programs(); err == nil {
			_ = os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// A child is a process that ends with its test.
type child struct {
	*exec.Cmd
	out bytes.Buffer
}

func spawn(t testing.TB, env []string, path string, args ...string) *child {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &child{Cmd: exec.CommandContext(ctx, path, args...)}
	c.Env = append(os.Environ(), env...)
	c.Stdout, c.Stderr = &c.out, &c.out
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = c.Wait() // it was told to end
		if t.Failed() {
			said := c.out.String()
			t.Logf("%s said at last:\n%s", filepath.Base(path), said[max(0, len(said)-4000):])
		}
	})
	return c
}

// status reads a line of /proc/PID/status, in KiB.
func (c *child) status(t testing.TB, what string) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, what+":"); ok {
			n, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("/proc/%d/status has no %s", c.Process.Pid, what)
	return 0
}

// cpu is the CPU time the child has used, by the kernel's clock of that process
// (clock_getcpuclockid(3)): /proc counts in hundredths of a second.
func (c *child) cpu(t testing.TB) time.Duration {
	t.Helper()
	const scheduled = 2 // CPUCLOCK_SCHED: user and kernel mode together
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^c.Process.Pid<<3|scheduled), &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// kill ends the child as a power cut would.
func (c *child) kill(t testing.TB) {
	t.Helper()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // it was killed
}

// eventually waits until ok, for as long as the whole test may take.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatal(what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

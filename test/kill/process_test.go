package kill

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker/adminapi"
)

// patience bounds what must happen at all; nothing is judged by how long it takes.
const patience = 2 * time.Minute

// A site is a data folder and the program that serves it.
type site struct {
	program, data string
	operator      string // token, shown once
	root          *x509.Certificate
}

// newSite builds signetd and makes a data folder with it.
func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{program: filepath.Join(dir, "signetd"), data: filepath.Join(dir, "data")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "../../broker/cmd/signetd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build signetd: %v\n%s", err, out)
	}
	out, err := s.command(t.Context(), "init").CombinedOutput()
	if err != nil {
		t.Fatalf("signetd init: %v\n%s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "shown once: ")
	s.operator, _, _ = strings.Cut(rest, "\n")
	raw, err := os.ReadFile(filepath.Join(s.data, "ca", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	if s.root, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return s
}

// command is signetd with its arguments, deaf to the tester's own settings.
func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, s.program, append(args, "--data", s.data)...)
	c.Env = []string{"SIGNET_ISSUER=https://signet.example"}
	return c
}

// A life is one process of signetd.
type life struct {
	cmd     *exec.Cmd
	serving chan struct{} // closed when it said that it serves
	ended   chan struct{} // closed when its standard error is at its end
	dying   atomic.Bool   // whatever fails from now on may be the kill's doing

	addrs struct{ MQTT, HTTPS, Health string } // valid once serving
	trust mqttlink.Trust
	api   *adminapi.Client

	mu   sync.Mutex // guards the fields below
	said []string   // its last lines
	bad  []string   // those that tell of errors
}

// start gives a new life to the site, on ports that are free now.
func (s *site) start(t *testing.T) *life {
	t.Helper()
	any := "127.0.0.1:0"
	b := &life{serving: make(chan struct{}), ended: make(chan struct{}), trust: mqttlink.Trust{Roots: []*x509.Certificate{s.root}}}
	b.cmd = s.command(t.Context(), "serve", "--listen-mqtt", any, "--listen-https", any, "--listen-health", any)
	stderr, err := b.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go b.listen(stderr)
	return b
}

// listen reads the log until the process is gone.
func (b *life) listen(r io.Reader) {
	defer close(b.ended)
	for s := bufio.NewScanner(r); s.Scan(); {
		var line struct{ Level, Msg, MQTT, HTTPS, Health string }
		structured := json.Unmarshal(s.Bytes(), &line) == nil
		b.note(s.Text(), !structured || line.Level == "ERROR")
		if structured && line.Msg == "serving" {
			b.addrs.MQTT, b.addrs.HTTPS, b.addrs.Health = line.MQTT, line.HTTPS, line.Health
			close(b.serving)
		}
	}
}

func (b *life) note(line string, bad bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bad && !b.dying.Load() {
		b.bad = append(b.bad, line)
	}
	if b.said = append(b.said, line); len(b.said) > 20 {
		b.said = b.said[1:]
	}
}

// story is what it said last, for a failed test.
func (b *life) story() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.said, "\n")
}

// awaitReady waits until it serves and says that it is ready.
func (b *life) awaitReady(ctx context.Context, s *site) error {
	select {
	case <-b.serving:
	case <-b.ended:
		return errors.New("signetd ended before it served")
	case <-ctx.Done():
		return fmt.Errorf("signetd does not serve: %w", ctx.Err())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.addrs.Health+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz: %s", resp.Status)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.root)
	b.api, err = adminapi.NewClient("https://"+b.addrs.HTTPS, s.operator, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 16})
	return err
}

// strike ends it with -9, at once.
func (b *life) strike() {
	b.dying.Store(true)
	_ = b.cmd.Process.Kill() // kill looks what became of it
}

// kill ends it with -9 if that has not been done, and waits for its end. It fails
// if it had ended by itself, or complained before.
func (b *life) kill() (err error) {
	b.strike()
	<-b.ended
	_ = b.cmd.Wait() // killed, it says
	if b.cmd.ProcessState.ExitCode() != -1 {
		err = fmt.Errorf("signetd ended by itself: %v", b.cmd.ProcessState)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.bad) > 0 {
		err = errors.Join(err, fmt.Errorf("signetd complained:\n%s", strings.Join(b.bad, "\n")))
	}
	return err
}

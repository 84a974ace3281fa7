package flood

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/test/harness"
)

// patience bounds what must happen at all; nothing is judged by how long it takes.
const patience = 2 * time.Minute

// programEnv names a folder with the programs, which are taken as they are.
const programEnv = "SIGNET_BENCH_BIN"

// A site is a signetd that runs, with a pool "demo".
type site struct {
	t          testing.TB
	cmd        *exec.Cmd
	data, root string
	program    string
	addrs      struct{ MQTT, HTTPS, Health string }
	trust      mqttlink.Trust
	operator   string // token
	way        *http.Transport
	api        *adminapi.Client
	pool       adminapi.PoolClient

	mu    sync.Mutex // guards the log
	lines int
	bytes int
	said  []string        // its last lines
	all   map[string]bool // what its lines say
}

// open makes a data folder and runs signetd on it, with its limits as they are unless more
// of its environment says otherwise.
func open(t testing.TB, data string, more ...string) *site {
	t.Helper()
	s := &site{t: t, data: data, root: filepath.Join(data, "ca", "root.pem"), all: map[string]bool{}}
	s.program = filepath.Join(t.TempDir(), "signetd")
	if dir := os.Getenv(programEnv); dir != "" {
		s.program = filepath.Join(dir, "signetd")
	} else {
		build := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "../../broker/cmd/signetd")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build signetd: %v\n%s", err, out)
		}
	}
	env := append([]string{"SIGNET_ISSUER=https://localhost:8443", "SIGNET_DATA=" + data}, more...)
	begin := exec.CommandContext(t.Context(), s.program, "init")
	begin.Env = env
	out, err := begin.CombinedOutput()
	if err != nil {
		t.Fatalf("signetd init: %v\n%s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "shown once: ")
	s.operator, _, _ = strings.Cut(rest, "\n")
	free := "127.0.0.1:0"
	s.cmd = exec.Command(s.program, "serve", "--listen-mqtt", free, "--listen-https", free, "--listen-health", free)
	s.cmd.Env = env
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); s.listen(stderr, serving) }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(os.Interrupt)
		<-ended
		if err := s.cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("signetd ended: %v; its last words:\n%s", err, s.story())
		}
	})
	select {
	case <-serving:
	case <-ended:
		t.Fatal("signetd ended before it served")
	case <-time.After(patience):
		t.Fatal("signetd does not serve")
	}
	s.befriend()
	return s
}

// befriend makes the operator's client and the pool.
func (s *site) befriend() {
	t := s.t
	t.Helper()
	raw, err := os.ReadFile(s.root)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	s.trust.Roots = []*x509.Certificate{root}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	s.way = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	if s.api, err = adminapi.NewClient("https://"+s.addrs.HTTPS, s.operator, s.way); err != nil {
		t.Fatal(err)
	}
	if _, err := s.api.CreatePool(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	s.pool = s.api.In("demo")
}

// listen reads the log.
func (s *site) listen(r io.Reader, serving chan struct{}) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var line struct{ Msg, MQTT, HTTPS, Health string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			s.addrs.MQTT, s.addrs.HTTPS, s.addrs.Health = line.MQTT, line.HTTPS, line.Health
			close(serving)
		}
		s.mu.Lock()
		s.lines++
		s.all[line.Msg] = true
		s.bytes += len(lines.Bytes()) + 1
		if s.said = append(s.said, lines.Text()); len(s.said) > 40 {
			s.said = s.said[1:]
		}
		s.mu.Unlock()
	}
}

func (s *site) hasSaid(msg string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[msg]
}

func (s *site) story() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.said, "\n")
}

// logged gives how much the log has.
func (s *site) logged() (lines, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines, s.bytes
}

// figures reads /metrics: each series by its name and labels.
func (s *site) figures() map[string]float64 {
	s.t.Helper()
	res, err := http.Get("http://" + s.addrs.Health + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	all := map[string]float64{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, value, ok := cutLast(lines.Text())
		if f, err := strconv.ParseFloat(value, 64); ok && err == nil {
			all[name] = f
		}
	}
	return all
}

func cutLast(line string) (name, value string, ok bool) {
	i := strings.LastIndexByte(line, ' ')
	if i < 0 || line[0] == '#' {
		return "", "", false
	}
	return line[:i], line[i+1:], true
}

// most is the most memory that signetd has had, in bytes (VmHWM of proc(5)).
func (s *site) most() int {
	s.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(raw, []byte("VmHWM:"))
	n, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	if err != nil {
		s.t.Fatal(err)
	}
	return n << 10
}

// A device is an honest one.
type device struct {
	*agent.Agent
	site  *site
	trust atomic.Pointer[mqttlink.Trust] // nil: the site's
}

// enroll makes n devices, which hang up when they are known.
func (s *site) enroll(n int) []*device {
	t := s.t
	t.Helper()
	v := s.voucher(n)
	all := make([]*device, n)
	for i := range all {
		d, err := s.device(fmt.Sprintf("lamp-%d", i))
		if err == nil {
			err = d.on(t.Context(), func(ctx context.Context, l *mqttlink.Link) error {
				_, err := d.Enroll(ctx, l, v)
				return err
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		all[i] = d
	}
	return all
}

func (s *site) device(called string) (*device, error) {
	pool, err := ident.ParsePool("demo")
	if err != nil {
		return nil, err
	}
	name, err := ident.ParseName(called)
	if err != nil {
		return nil, err
	}
	a, err := agent.New(s.t.Context(), agent.Config{Device: ident.Device{Pool: pool, Name: name}, Prover: harness.NewEd25519(s.t), State: &agent.Memory{}})
	return &device{Agent: a, site: s}, err
}

// on does something on a new connection, as nobody.
func (d *device) on(ctx context.Context, do func(context.Context, *mqttlink.Link) error) error {
	trust := d.site.trust
	if own := d.trust.Load(); own != nil {
		trust = *own
	}
	l, err := mqttlink.Dial(ctx, mqttlink.Options{Broker: "mqtts://" + d.site.addrs.MQTT, Trust: trust})
	if err != nil {
		return fmt.Errorf("%s: %w", d.Device(), err)
	}
	defer l.Close()
	if err := do(ctx, l); err != nil {
		return fmt.Errorf("%s: %w", d.Device(), err)
	}
	return nil
}

// login connects anew and logs in by the device's key.
func (d *device) login(ctx context.Context) error {
	return d.on(ctx, func(ctx context.Context, l *mqttlink.Link) error {
		_, err := d.Authenticate(ctx, l, agent.Ask{})
		return err
	})
}

package flood

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/test/kernel"
)

const (
	perLogin = 2 << 10   // bytes of disk that a login may take: its session, its record, parts of pages
	slack    = 192 << 10 // that anything may take: a few pages of each bucket, copied
)

// A cost is what was written meanwhile.
type cost struct{ changes, bytes, lines, logged int }

// costs tells what something cost the disk.
func (s *site) costs(do func()) (c cost) {
	s.t.Helper()
	before := s.figures()
	lines, logged := s.logged()
	do()
	after := s.figures()
	of := func(name string) int { return int(after[name] - before[name]) }
	c = cost{changes: of("signet_store_changes_total"), bytes: of("signet_store_bytes")}
	c.lines, c.logged = s.logged()
	c.lines, c.logged = c.lines-lines, c.logged-logged
	return c
}

// voucher makes an enrollment token.
func (s *site) voucher(uses int) agent.Admission {
	s.t.Helper()
	made, err := s.pool.CreateEnrollmentToken(s.t.Context(), adminapi.NewEnrollmentToken{Uses: &uses})
	if err != nil {
		s.t.Fatal(err)
	}
	tok, err := protocol.ParseEnrollToken(made.Token)
	if err != nil {
		s.t.Fatal(err)
	}
	return agent.Admission{Token: &tok}
}

// TestWhoFillsTheDisk: strangers and refused operators write nothing but a sum now and then,
// however many they are, and hardly a line of log; a device writes what it is let, whatever
// it tries.
func TestWhoFillsTheDisk(t *testing.T) {
	s := open(t, t.TempDir())
	devices := s.enroll(3)
	v := s.voucher(1000)

	const lasts = 11 * time.Second // sums are of ten
	var did toll
	got := s.costs(func() {
		stop := s.flood(nil)
		time.Sleep(lasts)
		did = stop()
	})
	t.Logf("strangers: %+v cost %+v", did, got)
	if got.changes > 3 || got.bytes > slack || got.lines > 100 || got.logged > 64<<10 || did.Heard == 0 || did.Done == 0 {
		t.Errorf("strangers, %+v, cost %+v", did, got)
	}

	const asked = 300
	got = s.costs(func() { s.refusedOperators(asked) })
	t.Logf("operators that are refused: %+v", got)
	if got.changes > 2 || got.bytes > slack || got.lines > asked/3+20 { // each that is somebody's has its line
		t.Errorf("operators that are refused cost %+v", got)
	}

	for i, what := range []string{"logging in", "renewing", "enrolling"} {
		d := devices[i]
		try := []func(context.Context, *mqttlink.Link) (*agent.Tokens, error){
			func(ctx context.Context, l *mqttlink.Link) (*agent.Tokens, error) {
				return d.Authenticate(ctx, l, agent.Ask{})
			},
			func(ctx context.Context, l *mqttlink.Link) (*agent.Tokens, error) {
				return d.Refresh(ctx, l, agent.Ask{})
			},
			func(ctx context.Context, l *mqttlink.Link) (*agent.Tokens, error) { return d.Enroll(ctx, l, v) },
		}[i]
		granted := 0
		got := s.costs(func() {
			for range 10 {
				_ = d.on(t.Context(), func(ctx context.Context, l *mqttlink.Link) error { // busy is what is wanted
					for range 15 {
						if _, err := try(ctx, l); err == nil {
							granted++
						} else if !errors.Is(err, protocol.CodeBusy) {
							t.Errorf("%s: %v", what, err)
						}
					}
					return nil
				})
			}
		})
		t.Logf("a device %s, %d times of 150: %+v", what, granted, got)
		if granted == 0 || granted > 70 || got.changes > granted+4 || got.bytes > granted*perLogin+slack || got.lines > granted+20 {
			t.Errorf("a device %s, granted %d times of 150, costs %+v", what, granted, got)
		}
	}
}

// refusedOperators asks so often for what is refused: without a token, with one that nobody
// made, and with one that does not allow it.
func (s *site) refusedOperators(times int) {
	t := s.t
	t.Helper()
	reader, err := s.api.CreateOperator(t.Context(), adminapi.NewOperator{Name: "reader", Scope: "read"})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"", "sgnt_nobody", reader.Token} {
		c, err := adminapi.NewClient("https://"+s.addrs.HTTPS, token, s.way)
		if err != nil {
			t.Fatal(err)
		}
		for i := range times / 3 {
			_, err := c.CreatePool(t.Context(), fmt.Sprintf("p-%d", i))
			var p *problem.Problem
			if !errors.As(err, &p) || p.Status != http.StatusUnauthorized && p.Status != http.StatusForbidden && p.Status != http.StatusTooManyRequests {
				t.Fatalf("%q: %v", token, err)
			}
		}
	}
}

// TestNearlyFull: when the disk gets short, enrollments are refused first, then what devices
// do, and what operators do goes on with what was kept for them; they are told at each step,
// and with room again all of it works.
func TestNearlyFull(t *testing.T) {
	dir := t.TempDir()
	kernel.SmallDisk(t, dir, "160m")
	s := open(t, filepath.Join(dir, "data"))
	devices := s.enroll(3)
	v := s.voucher(10)
	enroll := func(name string) error {
		d, err := s.device(name)
		if err != nil {
			t.Fatal(err)
		}
		return d.on(t.Context(), func(ctx context.Context, l *mqttlink.Link) error { _, err := d.Enroll(ctx, l, v); return err })
	}
	if f := s.figures(); f["signet_store_free_bytes"] < 64<<20 || f["signet_store_reserve_bytes"] != 16<<20 {
		t.Fatalf("%v bytes free, %v kept", f["signet_store_free_bytes"], f["signet_store_reserve_bytes"])
	}
	if err := enroll("at-first"); err != nil {
		t.Fatal(err)
	}

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, 40<<20)
	if err := enroll("short"); !errors.Is(err, protocol.CodeBusy) {
		t.Errorf("with 40 MiB left a device enrolls: %v", err)
	}
	if err := devices[0].login(t.Context()); err != nil {
		t.Errorf("a device that is known: %v", err)
	}
	s.warned("no room to write for new devices")
	s.says("no room for new devices: make room on the disk of the data folder")

	fill(t, ballast, 0)
	refused := 0
	for range 15 {
		for _, d := range devices {
			if err := d.login(t.Context()); errors.Is(err, protocol.CodeBusy) {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 100 {
		for _, status := range []func(context.Context, string) (adminapi.Device, error){s.pool.DisableDevice, s.pool.EnableDevice} {
			if _, err := status(t.Context(), "lamp-0"); err != nil {
				t.Fatalf("an operator on a full disk: %v", err)
			}
		}
	}
	t.Logf("%d logins of 45 refused", refused)
	fill(t, ballast, 0) // whoever filled it takes what was kept, too
	var full *problem.Problem
	for i := 0; full == nil && i < 20_000; i++ {
		_, err := s.pool.CreateDevice(t.Context(), adminapi.NewDevice{Name: fmt.Sprintf("more-%d", i), PSK: strings.Repeat("5eed", 16)})
		if err != nil && !errors.As(err, &full) {
			t.Fatal(err)
		}
	}
	if full == nil || full.Status != http.StatusInsufficientStorage {
		t.Errorf("with nothing left at all an operator hears %v", full)
	}
	if err := devices[1].login(t.Context()); !errors.Is(err, protocol.CodeBusy) {
		t.Errorf("a device writes: %v", err)
	}
	s.warned("operators' alone")

	if err := os.Truncate(ballast, 0); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); s.figures()["signet_store_reserve_bytes"] == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is kept again")
		}
	}
	if err := enroll("again"); err != nil {
		t.Errorf("with room again: %v", err)
	}
	for _, d := range devices {
		if err := d.login(t.Context()); err != nil {
			t.Errorf("with room again: %v", err)
		}
	}
	s.says("there is room for new devices again")
}

// fill lets a file take what there is but left bytes.
func fill(t *testing.T, path string, left uint64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); err == nil; {
		var s syscall.Statfs_t
		if err := syscall.Statfs(path, &s); err != nil {
			t.Fatal(err)
		}
		free := s.Bavail * uint64(s.Bsize)
		if left > 0 && free <= left {
			return
		}
		if free < 2<<20 {
			block = block[:4096]
		}
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// warned wants the broker to warn operators in these words.
func (s *site) warned(words string) {
	s.t.Helper()
	st, err := s.api.Status(s.t.Context())
	if err != nil || !strings.Contains(strings.Join(st.Warnings, "\n"), words) {
		s.t.Errorf("status warns of %q: %v; want %q", st.Warnings, err, words)
	}
}

// says waits until the log has that message.
func (s *site) says(words string) {
	s.t.Helper()
	for end := time.Now().Add(patience); !s.hasSaid(words); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("the log has no %q:\n%s", words, s.story())
		}
	}
}

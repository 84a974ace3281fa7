package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

const testDomain = "acme.example"

// A clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = t
}

func (c *clock) add(d time.Duration) { c.set(c.now().Add(d)) }

func newDir(t testing.TB, o Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	if err := Create(dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openTest(t testing.TB, dir string, c Config) *Authority {
	t.Helper()
	c.TrustDomain = testDomain
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	a, err := Open(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func newTestAuthority(t testing.TB, c *clock) *Authority {
	t.Helper()
	return openTest(t, newDir(t, Options{Now: c.now}), Config{Now: c.now})
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func device(t testing.TB, s string) ident.Device {
	t.Helper()
	return identtest.Device(t, s)
}

func subject(t testing.TB) ident.UUID {
	t.Helper()
	u, err := ident.ParseUUID("0192f0c1-2d3e-7abc-8def-0123456789ab")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// findOpenSSL gives the program's path, "" where it is not installed. In CI it must be.
func findOpenSSL(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("openssl is not installed: sh test/setup.sh")
	}
	if err != nil {
		return ""
	}
	return path
}

package boltstore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/test/kernel"
)

// A narrow is a place where a store finds no room for a while.
type narrow struct {
	dir        string
	fill, free func(t *testing.T)
}

// TestFullDisk has a disk of 2 MiB, which another file fills.
func TestFullDisk(t *testing.T) { holdInNarrow(t, smallDisk(t)) }

const limitedEnv = "SIGNET_STORE_LIMITED" // set in the process that may be limited

// TestFileSizeLimit limits what a process may write. It is one of its own: the limit
// also holds for what the testing package writes.
func TestFileSizeLimit(t *testing.T) {
	if os.Getenv(limitedEnv) != "" {
		holdInNarrow(t, sizeLimit(t))
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFileSizeLimit$")
	cmd.Env = append(os.Environ(), limitedEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// holdInNarrow: without room writes are refused, and say so, reads go on; with room
// the refused ones succeed, and nothing that was acknowledged is lost.
func holdInNarrow(t *testing.T, p narrow) {
	t.Helper()
	path := filepath.Join(p.dir, "store")
	seedCrash(t, path)
	s := openStore(t, path, Options{SweepEvery: -1})
	d := addDevices(t, s, 150)
	acked, refused := loginsUntil(t, s, d, 50)
	if len(refused) > 0 {
		t.Fatalf("%d refused while there was room", len(refused))
	}
	for range 3 {
		p.fill(t)
		more, none := loginsUntil(t, s, d, 1<<20)
		acked = append(acked, more...)
		if len(none) == 0 {
			t.Fatal("the place is not narrow")
		}
		holdLogins(t, s, acked, none)
		p.free(t)
		for _, l := range none {
			if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
				t.Fatalf("with room again: %v", err)
			}
		}
		acked = append(acked, none...)
	}
	if err := errors.Join(s.Close(), Check(t.Context(), path)); err != nil {
		t.Fatal(err)
	}
	holdLogins(t, openStore(t, path, Options{SweepEvery: -1}), acked, nil)
}

// bySelf is the device that logs in.
func bySelf(l broker.Login) broker.By {
	return broker.By{Actor: broker.DeviceActor(l.Session.Device)}
}

// loginsUntil records up to n logins, eight at a time, until one is refused.
func loginsUntil(t *testing.T, s *Store, d []broker.Device, n int) (acked, refused []broker.Login) {
	t.Helper()
	var mu sync.Mutex // guards the results
	var next atomic.Uint64
	step := func() bool {
		l := testLogin(d[next.Add(1)%uint64(len(d))])
		_, err := s.RecordLogin(t.Context(), bySelf(l), l)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			acked = append(acked, l)
			return len(acked) < n && len(refused) == 0
		}
		refused = append(refused, l)
		if !errors.Is(err, broker.ErrFull) || errors.Is(err, ErrBroken) {
			t.Errorf("without room: %v, want ErrFull", err)
		}
		return false
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for step() {
			}
		})
	}
	wg.Wait()
	return acked, refused
}

func holdLogins(t *testing.T, s *Store, acked, refused []broker.Login) {
	t.Helper()
	for _, l := range acked {
		if _, err := s.Session(t.Context(), l.Session.ID); err != nil {
			t.Fatalf("acknowledged and lost: %v", err)
		}
	}
	for _, l := range refused {
		if _, err := s.Session(t.Context(), l.Session.ID); !errors.Is(err, broker.ErrNotFound) {
			t.Fatalf("refused, and then: %v", err)
		}
	}
}

// sizeLimit lets this process write no file beyond a number of pages that grows.
func sizeLimit(t *testing.T) narrow {
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	limit := func(t *testing.T, to syscall.Rlimit) {
		t.Helper()
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &to); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		limit(t, was)
		signal.Reset(syscall.SIGXFSZ)
	})
	pages := 0
	return narrow{
		dir: t.TempDir(),
		fill: func(t *testing.T) {
			pages += 40
			limit(t, syscall.Rlimit{Cur: uint64((pages + 60) * os.Getpagesize()), Max: was.Max})
		},
		free: func(t *testing.T) { limit(t, was) },
	}
}

// smallDisk mounts a disk of 2 MiB.
func smallDisk(t *testing.T) narrow {
	dir := t.TempDir()
	kernel.SmallDisk(t, dir, "2m")
	return narrowed(dir)
}

// narrowed fills the disk of dir with another file.
func narrowed(dir string) narrow {
	ballast := filepath.Join(dir, "ballast")
	return narrow{
		dir: dir,
		fill: func(t *testing.T) {
			f, err := os.OpenFile(ballast, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for block := make([]byte, 4096); err == nil; {
				_, err = f.Write(block)
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(fmt.Errorf("fill the disk: %w", err))
			}
		},
		free: func(t *testing.T) {
			if err := os.Truncate(ballast, 0); err != nil {
				t.Fatal(err)
			}
		},
	}
}

package command

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/signetd/signet/test/kernel"
)

// A device cannot enroll without room to remember it, says so, and can when there
// is room. Once enrolled it gets tokens also from a full disk, and from one that it
// cannot write at all, and says that nothing can be saved.
func TestFullAndReadOnlyDisk(t *testing.T) {
	b, m, disk := newBroker(t), &machine{t: t}, filepath.Dir(folder(t))
	kernel.SmallDisk(t, disk, "64k")
	dir, fill, ca := filepath.Join(disk, "d"), filepath.Join(disk, "fill"), b.ca(t)
	fillDisk(t, fill)
	m.fails(1, "no space left", "make room", enrollArgs(b, dir, "--ca", ca)...)
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	m.must(enrollArgs(b, dir, "--ca", ca)...)
	fillDisk(t, fill)
	for range 3 {
		m.must("token", "--state", dir, "--format", "cwt")
	}
	if _, _, errs := m.run("check", "--state", dir); !strings.Contains(errs, "going on without") {
		t.Errorf("nobody is told that the disk is full: %q", errs)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	m.must("check", "--state", dir)
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	m.env = map[string]string{"XDG_RUNTIME_DIR": t.TempDir()}
	for range 2 {
		m.must("token", "--state", dir, "--format", "cwt")
	}
	stop := m.start(m.socketOf(dir), "--state", dir)
	other := &machine{t: t, env: m.env}
	if out := other.must("status", "--state", dir); !strings.Contains(out, "online") || !strings.Contains(out, "going on without") || !strings.Contains(out, "read-only file system") {
		t.Errorf("status says: %s", out)
	}
	other.must("token", "--state", dir)
	stop()
	m.fails(1, "read-only file system", "the device's folder must be on a disk", "unenroll", "--state", dir)
	m.must("status", "--state", dir)
	m.must("bugreport", "--state", dir)
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	m.must("check", "--state", dir)
}

func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for page := make([]byte, 4096); ; {
		if _, err := f.Write(page); err != nil {
			return
		}
	}
}

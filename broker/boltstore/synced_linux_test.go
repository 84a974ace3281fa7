package boltstore

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signetd/signet/test/kernel"

	"github.com/signetd/signet/broker"
)

// TestSynced asks the kernel: after a write is acknowledged no page of the file is
// dirty. kill -9 cannot tell, since the page cache outlives the process.
func TestSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	seedCrash(t, path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	probe := dirtyPages(t, path+".probe")
	if probe == 0 && os.Getenv("CI") == "true" {
		t.Fatal("this file system never shows a dirty page: in CI, TMPDIR must be on a disk")
	} else if probe == 0 {
		t.Skip("this file system never shows a dirty page: set TMPDIR to a folder on a disk")
	}
	s := openStore(t, path, Options{SweepEvery: -1})
	for i := range 20 {
		if _, err := s.Try(t.Context(), by(), triesOf(newUUID()), broker.TryMark{1}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if n := cachestat(t, f); n != 0 {
			t.Fatalf("write %d was acknowledged with %d pages not yet on the disk", i, n)
		}
	}
}

// dirtyPages writes a new file without syncing it and counts its dirty pages.
func dirtyPages(t *testing.T, path string) uint64 {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return cachestat(t, f)
}

// cachestat counts the file's dirty pages and those on their way to the disk (Linux 6.5 and later).
func cachestat(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var st unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &st, 0)
	if err != nil {
		kernel.Lacks(t, "cachestat", err)
	}
	return st.Dirty + st.Writeback
}

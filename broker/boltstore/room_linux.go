package boltstore

import (
	"io/fs"
	"math"
	"path/filepath"
	"syscall"
)

// freeBytes is how much may be written on the disk of a path that need not be there yet;
// -1 when it cannot be told.
func freeBytes(path string) int64 {
	var s syscall.Statfs_t
	if syscall.Statfs(filepath.Dir(path), &s) != nil || s.Bsize <= 0 || s.Bavail > math.MaxInt64/uint64(s.Bsize) {
		return -1
	}
	return int64(s.Bavail) * int64(s.Bsize)
}

// allocated is what a file takes of the disk, which is less than its size if it has holes.
func allocated(info fs.FileInfo) (int64, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return s.Blocks * 512, true // of stat(2), whatever the disk's own are
}

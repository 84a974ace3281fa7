//go:build !linux

package boltstore

import "io/fs"

// freeBytes cannot tell here how much room a disk has.
func freeBytes(string) int64 { return -1 }

func allocated(fs.FileInfo) (int64, bool) { return 0, false }

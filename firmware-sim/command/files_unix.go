//go:build unix

package command

import "syscall"

// openFiles is how many files the process may have open. The Go runtime has
// raised it to what the system permits.
func openFiles() (uint64, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	return uint64(l.Cur), nil
}

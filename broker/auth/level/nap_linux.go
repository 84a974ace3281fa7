package level

import (
	"errors"
	"syscall"
	"time"
)

// nap blocks its thread for d, to some fifty microseconds.
func nap(d time.Duration) {
	if d <= 0 {
		return
	}
	left := syscall.NsecToTimespec(d.Nanoseconds())
	for errors.Is(syscall.Nanosleep(&left, &left), syscall.EINTR) {
	}
}

//go:build !linux

package level

import "time"

// nap sleeps for d, as exactly as the system's timers are.
func nap(d time.Duration) { time.Sleep(d) }

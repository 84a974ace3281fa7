package main

import "math"

// ballast gives memory to hold on to for as long as the process lives, under a limit
// as debug.SetMemoryLimit gives it, in bytes. It is never touched, so nothing is
// behind it, and makes the collector wait for as much garbage again: a small broker's
// heap is so small that the collector would run all the time, for 6% of what an
// authentication costs; in a large one's it is lost. Under a limit (GOMEMLIMIT) there
// is none: it would count against the limit and have the collector run more often.
func ballast(limit int64) []byte {
	if limit != math.MaxInt64 {
		return nil
	}
	return make([]byte, 32<<20)
}

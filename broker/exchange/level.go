package exchange

import (
	"context"
	"time"
)

// proofTime is how long it takes to refuse a proof: far longer than to check it.
const proofTime = 2 * time.Millisecond

// timerSlack is how late a timer may be: where the runtime has nothing else to do it
// waits in whole milliseconds, counted from when it began to.
const timerSlack = 1200 * time.Microsecond

// level waits until proofTime has passed since began. Whose proof was refused shows
// in the work that was done, in microseconds: a known device has a record to read, of
// some size, and a key of some kind. It must not show in the answer's time.
//
// A timer alone would be late by what the work took, and so tell it: the rest is
// slept in the kernel, which is late by as much whenever it is asked.
func level(ctx context.Context, began time.Time) {
	t := time.NewTimer(time.Until(began.Add(proofTime - timerSlack)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return
	}
	nap(time.Until(began.Add(proofTime)))
}

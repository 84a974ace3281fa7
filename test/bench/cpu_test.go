package bench

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cpu is the CPU time that this process has used, in user and kernel mode.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A meter adds up the CPU time of windows, in each of which n operations run in
// c goroutines. The garbage of what ran before a window is collected outside it;
// what the window itself makes the collector do is counted.
type meter struct {
	spent time.Duration
	bytes uint64 // allocated
	ops   int
}

func (m *meter) run(t testing.TB, n, c int, op func(i int)) {
	t.Helper()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := cpu(t)
	spread(n, c, op)
	m.spent += cpu(t) - start
	runtime.ReadMemStats(&after)
	m.bytes += after.TotalAlloc - before.TotalAlloc
	m.ops += n
}

// spread calls op with 0 to n-1, from c goroutines.
func spread(n, c int, op func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range c {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				op(i)
			}
		})
	}
	wg.Wait()
}

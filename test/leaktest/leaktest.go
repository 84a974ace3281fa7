// Package leaktest holds tests to leave no goroutine and no descriptor behind: each test for
// itself, and a whole package at its end.
package leaktest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds the wait for what is on its way out.
const patience = 5 * time.Second

// Main is for a package's TestMain: it runs the tests, and ends the process with a failure when
// they leave more behind than there was.
func Main(m *testing.M) {
	before := begin()
	code := m.Run()
	if code == 0 {
		if err := before.left(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// checking: what is begun while a test is held is held by that.
var checking atomic.Bool

// Check has t fail if, once all that is cleaned up after it has been, there is more than now. It
// must be called before what it is to hold is begun; once for a test and those within it, of
// calls that come later nothing comes. It is of no use for tests that run at once with others.
func Check(t testing.TB) {
	t.Helper()
	if !checking.CompareAndSwap(false, true) {
		return
	}
	before := begin()
	t.Cleanup(func() {
		defer checking.Store(false)
		if t.Failed() {
			return // it may have been cut short
		}
		if err := before.left(); err != nil {
			t.Error(err)
		}
	})
}

// A state is what there is at a time.
type state struct {
	goroutines  goleak.Option
	descriptors int
}

func begin() state {
	// What the runtime polls with stays open from its first use on.
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = ln.Close()
	}
	return state{goleak.IgnoreCurrent(), descriptors()}
}

// left tells what there is more than before.
func (s state) left() error {
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(s.goroutines); err != nil {
		return err
	}
	n := descriptors()
	for end := time.Now().Add(patience); n > s.descriptors && time.Now().Before(end); n = descriptors() {
		time.Sleep(5 * time.Millisecond)
	}
	if n > s.descriptors {
		return fmt.Errorf("%d descriptors are open, %d were before", n, s.descriptors)
	}
	return nil
}

// descriptors counts those of this process; 0 where the system does not tell.
func descriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(all)
}

package stream

import (
	"runtime/debug"
	"sync"
	"time"
)

// quietAfter is how long no handshake may have been done for a storm of them to be over.
// The figure is chosen.
const quietAfter = 2 * time.Second

// trim gives the garbage of many handshakes back to the system: a third of what an idle TLS
// connection takes, which the runtime would keep until the next storm.
type trim struct {
	free func() // debug.FreeOSMemory, but in tests

	mu         sync.Mutex // guards the rest
	open       int        // streams
	handshakes int        // since the last time
	timer      *time.Timer
}

func newTrim() trim { return trim{free: debug.FreeOSMemory} }

// opened counts streams.
func (l *Loop) opened(n int) {
	l.trim.mu.Lock()
	defer l.trim.mu.Unlock()
	l.trim.open += n
}

// handshake counts one, and sees to it that memory is freed once they have become many and
// then none. As that takes time in proportion to the streams there are, they count, too.
func (l *Loop) handshake() {
	t := &l.trim
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handshakes++
	switch {
	case l.cfg.TrimAfter == 0, t.handshakes < max(l.cfg.TrimAfter, t.open/4):
	case t.timer == nil:
		t.timer = time.AfterFunc(quietAfter, l.giveBack)
	default:
		t.timer.Reset(quietAfter)
	}
}

func (l *Loop) giveBack() {
	l.trim.mu.Lock()
	l.trim.handshakes = 0
	l.trim.mu.Unlock()
	l.trim.free()
}

// stopTrimming is for the end.
func (l *Loop) stopTrimming() {
	l.trim.mu.Lock()
	defer l.trim.mu.Unlock()
	if l.trim.timer != nil {
		l.trim.timer.Stop()
	}
}

package stream

import (
	"sync"
	"time"
)

// lull is how long hardly a connection may have come for a storm of them to be over.
// The figure is chosen.
const lull = 2 * time.Second

// trim gives the garbage of many connections that began back to the system: a third of what
// an idle one over TLS takes, which the runtime would keep until the next storm.
type trim struct {
	free func() // debug.FreeOSMemory, but in tests

	mu     sync.Mutex // guards the rest
	open   int        // streams
	came   int        // since memory was given back
	before int        // of them, when it was looked last
	few    int        // may come in a lull
	timer  *time.Timer
	armed  bool
}

// began counts a stream, and sees to it that memory is given back once they have become many
// and then few. As that takes time in proportion to the streams there are, those count, too.
func (l *Loop) began() {
	t := &l.trim
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open++
	t.came++
	storm := max(l.cfg.TrimAfter, t.open/16)
	if l.cfg.TrimAfter == 0 || t.armed || t.came < storm {
		return
	}
	t.armed, t.before, t.few = true, t.came, storm/20
	if t.timer == nil {
		t.timer = time.AfterFunc(lull, l.trim.look)
	} else {
		t.timer.Reset(lull)
	}
}

// finished is its end.
func (l *Loop) finished() {
	l.trim.mu.Lock()
	defer l.trim.mu.Unlock()
	l.trim.open--
}

// look gives memory back if the storm is over. What still may come is a part of what makes a storm,
// not of what came: else a long one that slows down would be taken for over, and the rest of it be no storm.
func (t *trim) look() {
	t.mu.Lock()
	if t.came-t.before > t.few {
		t.before = t.came
		t.timer.Reset(lull)
		t.mu.Unlock()
		return
	}
	t.armed, t.came = false, 0
	t.mu.Unlock()
	t.free()
}

// stop is for the end.
func (t *trim) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
}

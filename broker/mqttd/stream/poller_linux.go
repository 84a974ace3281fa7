package stream

import (
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Limits of a poller. The figures are chosen.
const (
	turnSteps = 4   // how often a stream is read before others have their turn
	eventsMax = 128 // sockets that it is told of at once
)

// edge is EPOLLET, which package syscall has as a negative number.
const edge = 1 << 31

// polling is what a Loop has of pollers: one for each processor, each with streams of its
// own. They begin with the first stream.
type polling struct {
	once    sync.Once
	pollers []*poller
	turn    sync.Mutex // guards next
	next    int
	running sync.WaitGroup
}

// A poller waits for sockets that can be read, and reads them: one goroutine, which waits in
// Go's own poller for its epoll descriptor, so that it takes no thread.
type poller struct {
	fd   int
	file *os.File // owns fd
	raw  syscall.RawConn

	mu      sync.Mutex // guards streams
	streams []*Stream  // by descriptor
}

// poll has a poller read the stream. It gives nil if there is none: then a goroutine must.
// With the stream's mu.
func (l *Loop) poll(s *Stream) *poller {
	l.once.Do(l.startPolling)
	if len(l.pollers) == 0 {
		return nil
	}
	l.polling.turn.Lock()
	l.next = (l.next + 1) % len(l.pollers)
	p := l.pollers[l.next]
	l.polling.turn.Unlock()
	var failed error
	err := s.raw.Control(func(fd uintptr) {
		s.number = int(fd)
		p.set(s.number, s)
		e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | edge, Fd: int32(fd)} //nolint:gosec // descriptors are small
		failed = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, s.number, &e)
		if failed != nil {
			p.set(s.number, nil)
		}
	})
	if err != nil || failed != nil {
		return nil
	}
	return p
}

func (p *poller) set(fd int, s *Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd >= len(p.streams) {
		p.streams = slices.Grow(p.streams, fd+1-len(p.streams))[:fd+1]
	}
	p.streams[fd] = s
}

// forget comes before the descriptor is closed, which ends its registration, too.
func (p *poller) forget(s *Stream) { p.set(s.number, nil) }

// startPolling begins the pollers, if the system gives them.
func (l *Loop) startPolling() {
	for range runtime.GOMAXPROCS(0) {
		p, err := newPoller()
		if err != nil {
			return
		}
		l.pollers = append(l.pollers, p)
		l.running.Go(p.run)
	}
}

// stopPolling ends the pollers.
func (l *Loop) stopPolling() {
	l.once.Do(func() {})
	for _, p := range l.pollers {
		_ = p.file.Close()
	}
	l.running.Wait()
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // what os.NewFile goes by
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")} //nolint:gosec // descriptors are not negative
	if err = p.file.SetReadDeadline(time.Time{}); err == nil {   // else Go does not poll it
		p.raw, err = p.file.SyscallConn()
	}
	if err != nil {
		_ = p.file.Close()
		return nil, err
	}
	return p, nil
}

// run has every stream have its turn that can be read, until the poller is closed.
func (p *poller) run() {
	r := newReader(false)
	events := make([]syscall.EpollEvent, eventsMax)
	var due, again []*Stream
	n := 0
	wait := func(uintptr) bool {
		var err error
		n, err = syscall.EpollWait(p.fd, events, 0)
		if err != nil {
			n = 0 // interrupted: it is looked at again
			return true
		}
		return n > 0 || len(again) > 0
	}
	for p.raw.Read(wait) == nil {
		due, again = append(due[:0], again...), again[:0]
		p.mu.Lock()
		for _, e := range events[:n] {
			if s := p.streams[e.Fd]; s != nil {
				due = append(due, s)
			}
		}
		p.mu.Unlock()
		for i, s := range due {
			if due[i] = nil; s.turn(r) {
				again = append(again, s)
			}
		}
	}
}

// turn reads the stream for a while, unless someone does, and reports whether it is to be
// called again.
func (s *Stream) turn(r *reader) (again bool) {
	s.mu.Lock()
	if s.busy || s.closed || s.paused || s.ended {
		s.again = s.busy
		s.mu.Unlock()
		return false
	}
	s.busy, s.again = true, false
	s.refs++
	s.mu.Unlock()
	o := more
	for i := 0; i < turnSteps && o == more; i++ {
		o = r.step(s)
	}
	s.mu.Lock()
	s.busy = false
	again = s.again || o == more
	s.mu.Unlock()
	s.release()
	return again
}

// turns reads the stream when it is not its socket that asks for it.
func (s *Stream) turns() {
	r := newReader(false)
	for s.turn(r) {
	}
}

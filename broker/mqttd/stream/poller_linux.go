package stream

import (
	"cmp"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a poller. The figures are chosen.
const (
	turnSteps = 4                     // how often a stream is read before others have their turn
	eventsMax = 128                   // sockets that it is told of at once
	patience  = 10 * time.Millisecond // how long a turn may take before others go on without it
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
// Go's own poller for its epoll descriptor, so that it takes no thread. If a turn takes too
// long, as a Handler may have thousands of others to write to, a fresh goroutine is on duty,
// and the old one ends with the turn.
type poller struct {
	fd   int
	file *os.File // owns fd
	raw  syscall.RawConn
	loop *Loop

	mu      sync.Mutex // guards the rest
	streams []*Stream  // by descriptor
	due     []*Stream  // whose turn it is, from begun on
	begun   int
	duty    int  // which goroutine is on duty
	working bool // it has turns to give
	turns   int  // that were begun
	watched int  // turns when watch looked last
	watch   *time.Timer
	armed   bool // watch will look
}

// poll has a poller read the stream, and send its backlog. It gives nil if there is none: then goroutines must.
// With the stream's mu.
//
// The socket is the poller's from then on, under another descriptor: by its own Go would be told of all
// that comes, too, which costs as much as it does here. What is left of nc are its addresses.
func (l *Loop) poll(s *Stream) *poller {
	l.once.Do(l.startPolling)
	if len(l.pollers) == 0 || s.flushing { // by nc
		return nil
	}
	l.polling.turn.Lock()
	l.next = (l.next + 1) % len(l.pollers)
	p := l.pollers[l.next]
	l.polling.turn.Unlock()
	own, err := copyOf(s.raw)
	if err != nil {
		return nil
	}
	p.set(own, s)
	e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edge, Fd: own}
	if syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, int(own), &e) != nil {
		p.set(own, nil)
		_ = syscall.Close(int(own))
		return nil
	}
	s.number = own
	_ = s.nc.Close()
	return p
}

// copyOf gives another descriptor of a socket.
func copyOf(raw syscall.RawConn) (own int32, err error) {
	failed := raw.Control(func(fd uintptr) {
		var n int
		n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		own = int32(n) //nolint:gosec // descriptors are small
	})
	return own, cmp.Or(failed, os.NewSyscallError("fcntl", err))
}

func (p *poller) set(fd int32, s *Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := int(fd) + 1; n > len(p.streams) {
		p.streams = slices.Grow(p.streams, n-len(p.streams))[:n]
	}
	p.streams[fd] = s
}

// close gives the socket back, and with it its place at epoll. The stream is closed.
func (p *poller) close(s *Stream) {
	p.set(s.number, nil)
	_ = syscall.Close(int(s.number))
}

// half closes our half of the connection. With the stream's mu, and not after close.
func (p *poller) half(s *Stream) error {
	return os.NewSyscallError("shutdown", syscall.Shutdown(int(s.number), syscall.SHUT_WR))
}

// startPolling begins the pollers, if the system gives them.
func (l *Loop) startPolling() {
	for range runtime.GOMAXPROCS(0) {
		p, err := newPoller()
		if err != nil {
			return
		}
		l.pollers = append(l.pollers, p)
		p.loop = l
		p.watch = time.AfterFunc(time.Hour, p.look)
		p.watch.Stop()
		l.running.Go(func() { p.run(0) })
	}
}

// stopPolling ends the pollers.
func (l *Loop) stopPolling() {
	l.once.Do(func() {})
	for _, p := range l.pollers {
		_ = p.file.Close()
	}
	l.running.Wait()
	for _, p := range l.pollers {
		p.watch.Stop()
	}
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

// run has every stream have its turn that can be read, until the poller is closed or another
// goroutine is on duty.
func (p *poller) run(duty int) {
	r := newReader(false)
	events := make([]syscall.EpollEvent, eventsMax)
	n, idle := 0, false // some may have been left over
	wait := func(uintptr) bool {
		var err error
		if n, err = syscall.EpollWait(p.fd, events, 0); err != nil {
			n = 0 // interrupted: it is looked at again
			return true
		}
		return n > 0 || !idle
	}
	for p.raw.Read(wait) == nil {
		count := p.ready(events[:n])
		for range count { // those that come again do so after the next events
			s, on := p.next(duty)
			if !on {
				return
			}
			if s.turn(r) && !p.comeAgain(s, duty) {
				for s.turn(r) {
				}
				return
			}
		}
		var on bool
		if idle, on = p.rest(duty); !on {
			return
		}
	}
}

// ready adds to those whose turn it is, and says how many they are.
func (p *poller) ready(events []syscall.EpollEvent) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		if s := p.streams[e.Fd]; s != nil {
			if e.Events&^(syscall.EPOLLIN|syscall.EPOLLOUT) != 0 {
				s.finis.Store(true)
			}
			p.due = append(p.due, s)
		}
	}
	return len(p.due) - p.begun
}

// next gives the stream whose turn begins, if the goroutine is on duty.
func (p *poller) next(duty int) (s *Stream, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.duty != duty {
		return nil, false
	}
	p.working = true
	p.turns++
	if !p.armed {
		p.armed, p.watched = true, p.turns
		p.watch.Reset(patience)
	}
	s, p.due[p.begun] = p.due[p.begun], nil
	p.begun++
	return s, true
}

// comeAgain gives the stream another turn, behind the others, if the goroutine is on duty.
func (p *poller) comeAgain(s *Stream, duty int) (on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.duty != duty {
		return false
	}
	p.due = append(p.due, s)
	return true
}

// rest ends a round of turns. It reports whether nobody waits for one, and whether the
// goroutine is on duty.
func (p *poller) rest(duty int) (idle, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.duty != duty {
		return false, false
	}
	p.working = false
	n := copy(p.due, p.due[p.begun:])
	clear(p.due[n:])
	p.due, p.begun = p.due[:n], 0
	return n == 0, true
}

// look has another goroutine go on duty if the same turn was under way when it looked last.
func (p *poller) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.armed = p.working; !p.working {
		return
	}
	if p.watched == p.turns {
		p.duty++
		duty := p.duty
		p.working = false
		p.loop.running.Go(func() { p.run(duty) })
	}
	p.watched = p.turns
	p.watch.Reset(patience)
}

// turn sends what waits and reads the stream for a while, unless someone does. It reports whether it is to be
// called again.
func (s *Stream) turn(r *reader) (again bool) {
	s.mu.Lock()
	if s.busy || s.closed {
		s.again = s.busy
		s.mu.Unlock()
		return false
	}
	s.busy, s.again = true, false
	s.refs++
	flush, read := s.flushing, !s.paused && !s.ended
	s.mu.Unlock()
	if flush {
		s.flush()
	}
	o := nothing
	if read {
		s.dry = false
		o = more
	}
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

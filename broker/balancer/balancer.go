// Package balancer knows the connections that come through load balancers of the
// operator's own: where their PROXY header or X-Forwarded-For says they come from, and
// which balancers end the TLS of devices. It trusts no one but by the address at the other
// end of the TCP connection.
package balancer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// Networks say where the balancers before one listener are. The zero value: there are none.
type Networks struct {
	// Proxy lists the networks from which each connection begins with a PROXY header,
	// version 1 or 2; one without is refused.
	Proxy []netip.Prefix
	// EndsTLS lists the networks of balancers that end devices' TLS. Whoever connects
	// from there is trusted with the sessions of the devices behind him.
	EndsTLS []netip.Prefix
	// HTTP: requests of many clients share a connection of a balancer that ends TLS.
	HTTP bool
}

// Limits on headers; the figures are chosen, not derived. The library takes 107 bytes of a
// header of version 1 and 4 KiB of one of version 2.
const (
	headerTime = 5 * time.Second // from a connection's first byte to its header's last
	maxReading = 4096            // headers being waited for at once, by one listener
)

// Errors that a Refused is told of, wrapped.
var (
	ErrHeader  = errors.New("no PROXY header that can be used")
	ErrReading = errors.New("too many connections without their PROXY header so far")
)

// A Refused is told of each connection that was closed unserved. It may be called by
// several goroutines.
type Refused func(from net.Addr, err error)

// Listen takes the PROXY headers off the connections of ln that come through balancers;
// each of those is a *Conn. It gives ln itself if there are none.
func (n Networks) Listen(ln net.Listener, refused Refused) net.Listener {
	switch {
	case len(n.Proxy) > 0:
		return &reading{
			marked: marked{ln, n}, refused: refused,
			next: make(chan accepted), waiting: map[net.Conn]struct{}{}, closed: make(chan struct{}),
		}
	case len(n.EndsTLS) > 0:
		return &marked{ln, n}
	}
	return ln
}

// A Conn is a connection that comes through a balancer. Its remote address is the client's,
// if a PROXY header told it.
type Conn struct {
	net.Conn
	remote  net.Addr // nil: Conn's own
	rest    []byte   // read together with the header
	vouched bool
	many    bool
}

// RemoteAddr is the client's address, or the balancer's if that did not tell it.
func (c *Conn) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

// Read reads what follows the header.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}

// NetConn is the connection to the balancer. Its own Read misses what Unread gives.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Unread gives what was read together with the header and not by Read, once: whoever reads
// NetConn from here on begins with it.
func (c *Conn) Unread() []byte {
	rest := c.rest
	c.rest = nil
	return rest
}

// Many reports whether requests of clients of whom nothing is known yet share the connection,
// so that it says nothing of any one source.
func (c *Conn) Many() bool { return c.many }

// find gives the Conn that nc is or is wrapped around; nil if there is none.
func find(nc net.Conn) *Conn {
	for {
		if c, ok := nc.(*Conn); ok {
			return c
		}
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		nc = w.NetConn()
	}
}

// Vouched reports whether nc, or what it is wrapped around (NetConn), comes from a balancer
// that ends the TLS of devices.
func Vouched(nc net.Conn) bool {
	c := find(nc)
	return c != nil && c.vouched
}

// marked is a listener that knows which of its connections are of a balancer that ends TLS.
type marked struct {
	net.Listener
	networks Networks
}

// Accept gives the next connection.
func (l *marked) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.mark(nc), nil
}

// mark makes a Conn of a connection without header, if it is of a balancer that ends TLS.
func (l *marked) mark(nc net.Conn) net.Conn {
	if !in(l.networks.EndsTLS, nc.RemoteAddr()) {
		return nc
	}
	return &Conn{Conn: nc, vouched: true, many: l.networks.HTTP}
}

// in reports whether an address is in one of the networks.
func in(networks []netip.Prefix, a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// reading is a listener that reads PROXY headers, each in a goroutine of its own: one that
// does not come holds nobody up.
type reading struct {
	marked
	refused Refused

	start sync.Once
	next  chan accepted

	mu      sync.Mutex // guards waiting, and that nothing is added to it once closed
	waiting map[net.Conn]struct{}
	closed  chan struct{}
}

type accepted struct {
	conn net.Conn
	err  error
}

// Accept gives the next connection whose header is read, or that needs none.
func (l *reading) Accept() (net.Conn, error) {
	l.start.Do(func() { go l.accept() })
	select {
	case a := <-l.next:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the listener, and the connections whose header has not come.
func (l *reading) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed() {
		return net.ErrClosed
	}
	close(l.closed)
	for nc := range l.waiting {
		_ = nc.Close()
	}
	return l.Listener.Close()
}

func (l *reading) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

func (l *reading) accept() {
	for {
		nc, err := l.Listener.Accept()
		switch {
		case err != nil:
			l.hand(accepted{err: err})
			if errors.Is(err, net.ErrClosed) {
				return
			}
		case !in(l.networks.Proxy, nc.RemoteAddr()):
			l.hand(accepted{conn: l.mark(nc)})
		default:
			l.wait(nc)
		}
	}
}

// hand gives a connection to whoever accepts, or closes it.
func (l *reading) hand(a accepted) {
	select {
	case l.next <- a:
	case <-l.closed:
		if a.conn != nil {
			_ = a.conn.Close()
		}
	}
}

// wait has a connection's header read.
func (l *reading) wait(nc net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed() {
		_ = nc.Close()
		return
	}
	if len(l.waiting) >= maxReading {
		_ = nc.Close()
		l.refused(nc.RemoteAddr(), ErrReading)
		return
	}
	l.waiting[nc] = struct{}{}
	go l.read(nc)
}

func (l *reading) read(nc net.Conn) {
	c, err := readHeader(nc)
	l.mu.Lock()
	delete(l.waiting, nc)
	over := l.isClosed()
	l.mu.Unlock()
	if err != nil {
		_ = nc.Close()
		if !over && !errors.Is(err, errSilent) {
			l.refused(nc.RemoteAddr(), fmt.Errorf("%w: %w", ErrHeader, err))
		}
		return
	}
	c.vouched = in(l.networks.EndsTLS, nc.RemoteAddr())
	l.hand(accepted{conn: c})
}

// errSilent: the other end hung up without a byte, as balancers do that only look whether
// somebody listens.
var errSilent = errors.New("nothing came")

// readHeader reads the header that nc begins with. It takes no header whose client cannot
// be counted; a balancer that speaks for itself (LOCAL, UNKNOWN) is a client like any other.
func readHeader(nc net.Conn) (*Conn, error) {
	_ = nc.SetReadDeadline(time.Now().Add(headerTime))
	r := bufio.NewReaderSize(nc, 256)
	if _, err := r.Peek(1); errors.Is(err, io.EOF) {
		return nil, errSilent
	}
	h, err := proxyproto.Read(r)
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: nc}
	if source, _, ok := h.TCPAddrs(); ok && !h.Command.IsLocal() {
		c.remote = source
	} else if !h.Command.IsLocal() {
		return nil, errors.New("it names no TCP address")
	}
	rest, err := r.Peek(r.Buffered())
	if err != nil {
		return nil, err
	}
	c.rest = bytes.Clone(rest)
	return c, nc.SetReadDeadline(time.Time{})
}

type contextKey struct{}

// ConnContext is for http.Server.ConnContext: it lets requests know of the connection that
// they came on.
func ConnContext(ctx context.Context, nc net.Conn) context.Context {
	if c := find(nc); c != nil {
		return context.WithValue(ctx, contextKey{}, c)
	}
	return ctx
}

// of gives the Conn that a request came on; nil if there is none.
func of(ctx context.Context) *Conn {
	c, _ := ctx.Value(contextKey{}).(*Conn)
	return c
}

// VouchedRequest is Vouched for the connection that a request came on.
func VouchedRequest(ctx context.Context) bool {
	c := of(ctx)
	return c != nil && c.vouched
}

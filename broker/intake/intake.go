// Package intake bounds the connections of listeners, so that strangers cannot keep
// devices out, nor devices each other: how many there are in all, of each source, of each
// device and pool, and how fast they come. It never reads from a connection. It closes only those that may not come in, and those
// that must make room.
package intake

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// Limits bound how many connections clients may hold, and open, before anything is known
// of them. A source is an IPv4 address or an IPv6 /64, which is what one subscriber line is
// given. Loopback is a source like any other, because a reverse proxy or an attacker on
// the machine may be behind it. Zero means the default, negative no limit. The defaults
// are chosen, not derived.
type Limits struct {
	// Conns is how many connections there may be at once, those in their handshake
	// included. The default is 10,000; there is no "no limit". When it is reached, the
	// oldest connection that is no device's is dropped for a new one; new ones are
	// refused only when all belong to devices.
	Conns int
	// Strangers is how many connections at once may be no device's: in their TLS
	// handshake, before CONNECT, or anonymous. The default is half of Conns. Beyond it
	// the oldest is dropped: a client that means well soon finishes or becomes a device's.
	Strangers int
	// PerSource is how many connections one source may have at once. The default is three
	// fifths of Conns, so that no single source keeps the others out, yet a whole fleet may
	// sit behind one address.
	PerSource int
	// Rate is how many connections a second one source may open in the long run, and
	// Burst how many at once. The defaults are 500 and 5,000. A TLS handshake takes a
	// core about a millisecond, so one source can take about half a core, and a fleet of
	// 5,000 behind one address can come in at once.
	Rate  float64
	Burst int
	// PerDevice is how many connections one device may have at once. The default is 8. The
	// oldest of the same device makes room for a new one.
	PerDevice int
	// PerPool is how many connections the devices of one pool may have at once. The default
	// is nine tenths of Conns, so that no pool keeps the others out. When it is reached, the
	// oldest of a device that has several makes room: the new one's own, if it has any. A
	// new one is refused when each device has one alone.
	PerPool int
}

// DefaultConns is what Limits.Conns is by default.
const DefaultConns = 10_000

// Errors of Enter.
var (
	ErrFull       = errors.New("too many connections")
	ErrFullSource = errors.New("too many connections from this source")
	ErrTooFast    = errors.New("connections from this source come too fast")
)

// ErrFullPool is the error of Admitted.
var ErrFullPool = errors.New("too many connections of this pool's devices")

// Why a connection was dropped; with the device's or the pool's name behind it.
var (
	ErrRoom       = errors.New("it made room for a newer connection")
	ErrRoomDevice = errors.New("it made room for a newer connection of the same device")
	ErrRoomPool   = errors.New("it made room for another device of its pool")
)

func (l Limits) withDefaults() (Limits, error) {
	if l.Conns == 0 {
		l.Conns = DefaultConns
	}
	if l.Conns < 0 {
		return l, errors.New("intake: Limits.Conns is negative")
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&l.Strangers, (l.Conns + 1) / 2}, {&l.PerSource, (3*l.Conns + 4) / 5}, {&l.Burst, 5000}, {&l.PerDevice, 8}, {&l.PerPool, (9*l.Conns + 9) / 10}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if l.Rate == 0 {
		l.Rate = 500
	}
	if l.Rate > 0 && l.Burst < 1 {
		return l, fmt.Errorf("intake: Limits.Burst is %d, want at least 1 with a rate", l.Burst)
	}
	return l, nil
}

// maxSources bounds the memory of sources without connections.
const maxSources = 1 << 16

// An Intake counts connections in and out. One Intake may serve several listeners, which
// then share its limits. It is safe for concurrent use.
type Intake struct {
	limits Limits
	now    func() time.Time

	mu        sync.Mutex // guards the rest, and what entries hold
	open      int
	strangers list.List // of *Entry, the oldest first
	sources   map[netip.Prefix]*source
	devices   map[ident.Device]*Entry // each one's newest, linked by older
	pools     map[ident.Pool]*pool
}

// A pool is what its devices have together.
type pool struct {
	open   int
	spares list.List // of *Entry: all but the oldest of each device, the oldest first
}

// New makes an Intake. It refuses a negative Conns, and a Burst below 1 beside a Rate.
func New(l Limits) (*Intake, error) {
	l, err := l.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Intake{limits: l, now: time.Now, devices: map[ident.Device]*Entry{}, pools: map[ident.Pool]*pool{}}, nil
}

// Open gives how many connections there are now, and the limits on them, of which those
// below 1 are none.
func (in *Intake) Open() (conns int, limits Limits) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.open, in.limits
}

// Strangers gives how many of the connections now are no device's.
func (in *Intake) Strangers() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.strangers.Len()
}

// An Entry is one connection that an Intake has counted in.
type Entry struct {
	in      *Intake
	drop    func(why error)
	source  *source // nil: it has none
	counted bool
	device  ident.Device  // zero: it is a stranger's
	place   *list.Element // among strangers or, if it is a device's, among the spares of its pool; nil: it is the device's oldest, or not counted
	older   *Entry        // of the same device
}

// A source is where connections come from.
type source struct {
	open   int
	tokens float64 // connections that it may open now
	at     time.Time
}

// Source gives the source of an address (host:port): its IPv4 address or its IPv6 /64. Of
// anything else it is the zero Prefix, which has no limit of its own.
func Source(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	return SourceOf(at.Addr())
}

// Address gives the address of one end of a connection, an IPv4 one as such; the zero AddrPort if it has none.
func Address(of net.Addr) netip.AddrPort {
	if tcp, ok := of.(*net.TCPAddr); ok {
		at := tcp.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	at, err := netip.ParseAddrPort(of.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// SourceOf is Source of an address without port; of the zero Addr it is the zero Prefix.
func SourceOf(a netip.Addr) netip.Prefix {
	ip, bits := a.Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 32
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Enter counts in a connection from remote (host:port) as a stranger's, or gives the error
// why it may not come in. drop closes this connection when it must make room for another
// one later, and is told why: ErrRoom, ErrRoomDevice or ErrRoomPool. It is called at most
// once, from any goroutine, possibly before Enter has returned.
func (in *Intake) Enter(remote string, drop func(why error)) (*Entry, error) {
	e := &Entry{in: in, drop: drop}
	out, err := in.count(e, Source(remote))
	if err != nil {
		return nil, err
	}
	if out != nil {
		out.drop(ErrRoom)
	}
	return e, nil
}

// count counts e in; out is the connection that must make room, already counted out.
func (in *Intake) count(e *Entry, from netip.Prefix) (out *Entry, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var src *source
	if from.IsValid() {
		src = in.sourceAt(from, in.now())
		switch {
		case in.limits.Rate > 0 && src.tokens < 1:
			return nil, ErrTooFast
		case in.limits.PerSource > 0 && src.open >= in.limits.PerSource:
			return nil, ErrFullSource
		}
	}
	if in.open >= in.limits.Conns || in.limits.Strangers > 0 && in.strangers.Len() >= in.limits.Strangers {
		oldest := in.strangers.Front()
		if oldest == nil {
			return nil, ErrFull
		}
		out = oldest.Value.(*Entry)
		out.leave()
	}
	if src != nil {
		src.tokens--
		src.open++
	}
	in.open++
	e.counted, e.source = true, src
	e.place = in.strangers.PushBack(e)
	return out, nil
}

// Admitted notes that the connection now belongs to a device. It fails with ErrFullPool
// when there is no room for it, and the connection stays a stranger's. Otherwise makeRoom,
// never nil, drops the older connection that has to go, if any; call it with no lock held
// that drop takes. Once it is a device's, a further call changes nothing.
func (e *Entry) Admitted(d ident.Device) (makeRoom func(), err error) {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	if !e.counted || !e.device.IsZero() {
		return func() {}, nil
	}
	out, why, err := e.in.crowded(d)
	if err != nil {
		return nil, err
	}
	makeRoom = func() {}
	if out != nil {
		out.leave()
		makeRoom = func() { out.drop(why) }
	}
	e.admit(d)
	return makeRoom, nil
}

// crowded gives the connection that must make room for another one of d, nil if there is
// room.
func (in *Intake) crowded(d ident.Device) (out *Entry, why, err error) {
	p := in.pools[d.Pool]
	fullPool := p != nil && in.limits.PerPool > 0 && p.open >= in.limits.PerPool
	if !fullPool && in.limits.PerDevice <= 0 {
		return nil, nil, nil
	}
	switch own, oldest := in.ofDevice(d); {
	case oldest != nil && (fullPool || own >= in.limits.PerDevice):
		return oldest, fmt.Errorf("%w: %s", ErrRoomDevice, d), nil
	case !fullPool:
		return nil, nil, nil
	}
	spare := p.spares.Front()
	if spare == nil {
		return nil, nil, fmt.Errorf("%w: pool %s", ErrFullPool, d.Pool)
	}
	crowd := spare.Value.(*Entry).device
	_, out = in.ofDevice(crowd)
	return out, fmt.Errorf("%w: %s has several, and pool %s has no room", ErrRoomPool, crowd, d.Pool), nil
}

// ofDevice counts the connections of d and gives the oldest, nil if there is none.
func (in *Intake) ofDevice(d ident.Device) (n int, oldest *Entry) {
	for e := in.devices[d]; e != nil; e = e.older {
		oldest = e
		n++
	}
	return n, oldest
}

func (e *Entry) admit(d ident.Device) {
	e.noStranger()
	e.device = d
	p := e.in.pools[d.Pool]
	if p == nil {
		p = &pool{}
		e.in.pools[d.Pool] = p
	}
	p.open++
	if e.older = e.in.devices[d]; e.older != nil {
		e.place = p.spares.PushBack(e)
	}
	e.in.devices[d] = e
}

// leaveDevice is the contrary of admit.
func (e *Entry) leaveDevice() {
	d := e.device
	if d.IsZero() {
		return
	}
	e.device = ident.Device{}
	p := e.in.pools[d.Pool]
	p.keep(e)
	if p.open--; p.open == 0 {
		delete(e.in.pools, d.Pool)
	}
	var newer *Entry
	for at := e.in.devices[d]; at != e; at = at.older {
		newer = at
	}
	switch {
	case newer != nil && e.older == nil:
		p.keep(newer) // it is the oldest now
		newer.older = nil
	case newer != nil:
		newer.older = e.older
	case e.older != nil:
		e.in.devices[d] = e.older
	default:
		delete(e.in.devices, d)
	}
	e.older = nil
}

// keep takes an entry off the spares.
func (p *pool) keep(e *Entry) {
	if e.place != nil {
		p.spares.Remove(e.place)
		e.place = nil
	}
}

// Leave counts the connection out; more than once does no harm.
func (e *Entry) Leave() {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	e.leave()
}

func (e *Entry) noStranger() {
	if e.device.IsZero() && e.place != nil {
		e.in.strangers.Remove(e.place)
		e.place = nil
	}
}

func (e *Entry) leave() {
	e.noStranger()
	e.leaveDevice()
	if !e.counted {
		return
	}
	e.counted = false
	e.in.open--
	if e.source != nil {
		e.source.open--
	}
}

// sourceAt gives the source of p, with the tokens that it has at now.
func (in *Intake) sourceAt(p netip.Prefix, now time.Time) *source {
	src := in.sources[p]
	if src == nil {
		if in.sources == nil {
			in.sources = map[netip.Prefix]*source{}
		}
		if len(in.sources) >= maxSources {
			in.forgetIdle(now)
		}
		src = &source{tokens: float64(in.limits.Burst), at: now}
		in.sources[p] = src
	}
	src.fill(in.limits, now)
	return src
}

func (s *source) fill(l Limits, now time.Time) {
	if passed := now.Sub(s.at); passed > 0 {
		s.tokens = min(s.tokens+passed.Seconds()*l.Rate, float64(l.Burst))
	}
	s.at = now
}

// forgetIdle forgets sources without connections: those that have all their tokens again
// or, when that is less than half of them, all.
func (in *Intake) forgetIdle(now time.Time) {
	for _, all := range []bool{false, true} {
		for p, s := range in.sources {
			s.fill(in.limits, now)
			if s.open == 0 && (all || s.tokens >= float64(in.limits.Burst)) {
				delete(in.sources, p)
			}
		}
		if len(in.sources) <= maxSources/2 {
			return
		}
	}
}

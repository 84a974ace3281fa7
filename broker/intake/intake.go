// Package intake bounds the connections of listeners, so that strangers cannot keep
// devices out: how many there are in all and of each source, and how fast they come. It
// never reads from a connection. It closes only those that may not come in, and those
// that must make room.
package intake

import (
	"container/list"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
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
}

// Errors of Enter.
var (
	ErrFull       = errors.New("too many connections")
	ErrFullSource = errors.New("too many connections from this source")
	ErrTooFast    = errors.New("connections from this source come too fast")
)

func (l Limits) withDefaults() (Limits, error) {
	if l.Conns == 0 {
		l.Conns = 10_000
	}
	if l.Conns < 0 {
		return l, errors.New("intake: Limits.Conns is negative")
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&l.Strangers, (l.Conns + 1) / 2}, {&l.PerSource, (3*l.Conns + 4) / 5}, {&l.Burst, 5000}} {
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
}

// New makes an Intake. It refuses a negative Conns, and a Burst below 1 beside a Rate.
func New(l Limits) (*Intake, error) {
	l, err := l.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Intake{limits: l, now: time.Now}, nil
}

// Strangers gives how many of the connections now are no device's.
func (in *Intake) Strangers() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.strangers.Len()
}

// An Entry is one connection that an Intake has counted in.
type Entry struct {
	in       *Intake
	drop     func()
	source   netip.Prefix
	counted  bool
	stranger *list.Element // nil once it is a device's
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
	ip, bits := at.Addr().Unmap().WithZone(""), 64
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
// one later. It is called at most once, from any goroutine, possibly before Enter has
// returned.
func (in *Intake) Enter(remote string, drop func()) (*Entry, error) {
	e := &Entry{in: in, drop: drop, source: Source(remote)}
	out, err := in.count(e)
	if err != nil {
		return nil, err
	}
	if out != nil {
		out.drop()
	}
	return e, nil
}

// count counts e in; out is the connection that must make room, already counted out.
func (in *Intake) count(e *Entry) (out *Entry, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var src *source
	if e.source.IsValid() {
		src = in.sourceAt(e.source, in.now())
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
	e.counted = true
	e.stranger = in.strangers.PushBack(e)
	return out, nil
}

// Admitted notes that the connection now belongs to a device.
func (e *Entry) Admitted() {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	e.admitted()
}

// Leave counts the connection out; more than once does no harm.
func (e *Entry) Leave() {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	e.leave()
}

func (e *Entry) admitted() {
	if e.stranger != nil {
		e.in.strangers.Remove(e.stranger)
		e.stranger = nil
	}
}

func (e *Entry) leave() {
	e.admitted()
	if !e.counted {
		return
	}
	e.counted = false
	e.in.open--
	if src := e.in.sources[e.source]; src != nil {
		src.open--
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

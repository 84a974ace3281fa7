// Package intake counts connections in and out of a listener, so that strangers
// keep nobody out: in all, by source and by how fast they come.
//
// It imports the standard library only. It opens, reads and closes no connection.
package intake

import (
	"container/list"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Limits bound what clients can hold or ask for before anyone has looked at
// them. A source is an IPv4 address or an IPv6 /64, which is what one subscriber
// line is given. Loopback is a source like any other: a reverse proxy or an
// attacker on the machine is one. Zero means the default, negative none. The
// figures are chosen, not derived.
type Limits struct {
	// Conns is the most connections at once, handshakes included; 10,000. It can't be
	// lifted. When it is reached, the oldest connection that is no device's makes room;
	// new ones are refused only when all are devices'.
	Conns int
	// Strangers is the most connections at once that are no device's (in TLS handshake,
	// before CONNECT, anonymous); half of Conns. Beyond it the oldest is dropped: one
	// that does what it came for is not among the oldest for long.
	Strangers int
	// PerSource is the most connections at once from one source; three fifths of
	// Conns, so that no single source keeps the others out while a whole fleet may
	// sit behind one address.
	PerSource int
	// Rate is how many connections a second one source may open in the long run, and
	// Burst how many at once; 500 and 5,000. A TLS handshake costs a core about a
	// millisecond, so this bounds one source to about half a core, and a simulated or
	// translated fleet of 5,000 comes in at once.
	Rate  float64
	Burst int
}

// Refusals of a connection before it says anything.
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

// An Intake counts connections in and out. It holds no lock and reads no clock:
// whoever owns it does.
type Intake struct {
	limits    Limits
	open      int
	strangers list.List // of *Entry, the oldest first
	sources   map[netip.Prefix]*source
}

// New makes an Intake; Limits that make no sense are refused.
func New(l Limits) (*Intake, error) {
	l, err := l.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Intake{limits: l}, nil
}

// Strangers is how many connections are counted in that are no device's.
func (in *Intake) Strangers() int { return in.strangers.Len() }

// An Entry is what an Intake knows of one connection. The Intake's owner guards it.
type Entry struct {
	drop     func()
	source   netip.Prefix
	counted  bool
	stranger *list.Element // nil once it is a device's
}

// NewEntry makes the Entry of a connection from remote (host:port), which drop ends.
func NewEntry(remote string, drop func()) *Entry {
	return &Entry{drop: drop, source: Source(remote)}
}

// Drop ends the connection that has to make room.
func (e *Entry) Drop() { e.drop() }

// A source is where connections come from.
type source struct {
	open   int
	tokens float64 // connections that it may open now
	at     time.Time
}

// Source gives what counts as one source of an address (host:port): an IPv4 address
// or an IPv6 /64. It is the zero Prefix, which has no limit of its own, of anything else.
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

// Enter counts e in, or says why not; out is the one that has to make room for it,
// counted out already, and is to be dropped.
func (in *Intake) Enter(e *Entry, now time.Time) (out *Entry, err error) {
	var src *source
	if e.source.IsValid() {
		src = in.sourceAt(e.source, now)
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
		in.Leave(out)
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

// Admitted notes that e is a device's now.
func (in *Intake) Admitted(e *Entry) {
	if e.stranger != nil {
		in.strangers.Remove(e.stranger)
		e.stranger = nil
	}
}

// Leave counts e out, once.
func (in *Intake) Leave(e *Entry) {
	in.Admitted(e)
	if !e.counted {
		return
	}
	e.counted = false
	in.open--
	if src := in.sources[e.source]; src != nil {
		src.open--
	}
}

// sourceAt gives the source with its tokens as of now.
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

// forgetIdle forgets sources without connections: those that are as good as new,
// or when that isn't half of them, all.
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

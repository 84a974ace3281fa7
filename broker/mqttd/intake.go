package mqttd

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Limits bound what clients can hold or ask for before the Gate has looked at
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
	errFull       = errors.New("mqttd: too many connections")
	errFullSource = errors.New("mqttd: too many connections from this source")
	errTooFast    = errors.New("mqttd: connections from this source come too fast")
)

func (l Limits) withDefaults() (Limits, error) {
	if l.Conns == 0 {
		l.Conns = 10_000
	}
	if l.Conns < 0 {
		return l, errors.New("mqttd: Limits.Conns is negative")
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
		return l, fmt.Errorf("mqttd: Limits.Burst is %d, want at least 1 with a rate", l.Burst)
	}
	return l, nil
}

// maxSources bounds the memory of sources without connections.
const maxSources = 1 << 16

// An intake counts connections in and out. It holds no lock and reads no clock.
type intake struct {
	Limits
	open      int
	strangers list.List // of *conn, the oldest first
	sources   map[netip.Prefix]*source
}

// A source is where connections come from.
type source struct {
	open   int
	tokens float64 // connections that it may open now
	at     time.Time
}

// sourceOf gives the source of an address; the zero Prefix, which has no limit
// of its own, of one that isn't IP.
func sourceOf(a net.Addr) netip.Prefix {
	var ip netip.Addr
	if a != nil {
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			ip = ap.Addr().Unmap().WithZone("")
		}
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// enter counts c in, or says why not; out is the connection that has to make
// room for it, counted out already.
func (in *intake) enter(c *conn, now time.Time) (out *conn, err error) {
	var src *source
	if c.source.IsValid() {
		src = in.sourceAt(c.source, now)
		switch {
		case in.Rate > 0 && src.tokens < 1:
			return nil, errTooFast
		case in.PerSource > 0 && src.open >= in.PerSource:
			return nil, errFullSource
		}
	}
	if in.open >= in.Conns || in.Strangers > 0 && in.strangers.Len() >= in.Strangers {
		oldest := in.strangers.Front()
		if oldest == nil {
			return nil, errFull
		}
		out = oldest.Value.(*conn)
		in.leave(out)
	}
	if src != nil {
		src.tokens--
		src.open++
	}
	in.open++
	c.counted = true
	c.stranger = in.strangers.PushBack(c)
	return out, nil
}

// admitted notes that c is a device's now.
func (in *intake) admitted(c *conn) {
	if c.stranger != nil {
		in.strangers.Remove(c.stranger)
		c.stranger = nil
	}
}

// leave counts c out, once.
func (in *intake) leave(c *conn) {
	in.admitted(c)
	if !c.counted {
		return
	}
	c.counted = false
	in.open--
	if src := in.sources[c.source]; src != nil {
		src.open--
	}
}

// sourceAt gives the source with its tokens as of now.
func (in *intake) sourceAt(p netip.Prefix, now time.Time) *source {
	src := in.sources[p]
	if src == nil {
		if in.sources == nil {
			in.sources = map[netip.Prefix]*source{}
		}
		if len(in.sources) >= maxSources {
			in.forgetIdle(now)
		}
		src = &source{tokens: float64(in.Burst), at: now}
		in.sources[p] = src
	}
	src.fill(in.Limits, now)
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
func (in *intake) forgetIdle(now time.Time) {
	for _, all := range []bool{false, true} {
		for p, s := range in.sources {
			s.fill(in.Limits, now)
			if s.open == 0 && (all || s.tokens >= float64(in.Burst)) {
				delete(in.sources, p)
			}
		}
		if len(in.sources) <= maxSources/2 {
			return
		}
	}
}

package intake

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Handshakes has the TLS handshakes of listeners computed a few at a time, so that a flood of
// them waits here and not together with all that a process has to do, where each step of a
// login would have to wait behind all of them. Those from sources that a device has come
// from wait for one another alone. Nobody waits for a client: a turn lasts from when a client's
// hello is there until the answer to it is made. Who has not had one within TurnTime is refused.
// It is safe for concurrent use; a nil one has everybody go on at once.
type Handshakes struct {
	lines [len(Kinds)]line
	told  func(Turn)

	mu           sync.Mutex // guards the rest: sources, the newer ones and those from before them
	came, before map[netip.Prefix]struct{}
}

// A line is where handshakes of one kind of sources wait.
type line struct {
	turns   chan struct{}
	waiting atomic.Int64
}

// TurnTime is how long a handshake may wait for its turn: no longer than a listener waits for
// it, so that what is computed is for somebody.
const TurnTime = 10 * time.Second

// ErrTurn: a handshake's turn did not come in time.
var ErrTurn = errors.New("too many TLS handshakes at once")

// A Kind is a kind of sources, in a word for metrics.
type Kind string

// Kinds.
const (
	KindKnown    Kind = "known"    // a device has come from there
	KindStranger Kind = "stranger" // none has, as far as is remembered
)

// Kinds are both.
var Kinds = [...]Kind{KindKnown, KindStranger}

// A Turn is how a handshake came to be computed, or not.
type Turn struct {
	Kind    Kind
	Remote  string        // host:port
	Waited  time.Duration // until it was its turn, or it gave up
	Refused bool          // it gave up
}

// NewHandshakes makes one with so many turns, at least one, for each of the two kinds of
// sources. More than there are processors make no handshake sooner. told, which may be nil, is
// told of each, by any goroutine, and must be quick.
func NewHandshakes(turns int, told func(Turn)) *Handshakes {
	if told == nil {
		told = func(Turn) {}
	}
	h := &Handshakes{told: told, came: map[netip.Prefix]struct{}{}}
	for i := range h.lines {
		h.lines[i].turns = make(chan struct{}, max(1, turns))
	}
	return h
}

// Turns gives how many handshakes of each kind are computed at once; 0 is no bound.
func (h *Handshakes) Turns() int {
	if h == nil {
		return 0
	}
	return cap(h.lines[0].turns)
}

// Waiting gives how many handshakes of a kind wait for their turn now.
func (h *Handshakes) Waiting(k Kind) int {
	if h == nil {
		return 0
	}
	return int(h.line(k).waiting.Load())
}

func (h *Handshakes) line(k Kind) *line {
	if k == KindKnown {
		return &h.lines[0]
	}
	return &h.lines[1]
}

// Came notes that a device was admitted that comes from a source. Sources are forgotten when
// half of maxSources have come since.
func (h *Handshakes) Came(src netip.Prefix) {
	if h == nil || !src.IsValid() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.came) >= maxSources/2 {
		h.came, h.before = map[netip.Prefix]struct{}{}, h.came
	}
	h.came[src] = struct{}{}
}

func (h *Handshakes) knows(src netip.Prefix) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, lately := h.came[src]
	_, before := h.before[src]
	return lately || before
}

// InTurn makes a listener's TLS wait its turn. The connections that it is to be used on say when
// the answer to a hello is made, by a method OnAnswer; others do not wait.
func (h *Handshakes) InTurn(conf *tls.Config) *tls.Config {
	if h == nil {
		return conf
	}
	next := conf.GetConfigForClient
	conf = conf.Clone()
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		var use *tls.Config
		if next != nil {
			var err error
			if use, err = next(hello); err != nil {
				return nil, err
			}
		}
		if c, ok := hello.Conn.(interface{ OnAnswer(func()) }); ok {
			end, err := h.Begin(hello.Conn.RemoteAddr().String())
			if err != nil {
				return nil, err
			}
			c.OnAnswer(end)
		}
		return use, nil
	}
	return conf
}

// Begin waits until the handshake with remote (host:port) may be computed. Call end when it is;
// again does no harm. The error is ErrTurn.
func (h *Handshakes) Begin(remote string) (end func(), err error) {
	if h == nil {
		return func() {}, nil
	}
	turn := Turn{Kind: KindStranger, Remote: remote}
	if h.knows(Source(remote)) {
		turn.Kind = KindKnown
	}
	l := h.line(turn.Kind)
	turn.Waited, turn.Refused = l.wait()
	h.told(turn)
	if turn.Refused {
		return nil, ErrTurn
	}
	return sync.OnceFunc(func() { <-l.turns }), nil
}

// wait takes a turn, or gives up.
func (l *line) wait() (waited time.Duration, refused bool) {
	select {
	case l.turns <- struct{}{}:
		return 0, false
	default:
	}
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	began := time.Now()
	t := time.NewTimer(TurnTime)
	defer t.Stop()
	select {
	case l.turns <- struct{}{}:
		return time.Since(began), false
	case <-t.C:
		return time.Since(began), true
	}
}

package intake

import (
	"crypto/tls"
	"net/netip"
	"sync"
)

// Handshakes has the TLS handshakes of listeners computed a few at a time, so that a flood of
// them waits here and not together with all that a process has to do, where each step of a
// login would have to wait behind all of them. Those from sources that a device has come
// from wait for one another alone. Nothing is refused, and nobody waits for a client: a turn
// lasts from when a client's hello is there until the answer to it is made. It is safe for
// concurrent use; a nil one has everybody go on at once.
type Handshakes struct {
	known, others chan struct{} // turns

	mu           sync.Mutex // guards the rest: sources, the newer ones and those from before them
	came, before map[netip.Prefix]struct{}
}

// NewHandshakes makes one with so many turns for each of the two kinds of sources. More than
// there are processors make no handshake sooner.
func NewHandshakes(turns int) *Handshakes {
	return &Handshakes{known: make(chan struct{}, turns), others: make(chan struct{}, turns), came: map[netip.Prefix]struct{}{}}
}

// Came notes that a device was admitted from remote (host:port). Sources are forgotten when
// half of maxSources have come since.
func (h *Handshakes) Came(remote string) {
	src := Source(remote)
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
			c.OnAnswer(h.Begin(hello.Conn.RemoteAddr().String()))
		}
		return use, nil
	}
	return conf
}

// Begin waits until the handshake with remote may be computed. Call end when it is; again does
// no harm.
func (h *Handshakes) Begin(remote string) (end func()) {
	if h == nil {
		return func() {}
	}
	turns := h.others
	if h.knows(Source(remote)) {
		turns = h.known
	}
	turns <- struct{}{}
	return sync.OnceFunc(func() { <-turns })
}

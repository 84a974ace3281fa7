package hook

import (
	"cmp"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// Bounds on how much a broker waits for hooks. Anybody can open an exchange, so a hook
// that hangs must not hold up the workers that other pools' devices need.
const (
	maxFailures = 5                // in a row, after which a hook is not called
	pause       = 10 * time.Second // how long it is not called; then one call at a time tries it
)

// Limits bound the calls of one pool's hooks at once. 0 means the default.
type Limits struct {
	Calls     int // all together; DefaultCalls
	Strangers int // of those, for whoever has not proved a device's key: others find room beside them; half of Calls
	PerSource int // of those of strangers, for one source, and half of that once half of Strangers are taken; 2
	PerDevice int // of all, for one device that has proved its key; 2
}

// Defaults of Limits.
const (
	DefaultCalls     = 32
	DefaultPerSource = 2
	DefaultPerDevice = 2
)

// set gives l with its defaults.
func (l Limits) set() Limits {
	l.Calls = cmp.Or(l.Calls, DefaultCalls)
	l.Strangers = cmp.Or(l.Strangers, max(1, l.Calls/2))
	l.PerSource, l.PerDevice = cmp.Or(l.PerSource, DefaultPerSource), cmp.Or(l.PerDevice, DefaultPerDevice)
	return l
}

// A Cause is why a hook was not called, in a word for metrics.
type Cause string

// Causes.
const (
	CausePool     Cause = "pool"     // the pool's hooks have Limits.Calls
	CauseUnproven Cause = "unproven" // too many calls for callers that have proved nothing
	CauseSource   Cause = "source"   // too many of those from one source
	CauseDevice   Cause = "device"   // too many calls for one device
	CauseFailing  Cause = "failing"  // it failed too often
)

// Causes are all of them.
var Causes = [...]Cause{CausePool, CauseUnproven, CauseSource, CauseDevice, CauseFailing}

// A heldError is why a hook is not called now. The device is told to come again.
type heldError struct {
	cause Cause
	n     int // calls under way, or failures in a row
}

func (e *heldError) Error() string {
	why := "calls of the pool's hooks are under way"
	switch e.cause {
	case CauseUnproven:
		why = "calls for callers without proof are under way"
	case CauseSource:
		why = "calls for callers without proof at this source are under way"
	case CauseDevice:
		why = "calls for this device are under way"
	case CauseFailing:
		why = "failures in a row"
	}
	return fmt.Sprintf("hook not called: %d %s", e.n, why)
}

// Unwrap gives what the device hears.
func (*heldError) Unwrap() error { return protocol.CodeBusy }

// A gate lets calls to hooks through or refuses them at once.
type gate struct {
	now    func() time.Time
	limits Limits

	mu      sync.Mutex // guards the fields below
	calls   map[ident.Pool]int
	callers map[caller]int
	hooks   map[asked]*failing
}

// A caller is on whose behalf a hook is called: a device by its subject; or, with a zero
// subject, those at a source that have proved nothing; or, with neither, all such.
type caller struct {
	pool    ident.Pool
	subject ident.UUID
	source  netip.Prefix
}

// who asks: a device that has proved itself by its subject, anybody else by the source that
// the message came from, if that is known.
type who struct {
	subject ident.UUID
	source  netip.Prefix
}

// asked is a hook, and whether callers that have proved themselves ask it or others. Failures
// are counted apart: strangers can bring them about, by as many calls at once as a hook does
// not bear, and must not take the hook from devices by that.
type asked struct {
	pool   ident.Pool
	name   string
	proven bool
}

// failing is what the gate knows of a hook that failed last time.
type failing struct {
	failures int       // in a row
	until    time.Time // not called before that, if failures are too many
	probing  bool      // a call that tries whether it works again is under way
}

func newGate(l Limits, now func() time.Time) *gate {
	return &gate{now: now, limits: l.set(), calls: make(map[ident.Pool]int), callers: make(map[caller]int), hooks: make(map[asked]*failing)}
}

// enter lets a call through and gives the function that must be called at its end, with
// whether it failed; or it refuses with an error that wraps protocol.CodeBusy.
func (g *gate) enter(h *broker.Hook, by who) (leave func(failed bool), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := g.calls[h.Pool]; n >= g.limits.Calls {
		return nil, &heldError{CausePool, n}
	}
	callers, err := g.room(h.Pool, by)
	if err != nil {
		return nil, err
	}
	name := asked{h.Pool, h.Name, !by.subject.IsZero()}
	probe, err := g.probe(name)
	if err != nil {
		return nil, err
	}
	g.calls[h.Pool]++
	for _, c := range callers {
		g.callers[c]++
	}
	return func(failed bool) { g.leave(name, callers, probe, failed) }, nil
}

// probe reports whether this call would try a failing hook again, or gives why there may be no
// call now. A hook that fails for those who have proved themselves is not called for others
// either, who are never the ones that try it for them: theirs might be made to hang.
func (g *gate) probe(name asked) (bool, error) {
	if !name.proven {
		if r := g.hooks[asked{name.pool, name.name, true}]; r.held(g.now()) {
			return false, &heldError{CauseFailing, r.failures}
		}
	}
	r := g.hooks[name]
	if r.held(g.now()) {
		return false, &heldError{CauseFailing, r.failures}
	}
	if r == nil || r.failures < maxFailures {
		return false, nil
	}
	r.probing = true
	return true, nil
}

// held reports whether the hook must not be called now. r may be nil.
func (r *failing) held(now time.Time) bool {
	return r != nil && r.failures >= maxFailures && (r.probing || now.Before(r.until))
}

// room gives whose calls one more is counted among, if they may have it.
func (g *gate) room(pool ident.Pool, by who) ([]caller, error) {
	if !by.subject.IsZero() {
		device := caller{pool: pool, subject: by.subject}
		if n := g.callers[device]; n >= g.limits.PerDevice {
			return nil, &heldError{CauseDevice, n}
		}
		return []caller{device}, nil
	}
	all := caller{pool: pool}
	n := g.callers[all]
	if n >= g.limits.Strangers {
		return nil, &heldError{CauseUnproven, n}
	}
	if !by.source.IsValid() {
		return []caller{all}, nil
	}
	most := g.limits.PerSource
	if n >= g.limits.Strangers/2 {
		most = max(1, most/2)
	}
	source := caller{pool: pool, source: by.source}
	if n := g.callers[source]; n >= most {
		return nil, &heldError{CauseSource, n}
	}
	return []caller{all, source}, nil
}

// leave notes the end of a call; probe: it was the one that tried a failing hook again.
func (g *gate) leave(name asked, callers []caller, probe, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[name.pool]--; g.calls[name.pool] == 0 {
		delete(g.calls, name.pool)
	}
	for _, c := range callers {
		if g.callers[c]--; g.callers[c] == 0 {
			delete(g.callers, c)
		}
	}
	if !failed {
		delete(g.hooks, name)
		return
	}
	r := g.hooks[name]
	if r == nil {
		r = &failing{}
		g.hooks[name] = r
	}
	if probe {
		r.probing = false
	}
	r.failures++
	r.until = g.now().Add(pause)
}

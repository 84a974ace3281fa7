package hook

import (
	"fmt"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// Bounds on how much a broker waits for hooks. Anybody can open an exchange, so a hook
// that hangs must not hold up the workers that other pools' devices need.
const (
	MaxCalls    = 32               // of one pool's hooks at once
	maxUnproven = MaxCalls / 2     // of those, for whoever has not proved a device's key: others find room beside them
	maxOfDevice = 2                // of those, for one device that has
	maxFailures = 5                // in a row, after which a hook is not called
	pause       = 10 * time.Second // how long it is not called; then one call at a time tries it
)

// errBusy is wrapped when a hook is not called now. The device is told to come again.
var errBusy = fmt.Errorf("hook not called: %w", protocol.CodeBusy)

// A gate lets calls to hooks through or refuses them at once.
type gate struct {
	now func() time.Time

	mu      sync.Mutex // guards the fields below
	calls   map[ident.Pool]int
	callers map[caller]int
	hooks   map[hookName]*failing
}

// A caller is on whose behalf a hook is called: a device by its subject, or, with a zero
// subject, all that have proved nothing.
type caller struct {
	pool    ident.Pool
	subject ident.UUID
}

// most is how many calls at once may be on its behalf.
func (c caller) most() int {
	if c.subject.IsZero() {
		return maxUnproven
	}
	return maxOfDevice
}

type hookName struct {
	pool ident.Pool
	name string
}

// failing is what the gate knows of a hook that failed last time.
type failing struct {
	failures int       // in a row
	until    time.Time // not called before that, if failures are too many
	probing  bool      // a call that tries whether it works again is under way
}

func newGate(now func() time.Time) *gate {
	return &gate{now: now, calls: make(map[ident.Pool]int), callers: make(map[caller]int), hooks: make(map[hookName]*failing)}
}

// enter lets a call through and gives the function that must be called at its end, with
// whether it failed; or it refuses with an error that wraps protocol.CodeBusy.
func (g *gate) enter(h *broker.Hook, subject ident.UUID) (leave func(failed bool), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := g.calls[h.Pool]; n >= MaxCalls {
		return nil, fmt.Errorf("%d calls of the pool's hooks are under way: %w", n, errBusy)
	}
	by := caller{h.Pool, subject}
	if n := g.callers[by]; n >= by.most() {
		if subject.IsZero() {
			return nil, fmt.Errorf("%d calls for callers without proof are under way: %w", n, errBusy)
		}
		return nil, fmt.Errorf("%d calls for this device are under way: %w", n, errBusy)
	}
	name := hookName{h.Pool, h.Name}
	r := g.hooks[name]
	probe := r != nil && r.failures >= maxFailures
	if probe {
		if r.probing || g.now().Before(r.until) {
			return nil, fmt.Errorf("it failed %d times in a row: %w", r.failures, errBusy)
		}
		r.probing = true
	}
	g.calls[h.Pool]++
	g.callers[by]++
	return func(failed bool) { g.leave(name, by, probe, failed) }, nil
}

// leave notes the end of a call; probe: it was the one that tried a failing hook again.
func (g *gate) leave(name hookName, by caller, probe, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[name.pool]--; g.calls[name.pool] == 0 {
		delete(g.calls, name.pool)
	}
	if g.callers[by]--; g.callers[by] == 0 {
		delete(g.callers, by)
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

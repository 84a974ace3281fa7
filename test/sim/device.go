package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// A device is honest: a real agent that enrolls with a token and then runs for ever,
// through reboots and jumps of its clock.
type device struct {
	w     *World
	id    ident.Device
	key   agent.Prover
	token *protocol.EnrollToken
	actor *actor
	copy  string          // what tells a copy of the device from it; "": it is the device
	ctx   context.Context // that a copy lives in; nil: the world's

	mu       sync.Mutex // guards the fields below
	flash    agent.Record
	offset   time.Duration // what its clock is wrong by
	boots    int
	anew     bool          // it must enroll once more
	told     []byte        // the anchor that its owner has named for that; nil: he names none
	stranger bool          // the broker does not know it, so that it takes a token
	nap      time.Duration // how long it is off when it is next
	reboot   context.CancelFunc
	agent    *agent.Agent
	link     *conn
	links    int
	in       time.Time // when it was granted something last, by the true clock
}

// Load gives what was saved.
func (d *device) Load(context.Context) (agent.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flash, nil
}

// Save is where a device takes a grant for good. Power may fail before or after.
func (d *device) Save(ctx context.Context, r agent.Record) error {
	d.actor.turn()
	d.mu.Lock()
	link := d.link
	d.mu.Unlock()
	link.mu.Lock()
	asked, last := link.asked, link.last
	link.mu.Unlock()
	d.w.facts.accepted(d.id.String(), asked, last)
	if !d.w.net.kind() && d.actor.dice.roll(25) == 0 {
		d.restart()
	}
	d.actor.rest(d.actor.dice.short())
	if ctx.Err() != nil && d.actor.dice.roll(2) == 0 {
		d.w.facts.happens("power fails before a grant is saved", "%s did not save", d.id)
		return ctx.Err() // the old state survives
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.w.follows(d, d.flash.Pin, r.Pin)
	d.flash, d.in, d.told = r, time.Now(), nil
	return nil
}

func (d *device) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Add(d.offset)
}

// live boots the device again and again until the world ends.
func (d *device) live() {
	life := d.w.ctx
	if d.ctx != nil {
		life = d.ctx
	}
	for life.Err() == nil {
		d.mu.Lock()
		ctx, cancel := context.WithCancel(life)
		d.reboot = cancel
		d.boots++
		boots := d.boots
		d.mu.Unlock()
		a, err := agent.New(ctx, agent.Config{
			Device: d.id, Prover: prover{d.key, d.actor}, State: d, Solver: d.solve, Clock: d.clock, Built: d.w.built,
			Random: d.w.readerOf(d.actor, "%s%s, boot %d", d.id, d.copy, boots), Log: slog.New(&ears{facts: d.w.facts, of: d}),
		})
		if err != nil {
			d.w.facts.violate("%s does not boot: %v", d.id, err)
			cancel()
			return
		}
		d.mu.Lock()
		d.agent = a
		d.mu.Unlock()
		d.enroll(ctx, a)
		_ = a.Run(ctx, d.dial) // nil at its end
		cancel()
		d.sleep()
	}
}

// sleep is how long the device is off: a moment, or as long as it was told.
func (d *device) sleep() {
	d.mu.Lock()
	off := max(d.nap, d.actor.dice.upTo(5*time.Second))
	long := d.nap > 0
	d.nap = 0
	d.mu.Unlock()
	before := d.w.facts.tally()
	d.actor.sleep(d.w.ctx, off)
	if !long || d.w.ctx.Err() != nil {
		return
	}
	after := d.w.facts.tally()
	for _, what := range backAndForth {
		if after[what] > before[what] {
			d.w.facts.count(what + asleep)
		}
	}
}

// enroll tries until it is in, as somebody at a device would: soon again, then once a minute.
func (d *device) enroll(ctx context.Context, a *agent.Agent) {
	must := func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.anew || !a.Enrolled()
	}
	for pause := 5 * time.Second; must() && ctx.Err() == nil; pause = min(2*pause, time.Minute) {
		call, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := d.enrollOnce(call, a)
		cancel()
		if err != nil {
			d.w.facts.say("%s is not enrolled: %v", d.id, err)
			d.actor.sleep(ctx, pause)
			continue
		}
		d.mu.Lock()
		d.anew = false
		d.mu.Unlock()
	}
}

// enrollOnce is one of its tries.
func (d *device) enrollOnce(ctx context.Context, a *agent.Agent) error {
	r := d.w.someReplica(d.actor)
	c, err := d.reach(r, false)
	if err != nil {
		return err
	}
	if err = c.open(ctx, r, c.anonymous()); err == nil {
		_, err = a.Enroll(ctx, c, d.admission())
	}
	d.actor.turn()
	c.end()
	return err
}

// admission is what its owner gives the device to enroll by.
func (d *device) admission() agent.Admission {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := agent.Admission{Token: d.token, Pin: d.told}
	if d.told != nil && !d.stranger {
		v.Token = nil
	}
	return v
}

func (d *device) connect() *conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.links++
	d.link = d.w.connect(d.actor, d.id.String()+d.copy, d.links)
	d.link.key = d.id
	return d.link
}

// dial connects to some replica, as agent/mqttlink does.
func (d *device) dial(ctx context.Context, cred *agent.Credential) (agent.Connection, error) {
	d.actor.turn()
	r := d.w.someReplica(d.actor)
	if r.running() == nil {
		return nil, errDown
	}
	c, err := d.reach(r, cred != nil)
	switch {
	case errors.Is(err, agent.ErrStale):
		d.w.facts.happens("no token shown in doubt", "%s doubts a certificate and shows no token", d.id)
		return nil, err
	case err != nil:
		d.w.facts.count("certificate refused")
		return nil, err
	}
	connect := c.anonymous()
	if cred != nil {
		password, err := cred.Password(c.End(), cred.Username)
		if err != nil {
			c.end()
			return nil, fmt.Errorf("%w: %w", agent.ErrCredential, err)
		}
		d.w.net.shown(c, d.id, password)
		connect = packet.Connect{ClientID: cred.Username, HasUserName: true, UserName: cred.Username, HasPassword: true, Password: password}
		d.w.lasting(&connect, d.id, d.actor.dice)
	}
	err = c.open(ctx, r, connect)
	if errors.Is(err, errRefused) {
		err = fmt.Errorf("%w: %w", agent.ErrCredential, err)
	}
	if err != nil {
		return nil, err
	}
	if l := c.way(); l != nil && l.letter != nil {
		for range 1 + d.actor.dice.roll(2) {
			l.post()
		}
	}
	return c, nil
}

// standing is what the device's connection stands on, zero while that is nobody's.
func (d *device) standing() access.Standing {
	d.mu.Lock()
	link := d.link
	d.mu.Unlock()
	if link == nil {
		return access.Standing{}
	}
	return link.now()
}

// cut ends the device's connection.
func (d *device) cut() {
	d.mu.Lock()
	link := d.link
	d.mu.Unlock()
	if link != nil {
		link.end()
	}
}

// lose has the device lose its connection, of which the replica does not hear.
func (d *device) lose() {
	d.mu.Lock()
	link := d.link
	d.mu.Unlock()
	if link != nil {
		link.lose()
	}
}

// hint tells the device to renew, as the broker does and its enemies can. One that
// is busy does not hear it.
func (d *device) hint() {
	d.mu.Lock()
	link := d.link
	d.mu.Unlock()
	if link == nil {
		return
	}
	raw, err := protocol.Encode(&protocol.Event{Name: protocol.EventRenew})
	if err == nil && link.happens(raw) {
		d.w.facts.happens("hint", "%s is told to renew", d.id)
	}
}

func (d *device) jump(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offset = by
}

func (d *device) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reboot != nil {
		d.reboot()
	}
}

// enrollAgain has somebody enroll the device anew with the token that it had at first, which
// pins the pool's first anchor.
func (d *device) enrollAgain() {
	d.mu.Lock()
	again := d.flash.Enrolled
	d.anew = d.anew || again
	d.mu.Unlock()
	if again {
		d.w.facts.happens("device enrolls again with an old token", "somebody enrolls %s again", d.id)
		d.restart()
	}
}

func (d *device) lastIn() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.in
}

// prover signs when it is its owner's turn: signing is random.
type prover struct {
	agent.Prover
	owner *actor
}

func (p prover) Prove(input []byte) ([]byte, error) {
	p.owner.turn()
	return p.Prover.Prove(input)
}

// ears hears in an agent's log what it makes of replies.
type ears struct {
	facts *facts
	of    *device
}

// Enabled hears everything.
func (e *ears) Enabled(context.Context, slog.Level) bool { return true }

// Handle counts why calls failed.
func (e *ears) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "relayed" {
			e.of.mu.Lock()
			link := e.of.link
			e.of.mu.Unlock()
			e.facts.happens(fmt.Sprintf("device says relayed: %v", a.Value.Bool()), "%s says relayed: %v", e.of.id, a.Value.Bool())
			link.mu.Lock()
			last := link.last
			link.mu.Unlock()
			e.facts.saysRelayed(e.of.id, a.Value.Bool(), link.relayed, last)
			return true
		}
		err, ok := a.Value.Any().(error)
		if !ok {
			return true
		}
		switch {
		case errors.Is(err, agent.ErrGrant):
			e.facts.count("grant refused by an agent")
		case errors.Is(err, agent.ErrUnexpected):
			e.facts.count("reply refused by an agent")
		}
		return true
	})
	return nil
}

// WithAttrs is what slog.Handler wants.
func (e *ears) WithAttrs([]slog.Attr) slog.Handler { return e }

// WithGroup is what slog.Handler wants.
func (e *ears) WithGroup(string) slog.Handler { return e }

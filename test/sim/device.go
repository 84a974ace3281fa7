package sim

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// A device is honest: a real agent that enrols with a token and then runs for ever,
// through reboots and jumps of its clock.
type device struct {
	w     *World
	id    ident.Device
	key   agent.Prover
	token *protocol.EnrolToken
	dice  *dice

	mu     sync.Mutex // guards the fields below
	flash  agent.Record
	offset time.Duration // what its clock is wrong by
	boots  int
	reboot context.CancelFunc
	agent  *agent.Agent
	link   *conn
	links  int
	in     time.Time // when it was granted something last, by the true clock
}

// Load gives what was saved.
func (d *device) Load(context.Context) (agent.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flash, nil
}

// Save is where a device takes a grant for good. Power may fail before or after.
func (d *device) Save(ctx context.Context, r agent.Record) error {
	d.mu.Lock()
	link := d.link
	d.mu.Unlock()
	link.mu.Lock()
	call, last := link.call, link.last
	link.mu.Unlock()
	d.w.facts.accepted(d.id.String(), call, last)
	select {
	case <-time.After(d.dice.short()):
	case <-ctx.Done():
		if d.dice.roll(2) == 0 {
			return ctx.Err() // the old state survives
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flash, d.in = r, time.Now()
	return nil
}

func (d *device) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Add(d.offset)
}

// live boots the device again and again until the world ends.
func (d *device) live() {
	for d.w.ctx.Err() == nil {
		d.mu.Lock()
		ctx, cancel := context.WithCancel(d.w.ctx)
		d.reboot = cancel
		d.boots++
		boots := d.boots
		d.mu.Unlock()
		a, err := agent.New(ctx, agent.Config{
			Device: d.id, Prover: d.key, State: d, Clock: d.clock, Random: d.w.reader("%s, boot %d", d.id, boots),
		})
		if err != nil {
			d.w.facts.violate("%s does not boot: %v", d.id, err)
			cancel()
			return
		}
		d.mu.Lock()
		d.agent = a
		d.mu.Unlock()
		d.enrol(ctx, a)
		_ = a.Run(ctx, d.dial) // nil at its end
		cancel()
		d.w.sleep(d.dice.upTo(5 * time.Second))
	}
}

// enrol tries until it is in.
func (d *device) enrol(ctx context.Context, a *agent.Agent) {
	for !a.Enrolled() && ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, 30*time.Second)
		c := d.connect(time.Now().Add(anonymousLife))
		_, err := a.Enrol(call, c, agent.Voucher{Token: d.token})
		c.end()
		cancel()
		if err != nil {
			d.w.facts.say("%s is not enrolled", d.id)
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
			}
		}
	}
}

func (d *device) connect(until time.Time) *conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.links++
	d.link = d.w.connect(d.id.String(), d.links, until)
	return d.link
}

// dial connects as the MQTT front would allow it: a credential must be alive and
// its device active.
func (d *device) dial(ctx context.Context, cred *agent.Credential) (agent.Connection, error) {
	until := time.Now().Add(anonymousLife)
	if cred != nil {
		claims, err := d.w.verifier.Verify(ctx, cred.Password)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", agent.ErrCredential, err)
		}
		stored, err := d.w.store.Device(ctx, d.id)
		if err != nil || stored.Status != broker.StatusActive {
			return nil, fmt.Errorf("%w: not active: %w", agent.ErrCredential, err)
		}
		until = claims.Expires
	}
	return d.connect(until), nil
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

// hint tells the device to renew, as the broker does and its enemies can.
func (d *device) hint() {
	d.mu.Lock()
	link := d.link
	d.mu.Unlock()
	if link == nil {
		return
	}
	select {
	case link.events <- &protocol.Event{Name: protocol.EventRenew}:
	default: // one is on its way
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

func (d *device) lastIn() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.in
}

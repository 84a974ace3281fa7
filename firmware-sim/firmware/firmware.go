// Package firmware is one simulated device: a key and a state in memory, a
// connection of its own, and an agent that reboots when its faults say so.
//
// It never touches a disk, never retries by itself, and reports each attempt with what
// was injected into it.
package firmware

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A Kind is an algorithm of device keys.
type Kind string

// The kinds of key that a device may have.
const (
	P256    Kind = "p256"
	Ed25519 Kind = "ed25519"
)

// ErrKind is wrapped for a kind of key that there is not.
var ErrKind = errors.New("unknown kind of key")

// Key is a device's key. It lives as long as the process.
type key struct{ signer *token.Signer }

var _ agent.Prover = key{}

func (k key) Kind() string                       { return challenge.Key }
func (k key) PublicKey() []byte                  { return k.signer.Key().MarshalCOSE() }
func (k key) Prove(input []byte) ([]byte, error) { return k.signer.Sign(input) }

// newKey makes a random key. Never from the run's seed: whoever knows the seed
// could log in as the devices.
func newKey(kind Kind) (agent.Prover, error) {
	var private crypto.Signer
	var err error
	switch kind {
	case P256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("%w %q, want %s or %s", ErrKind, kind, P256, Ed25519)
	}
	if err != nil {
		return nil, fmt.Errorf("make a device's key: %w", err)
	}
	s, err := token.NewSigner(private)
	if err != nil {
		return nil, fmt.Errorf("make a device's key: %w", err)
	}
	return key{s}, nil
}

// A Dial makes the dialer of a device that has just booted.
type Dial func(a *agent.Agent) agent.Dialer

// A Config describes a device.
type Config struct {
	Name    ident.Device
	Number  int // in its fleet, from 0; picks its faults
	Key     Kind
	Dial    Dial
	Voucher agent.Admission
	Faults  fault.Source
}

// An Op is something a device does.
type Op string

// What a device can do.
const (
	Enroll       Op = "enroll"
	Authenticate Op = "authenticate"
	Refresh      Op = "refresh" // and authenticate if the session is over
)

// A Device is one simulated device. It is used from one goroutine.
type Device struct {
	cfg    Config
	prover agent.Prover
	state  agent.Memory // its disk, which outlives reboots
	agent  *agent.Agent // of this boot; nil while the power is off
	conn   agent.Connection
	calls  int
}

// New makes a device with a fresh key. Errors wrap ErrKind.
func New(cfg Config) (*Device, error) {
	p, err := newKey(cfg.Key)
	if err != nil {
		return nil, err
	}
	return &Device{cfg: cfg, prover: p}, nil
}

// An Outcome tells how one attempt went.
type Outcome struct {
	Err    error
	Fault  fault.Kind    // what was injected into it, "" for nothing
	Dial   time.Duration // to connect, TLS included; 0 if it was connected
	Call   time.Duration // from the first request to the checked grant; 0 if it did not get there
	Lost   bool          // the connection had ended since the last attempt, and not by a fault
	Stale  bool          // the broker did not take the access token at login
	Breach bool          // a grant came of an exchange that was tampered with
	Timely bool          // the device knows the broker's time
}

// Try does op once, with the fault that is planned for this call.
func (d *Device) Try(ctx context.Context, op Op) (o Outcome) {
	plan := d.cfg.Faults.Plan(d.cfg.Number, d.calls)
	d.calls++
	defer func() {
		if o.Err != nil {
			d.Hangup()
		}
	}()
	if plan.Clock() != nil {
		d.powerOff()
	}
	if d.agent == nil {
		if o.Err = d.boot(ctx, plan); o.Err != nil {
			return o
		}
		if plan.Clock() != nil {
			o.Fault = plan.Kind
		}
	}
	if o.Err = d.connect(ctx, &o); o.Err != nil {
		return o
	}
	l := fault.NewLink(d.conn, d.Hangup, plan)
	start := time.Now()
	_, o.Err = d.call(ctx, l, op)
	o.Call = time.Since(start)
	if l.Fired() {
		o.Fault = plan.Kind
	}
	o.Breach = o.Err == nil && l.Damaged()
	_, o.Timely = d.agent.Offset()
	if l.Fired() && plan.Kind == fault.Reboot {
		d.powerOff()
	}
	return o
}

func (d *Device) call(ctx context.Context, l agent.Link, op Op) (*agent.Tokens, error) {
	switch op {
	case Enroll:
		return d.agent.Enroll(ctx, l, d.cfg.Voucher)
	case Authenticate:
		return d.agent.Authenticate(ctx, l, agent.Ask{})
	case Refresh:
		return d.agent.Renew(ctx, l, agent.Ask{})
	}
	return nil, fmt.Errorf("a device cannot %q", op)
}

func (d *Device) boot(ctx context.Context, p fault.Plan) (err error) {
	d.agent, err = agent.New(ctx, agent.Config{
		Device: d.cfg.Name, Prover: d.prover, State: &d.state, Clock: p.Clock(), Format: protocol.FormatCWT,
	})
	return err
}

// connect makes sure that there is a connection: with the access token if there is
// one, else as a stranger.
func (d *Device) connect(ctx context.Context, o *Outcome) error {
	if d.conn != nil {
		select {
		case <-d.conn.Done():
			o.Lost = true
			d.Hangup()
		default:
			return nil
		}
	}
	start := time.Now()
	dial := d.cfg.Dial(d.agent)
	cred := d.agent.Credential()
	conn, err := dial(ctx, cred)
	if cred != nil && errors.Is(err, agent.ErrCredential) {
		o.Stale = true
		conn, err = dial(ctx, nil)
	}
	if err != nil {
		return err // it says that it was about connecting
	}
	d.conn, o.Dial = conn, time.Since(start)
	return nil
}

func (d *Device) powerOff() {
	d.Hangup()
	d.agent = nil
}

// Hangup ends the connection, if there is one.
func (d *Device) Hangup() {
	if d.conn != nil {
		_ = d.conn.Close() // over either way
		d.conn = nil
	}
}

// Connected tells whether the device has a connection that has not ended.
func (d *Device) Connected() bool {
	if d.conn == nil {
		return false
	}
	select {
	case <-d.conn.Done():
		return false
	default:
		return true
	}
}

// Name gives the device's name.
func (d *Device) Name() ident.Device { return d.cfg.Name }

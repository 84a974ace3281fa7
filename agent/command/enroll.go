package command

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/environ"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/textfile"
)

const onceTimeout = 40 * time.Second // for one connection and one call

// maxCA bounds the CA file, which the settings keep, in bytes: dozens of roots.
const maxCA = 32 << 10

type enrollFlags struct {
	broker, pool, name, token, ca, fingerprint, anchor, key, psk, state, client, answer string
	wait                                                                                bool
}

func (p *program) enroll(ctx context.Context, args []string) error {
	var o enrollFlags
	f := p.flags("enroll")
	f.StringVar(&o.broker, "broker", "", "`URL` of the broker, mqtts://host:8883 or wss://host/mqtt; also "+environ.Broker)
	f.StringVar(&o.pool, "pool", "", "the device's `pool`; also "+environ.Pool)
	f.StringVar(&o.name, "name", "", "the device's `name` in its pool; also "+environ.Name)
	f.StringVar(&o.token, "token", "", "enrollment `token`, or @FILE; also "+environ.Enrollment)
	f.StringVar(&o.ca, "ca", "", "PEM `file` with the root that the broker's certificate comes from; also "+environ.CA)
	f.StringVar(&o.fingerprint, "ca-fingerprint", "", "SHA-256 of that root, in `hex`; also "+environ.CAFingerprint)
	f.StringVar(&o.anchor, "anchor", "", "start of the thumbprint of the pool's anchor, in `hex`, if there is no token")
	f.StringVar(&o.key, "key", "file", "where the key lives: `file`; a new one is P-256, or say file:p256 or file:ed25519")
	f.StringVar(&o.psk, "psk-file", "", "shared key in a `file`, instead of an own key")
	f.StringVar(&o.state, "state", "", "the device's own `folder`; also "+environ.State)
	f.StringVar(&o.client, "client", "", "`client` of the pool to log in as")
	f.StringVar(&o.answer, "answer-command", "", "`program` that answers custom challenges")
	f.BoolVar(&o.wait, "wait", false, "wait until an operator has approved the device, if one has to")
	if err := p.parse(f, args); err != nil {
		return err
	}
	o.complete(p)
	c, err := o.settings()
	if err != nil {
		return err
	}
	p.device, p.secret = c.Device, c.SharedKeyFile
	if _, err := o.kind(); err != nil {
		return err
	}
	admission, err := admission(o.token)
	if err != nil {
		return err
	}
	if admission.Pin, err = c.pin(); err != nil {
		return err
	}
	path, err := p.place(o.state, o.name)
	if err != nil {
		return err
	}
	return p.enrollIn(ctx, path, c, &o, admission)
}

// complete reads from variables what no flag says. Root and fingerprint are one setting,
// and so are token and anchor: a flag for one goes before the other's variable.
func (o *enrollFlags) complete(p *program) {
	p.or(&o.broker, environ.Broker)
	p.or(&o.pool, environ.Pool)
	p.or(&o.name, environ.Name)
	if o.ca == "" && o.fingerprint == "" {
		p.or(&o.ca, environ.CA)
		p.or(&o.fingerprint, environ.CAFingerprint)
	}
	if o.anchor == "" {
		p.or(&o.token, environ.Enrollment)
	}
}

func (o *enrollFlags) settings() (*settings, error) {
	var lacking []string
	for _, f := range [][3]string{{o.broker, "--broker", environ.Broker}, {o.pool, "--pool", environ.Pool}, {o.name, "--name", environ.Name}} {
		if f[0] == "" {
			lacking = append(lacking, f[1]+" or "+f[2])
		}
	}
	if len(lacking) > 0 {
		return nil, exit.Usagef("enroll needs %s", strings.Join(lacking, ", and "))
	}
	if err := mqttlink.CheckURL(o.broker); err != nil {
		return nil, fmt.Errorf("--broker: %w", err)
	}
	pool, err := ident.ParsePool(o.pool)
	if err != nil {
		return nil, exit.Usagef("--pool: %w", err)
	}
	name, err := ident.ParseName(o.name)
	if err != nil {
		return nil, exit.Usagef("--name: %w", err)
	}
	c := &settings{Broker: o.broker, Device: ident.Device{Pool: pool, Name: name}, Client: o.client, Fingerprint: o.fingerprint, Anchor: o.anchor}
	if o.psk != "" {
		if c.SharedKeyFile, err = filepath.Abs(o.psk); err != nil {
			return nil, err
		}
	}
	if o.answer != "" {
		if c.AnswerCommand, err = answerCommand(o.answer); err != nil {
			return nil, fmt.Errorf("--answer-command: %w", err)
		}
	}
	if o.ca != "" {
		raw, err := textfile.Read(o.ca)
		if err != nil {
			return nil, fmt.Errorf("read the CA file: %w", err)
		}
		if len(raw) > maxCA {
			return nil, exit.Usagef("the CA file has %d bytes, at most %d: give the one root that the broker's certificate comes from, or no --ca for the system's", len(raw), maxCA)
		}
		c.CA = string(raw)
	}
	_, err = c.trust(nil)
	return c, err
}

func (o *enrollFlags) kind() (keyfile.Kind, error) {
	switch o.key {
	case "file":
		return "", nil // whichever there is
	case "file:p256":
		return keyfile.P256, nil
	case "file:ed25519":
		return keyfile.Ed25519, nil
	}
	return "", exit.Usagef("--key %q: only file, file:p256 and file:ed25519 so far", o.key)
}

func admission(text string) (agent.Admission, error) {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		raw, err := textfile.Read(path)
		if err != nil {
			return agent.Admission{}, fmt.Errorf("read the enrollment token: %w", err)
		}
		text = string(raw)
	}
	if text == "" {
		return agent.Admission{}, nil
	}
	t, err := protocol.ParseEnrollToken(text)
	if err != nil {
		return agent.Admission{}, fmt.Errorf("--token: %w", err)
	}
	return agent.Admission{Token: &t}, nil
}

// enrollIn writes key and settings before the first message leaves the device. The
// settings of a device that works stay until the new ones have worked too. Of one that
// the broker did not take the key stays, for the next attempt, and no settings: it is none.
func (p *program) enrollIn(ctx context.Context, path string, c *settings, o *enrollFlags, v agent.Admission) error {
	kind, err := o.kind()
	if err != nil {
		return err
	}
	d, err := p.hold(ctx, path, p.usualSocket(path))
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only a lock
	prover, err := c.prover(ctx, d, kind)
	if err != nil {
		return err
	}
	a, err := p.agent(ctx, c, &anew{d, p}, prover)
	if err != nil {
		return err
	}
	old, before := readSettings(d)
	if old.Device == c.Device {
		c.PendingSince = old.PendingSince
	}
	if !a.Enrolled() {
		if err := c.save(d); err != nil {
			return err
		}
	}
	start := time.Now()
	g, err := p.admitted(ctx, d, c, a, v, o.wait)
	if err != nil {
		if errors.Is(before, errNoDevice) && !a.Enrolled() && !errors.Is(err, protocol.CodePending) {
			err = errors.Join(err, d.Remove(settingsName))
		}
		return err
	}
	_, err = fmt.Fprintf(p.out, "enrolled %s (%s) in %s; key in %s (%s); first token in %d ms\n",
		c.Device.Name, g.Subject, c.Device.Pool, path, describe(prover), time.Since(start).Milliseconds())
	return err
}

// Pauses between attempts of a device that waits for approval: each is twice the last,
// unless the broker asks for more.
const (
	leastPause = time.Second
	mostPause  = time.Minute
)

// admitted enrolls the device and saves its settings. One that an operator has yet to
// approve is kept as it is, with the anchor, so that run can go on from there; with wait
// it asks again until it is approved, ctx ends or the broker says something else.
func (p *program) admitted(ctx context.Context, d *keyfile.Dir, c *settings, a *agent.Agent, v agent.Admission, wait bool) (*agent.Tokens, error) {
	pending := false
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		g, err := p.tryEnroll(ctx, d, c, a, v)
		if err == nil {
			return g, nil
		}
		if errors.Is(err, protocol.CodePending) && !pending {
			pending = true
			if wait {
				fmt.Fprintf(p.err, "signet-agent: %s waits for approval: %s\n", c.Device, operatorsCommand("approve", c.Device))
			}
			if err := c.await(d, a, v, p.now()); err != nil {
				return nil, err
			}
		}
		if !wait || !pending || refused(err) && !errors.Is(err, protocol.CodePending) {
			return nil, err
		}
		if r := (*protocol.Refusal)(nil); errors.As(err, &r) {
			pause = max(pause, min(time.Duration(r.Problem.Signet.RetryAfter)*time.Second, mostPause))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// await saves what a new device needs to come back when it is approved.
func (c *settings) await(d *keyfile.Dir, a *agent.Agent, v agent.Admission, now time.Time) error {
	if a.Enrolled() {
		return nil // what works stays
	}
	if c.PendingSince == 0 {
		c.PendingSince = now.Unix()
	}
	if c.Anchor == "" && v.Token != nil {
		c.Anchor = hex.EncodeToString(v.Token.Pin())
	}
	return c.save(d)
}

// errNoToken is wrapped when the broker takes nobody without a token whom it does not know.
var errNoToken = errors.New("without a token, and the broker knows no such device with this key")

// tryEnroll is one attempt on a connection of its own.
func (p *program) tryEnroll(ctx context.Context, d *keyfile.Dir, c *settings, a *agent.Agent, v agent.Admission) (*agent.Tokens, error) {
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	dial, err := c.dialer(a.Floor)
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // done with it
	g, err := a.Enroll(ctx, conn, v)
	if err != nil {
		if denied(err) && v.Token == nil {
			err = fmt.Errorf("%w: %w", errNoToken, err)
		}
		return nil, fmt.Errorf("enroll %s: %w", c.Device, err)
	}
	c.learn(conn)
	c.PendingSince = 0
	return g, c.save(d)
}

// anew is the state of a device that enrolls: one that cannot be read is as good as
// none, because the broker knows the device by its key.
type anew struct {
	*keyfile.Dir
	p *program
}

func (a *anew) Load(ctx context.Context) (agent.Record, error) {
	r, err := a.Dir.Load(ctx)
	if errors.Is(err, keyfile.ErrDamaged) {
		fmt.Fprintf(a.p.err, "signet-agent: %v; starting over with the same key\n", err)
		return agent.Record{}, nil
	}
	return r, err
}

// key prints the public key. It needs the folder for itself only to make one.
func (p *program) key(ctx context.Context, args []string) error {
	var w where
	var o enrollFlags
	f := p.flags("key")
	w.flags(f)
	f.StringVar(&o.key, "key", "file", "the kind of a new key: `file`, file:p256 or file:ed25519")
	if err := p.parse(f, args); err != nil {
		return err
	}
	kind, err := o.kind()
	if err != nil {
		return err
	}
	path, err := p.keyFolder(w)
	if err != nil {
		return err
	}
	public, err := p.publicKey(ctx, path, kind)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "%s\n", public)
	return err
}

// keyFolder is where the device is or is to be.
func (p *program) keyFolder(w where) (string, error) {
	if w.state == "" {
		p.or(&w.name, environ.Name)
	}
	if path, err := p.place(w.state, w.name); path != "" || err != nil {
		return path, err
	}
	return p.folder(w)
}

func (p *program) publicKey(ctx context.Context, path string, kind keyfile.Kind) ([]byte, error) {
	if view, err := keyfile.View(path); err == nil && kind == "" {
		if public, err := view.Public(); err == nil {
			return public, nil
		}
	}
	d, err := p.hold(ctx, path, p.usualSocket(path))
	if err != nil {
		return nil, err
	}
	defer d.Close() //nolint:errcheck // only a lock
	if _, err := new(settings).prover(ctx, d, kind); err != nil {
		return nil, err
	}
	return d.Public()
}

func describe(p agent.Prover) string {
	if k, ok := p.(*keyfile.Key); ok {
		return string(k.Algorithm()) + ", file"
	}
	return "shared key"
}

func (p *program) unenroll(ctx context.Context, args []string) error {
	var w where
	f := p.flags("unenroll")
	w.flags(f)
	if err := p.parse(f, args); err != nil {
		return err
	}
	path, err := p.folder(w)
	if err != nil {
		return err
	}
	view, err := keyfile.View(path)
	if err != nil {
		return noDevice(path, err)
	}
	whom, name := "the device", "NAME"
	if c, err := readSettings(view); err == nil {
		whom, name = c.Device.String(), c.Device.Name.String()
	} else if _, keyErr := view.Public(); errors.Is(err, errNoDevice) && errors.Is(keyErr, fs.ErrNotExist) {
		return err
	}
	d, err := p.hold(ctx, path, p.usualSocket(path))
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only a lock
	if err := d.Forget(); err != nil {
		return err
	}
	if err := d.Remove(settingsName); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "forgot %s on this device; a broker that knows it still does: signet device delete %s\n", whom, name)
	return nil
}

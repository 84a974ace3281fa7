package kill

import (
	"context"
	"errors"
	"fmt"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol"
)

// settle holds what the broker lists to what it acknowledged, and ends all doubt.
func settle(ctx context.Context, b *life, f *facts, workers []*worker) error {
	pool := b.api.In(f.pool.String())
	listed, err := pool.Devices(ctx)
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	by := make(map[string]*adminapi.Device, len(listed))
	for i := range listed {
		by[listed[i].Name] = &listed[i]
	}
	var wrong []error
	for _, w := range workers {
		for _, d := range w.devices {
			name := d.name.Name.String()
			if err := d.resolve(f, by[name]); err != nil {
				wrong = append(wrong, err)
			}
			delete(by, name)
		}
	}
	for name := range by {
		wrong = append(wrong, fmt.Errorf("%w: %s, and nobody has made it", errWrong, name))
	}
	enrollTokens, err := pool.EnrollmentTokens(ctx)
	if err != nil {
		return fmt.Errorf("list enrollment tokens: %w", err)
	}
	return errors.Join(append(wrong, f.checkEnrollTokens(enrollTokens)...)...)
}

// replay says again every final answer of the last life. What was granted is not
// granted again; what got no reply is granted once at most.
func (w *worker) replay(ctx context.Context, b *life) error {
	var wrong []error
	for _, d := range w.devices {
		for _, raw := range d.spent {
			wrong = append(wrong, w.sayAgain(ctx, b, d, raw, 1, 0))
		}
		for _, raw := range d.lost {
			wrong = append(wrong, w.sayAgain(ctx, b, d, raw, 2, 1))
		}
		d.spent, d.lost = nil, nil
	}
	return errors.Join(wrong...)
}

// sayAgain sends raw some times over connections of its own, and allows so many grants.
func (w *worker) sayAgain(ctx context.Context, b *life, d *device, raw []byte, times, allowed int) error {
	for range times {
		l, err := mqttlink.Dial(ctx, mqttlink.Options{Broker: "mqtts://" + b.addrs.MQTT, Trust: b.trust})
		if err != nil {
			return err
		}
		reply, err := l.RoundTrip(ctx, raw)
		_ = l.Close() // over either way
		if err != nil {
			return fmt.Errorf("replay an answer of %s: %w", d.name, err)
		}
		m, err := protocol.Decode(reply)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *protocol.Grant:
			w.facts.count("answers without a reply granted by repeating them")
			if allowed--; allowed < 0 {
				return fmt.Errorf("%w: an exchange of %s was granted twice", errWrong, d.name)
			}
			d.session = open
		case *protocol.Refusal:
			w.facts.count(fmt.Sprintf("replayed answers refused: %s", m.Problem.Signet.Code))
		}
	}
	return nil
}

// verify holds the broker to what it acknowledged to the devices of the last life,
// and to some of those before.
func (w *worker) verify(ctx context.Context, b *life) error {
	var wrong []error
	for _, d := range w.devices {
		if !d.touched && w.rand.IntN(len(w.devices)) >= 5 {
			continue
		}
		d.touched = false
		if err := w.hold(ctx, b, d); err != nil {
			wrong = append(wrong, fmt.Errorf("after the restart: %w", err))
		}
		d.hangup()
		d.spent, d.lost = nil, nil // they are of this life
	}
	return errors.Join(wrong...)
}

func (w *worker) hold(ctx context.Context, b *life, d *device) error {
	known := d.agent.Enrolled() || d.enrollToken == nil // it can tell the broker from another
	switch {
	case d.presence == present && d.status == "active":
		if !d.agent.Enrolled() && d.enrollToken != nil {
			return w.enrollAgain(ctx, b, d)
		}
		return w.holdActive(ctx, b, d)
	case d.presence == present && known:
		return w.keptOut(ctx, b, d, protocol.CodeDisabled)
	case d.presence == absent && d.agent.Enrolled():
		return w.keptOut(ctx, b, d, protocol.CodeDenied)
	}
	return nil
}

// enrollAgain: the broker has it, and the device was never told. It costs no use,
// which the next look at the enrollment tokens will show.
func (w *worker) enrollAgain(ctx context.Context, b *life, d *device) error {
	if err := d.connect(ctx, b); err != nil {
		return err
	}
	g, err := d.agent.Enroll(ctx, spy{d.link, d}, agent.Admission{Token: &d.enrollToken.token})
	if err != nil {
		return fmt.Errorf("enroll %s again: %w", d.name, err)
	}
	w.facts.count("lost enrollments made good")
	return d.granted(g)
}

func (w *worker) holdActive(ctx context.Context, b *life, d *device) error {
	if d.session == live {
		return w.refresh(ctx, b, d)
	}
	if d.session == over {
		if err := d.connect(ctx, b); err != nil {
			return err
		}
		if _, err := d.agent.Refresh(ctx, d.link, agent.Ask{}); !errors.Is(err, protocol.CodeDenied) {
			return fmt.Errorf("%w: refresh %s, whose sessions are over: %w", errWrong, d.name, err)
		}
	}
	return w.authenticate(ctx, b, d)
}

// keptOut wants nothing granted to the device, and its token refused.
func (w *worker) keptOut(ctx context.Context, b *life, d *device, want protocol.Code) error {
	admitted := d.agent.Credential() != nil
	if err := d.connect(ctx, b); err != nil {
		return err
	}
	if admitted && d.link.ClientID() == d.name.String() {
		return fmt.Errorf("%w: %s is out and its token is taken", errWrong, d.name)
	}
	if _, err := d.agent.Refresh(ctx, d.link, agent.Ask{}); !errors.Is(err, want) && !errors.Is(err, agent.ErrNoSession) {
		return fmt.Errorf("%w: refresh %s: %w, want %s", errWrong, d.name, err, want)
	}
	if _, err := d.agent.Authenticate(ctx, d.link, agent.Ask{}); !errors.Is(err, want) {
		return fmt.Errorf("%w: authenticate %s: %w, want %s", errWrong, d.name, err, want)
	}
	w.facts.count("kept out: " + want.String())
	return nil
}

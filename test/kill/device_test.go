package kill

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/test/harness"
)

// presence is whether the broker has a device.
type presence int

const (
	absent  presence = iota // it never had, or said that it deleted it
	coming                  // asked to; what became of it is unknown
	present                 // it said so
	leaving                 // asked to delete it; what became of it is unknown
)

// session is what must become of the agent's refresh token.
type session int

const (
	open session = iota // nothing is known
	live                // granted and not ended: it works
	over                // ended, and acknowledged: it does not
)

// A device, with all that was acknowledged to it and about it.
type device struct {
	name        ident.Device
	key         harness.Key
	agent       *agent.Agent
	link        *mqttlink.Link // of this life; nil if there is none
	enrollToken *enrollToken   // nil: an operator registered it

	presence presence
	status   string // "active" or "disabled"; "" when a change of it is in doubt
	session  session
	subject  ident.UUID // zero before the first grant

	touched bool     // something was done with it in the last life
	robbed  bool     // an answer to its last refresh was thrown away
	spent   [][]byte // final answers that were granted
	lost    [][]byte // final answers without a reply
}

func (f *facts) newDevice(t *testing.T, v *enrollToken) (*device, error) {
	name, err := f.nextName()
	if err != nil {
		return nil, err
	}
	d := &device{name: name, key: harness.NewEd25519(t), enrollToken: v, status: "active"}
	cfg := agent.Config{Device: name, Prover: d.key, State: &agent.Memory{}, Format: protocol.FormatCWT}
	if v == nil {
		cfg.Pin = f.pin
	}
	d.agent, err = agent.New(t.Context(), cfg)
	return d, err
}

// spy is a device's link that keeps the final answers, the messages that may be
// granted once.
type spy struct {
	agent.Link
	d *device
}

func (s spy) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	reply, err := s.Link.RoundTrip(ctx, request)
	if kindOf(request) == protocol.TypeAnswer {
		switch {
		case err != nil:
			s.d.lost = append(s.d.lost, request)
		case kindOf(reply) == protocol.TypeGrant:
			s.d.spent = append(s.d.spent, request)
		}
	}
	return reply, err
}

func kindOf(raw []byte) protocol.Type {
	m, err := protocol.Decode(raw)
	if err != nil {
		return 0
	}
	return m.Type()
}

var errThrownAway = errors.New("answer thrown away")

// thief is a link that throws away the answer: the broker has done its work, and
// the device doesn't know.
type thief struct{ agent.Link }

func (l thief) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	reply, err := l.Link.RoundTrip(ctx, request)
	if err == nil && kindOf(reply) == protocol.TypeGrant {
		return nil, errThrownAway
	}
	return reply, err
}

// connect gives the device's connection, with its access token if there is one. A
// token of a session that must work must be taken.
func (d *device) connect(ctx context.Context, b *life) error {
	if d.link != nil {
		select {
		case <-d.link.Done():
			d.hangup()
		default:
			return nil
		}
	}
	dial := func(c *agent.Credential) (err error) {
		d.link, err = mqttlink.Dial(ctx, mqttlink.Options{Broker: "mqtts://" + b.addrs.MQTT, Trust: b.trust, Credential: c})
		return err
	}
	cred := d.agent.Credential()
	err := dial(cred)
	if cred != nil && errors.Is(err, agent.ErrCredential) {
		if d.session == live {
			return fmt.Errorf("%w: %s may be here and its token is not taken", errWrong, d.name)
		}
		err = dial(nil)
	}
	if err != nil {
		d.link = nil
	}
	return err
}

func (d *device) hangup() {
	if d.link != nil {
		_ = d.link.Close() // over either way
		d.link = nil
	}
}

// granted notes a grant.
func (d *device) granted(g *agent.Tokens) error {
	if !d.subject.IsZero() && d.subject != g.Subject {
		return fmt.Errorf("%w: %s was %s and is %s", errWrong, d.name, d.subject, g.Subject)
	}
	d.subject, d.session, d.robbed, d.presence = g.Subject, live, false, present
	return nil
}

// resolve takes over what the list says of what was in doubt, and holds it to the rest.
func (d *device) resolve(f *facts, l *adminapi.Device) error {
	if l == nil {
		if d.presence == present {
			return fmt.Errorf("%w: %s was acknowledged and is lost", errWrong, d.name)
		}
		d.presence, d.session = absent, over
		return nil
	}
	switch d.presence {
	case absent:
		return fmt.Errorf("%w: %s is there, and nobody was told", errWrong, d.name)
	case coming:
		if d.enrollToken != nil {
			f.admitted(d.enrollToken)
		}
	}
	d.presence = present
	if d.status == "" {
		d.status = l.Status
	}
	want, err := thumbprint(d.key)
	switch {
	case err != nil:
		return err
	case l.Status != d.status:
		return fmt.Errorf("%w: %s was acknowledged as %s and is %s", errWrong, d.name, d.status, l.Status)
	case len(l.Authenticators) != 1 || l.Authenticators[0].Thumbprint != want:
		return fmt.Errorf("%w: %s has another key", errWrong, d.name)
	case !d.subject.IsZero() && l.Subject != d.subject.String():
		return fmt.Errorf("%w: %s was %s and is %s", errWrong, d.name, d.subject, l.Subject)
	}
	return nil
}

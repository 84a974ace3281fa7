package test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/test/harness"
)

// passedOn is a link over TLS connections with these names: the device's, and the
// one on which the broker hears its messages.
type passedOn struct {
	to            *exchange.Responder
	device, heard []byte
	opening       []byte              // the name of the connection on which the first message is heard, if another
	vouched       bool                // a balancer of the operator's ends the device's connection
	change        func([]byte) []byte // of each message
	admitted      *exchange.Admission // by the last grant
}

func (l *passedOn) End() agent.End { return agent.End{Channel: l.device} }

func (l *passedOn) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	from := exchange.Caller{Channel: access.Channel{Name: l.heard, Vouched: l.vouched}}
	if l.opening != nil {
		from.Channel.Name, l.opening = l.opening, nil
	}
	if l.change != nil {
		request = l.change(request)
	}
	r := l.to.Respond(ctx, from, request)
	if r.Admitted != nil {
		l.admitted = r.Admitted
	}
	return r.Message, nil
}

// TestRelayedConnectionIsNotTheDevices: a grant is the device's over whatever its
// messages come, a connection only if the device said that it speaks on that one.
func TestRelayedConnectionIsNotTheDevices(t *testing.T) {
	s := harness.New(t)
	own, relays := bytes.Repeat([]byte{1}, protocol.ChannelLen), bytes.Repeat([]byte{2}, protocol.ChannelLen)
	for name, c := range map[string]struct {
		link passedOn
		here bool
	}{
		"the device itself":                 {passedOn{device: own, heard: own}, true},
		"over a relay":                      {passedOn{device: own, heard: relays}, false},
		"over a foreign MQTT broker":        {passedOn{device: own}, false},
		"a device without TLS over a relay": {passedOn{heard: relays}, false},
		"neither has TLS":                   {passedOn{}, false},
		"the answers over a relay":          {passedOn{device: own, heard: relays, opening: own}, false},
		"the start of a name":               {passedOn{device: own, heard: own[:16]}, false},
		"an operators balancer":             {passedOn{device: own, heard: relays, vouched: true}, true},
		"an operators balancer without TLS": {passedOn{heard: relays, vouched: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			link := c.link
			link.to = s.Exchange
			wants := func(call string, opening []byte) {
				t.Helper()
				if a := link.admitted; a == nil || a.Here != c.here {
					t.Errorf("%s: %+v, want Here to be %v", call, a, c.here)
				}
				link.admitted, link.opening = nil, opening
			}
			a := newAgent(t, s, strings.ReplaceAll(name, " ", "-"), harness.NewEd25519(t), nil)
			if _, err := a.Enroll(t.Context(), &link, agent.Admission{Token: s.Token(t, 1)}); err != nil {
				t.Fatal(err)
			}
			wants("enroll", c.link.opening)
			if _, err := a.Authenticate(t.Context(), &link, agent.Ask{}); err != nil {
				t.Fatal(err)
			}
			wants("authenticate", nil) // a refresh is one message
			if _, err := a.Refresh(t.Context(), &link, agent.Ask{}); err != nil {
				t.Fatal(err)
			}
			wants("refresh", nil)
		})
	}
}

// TestRelayCannotNameItsOwnConnection: what the device says of its connection is
// under its proof.
func TestRelayCannotNameItsOwnConnection(t *testing.T) {
	s := harness.New(t)
	own, relays := bytes.Repeat([]byte{1}, protocol.ChannelLen), bytes.Repeat([]byte{2}, protocol.ChannelLen)
	rename := func(m []byte) []byte { return bytes.ReplaceAll(m, own, relays) }
	a := newAgent(t, s, "lamp", harness.NewP256(t), nil)
	link := passedOn{to: s.Exchange, device: own, heard: relays, change: rename}
	if _, err := a.Enroll(t.Context(), &link, agent.Admission{Token: s.Token(t, 1)}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("enroll: %v", err)
	}
	if _, err := a.Enroll(t.Context(), &passedOn{to: s.Exchange, device: own, heard: own}, agent.Admission{Token: s.Token(t, 1)}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), &link, agent.Ask{}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("authenticate: %v", err)
	}
	if _, err := a.Refresh(t.Context(), &link, agent.Ask{}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("refresh: %v", err)
	}
	if link.admitted != nil {
		t.Errorf("admitted %+v", link.admitted)
	}
}

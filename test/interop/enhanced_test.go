package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ace"
	"github.com/signetd/signet/protocol/channel"
)

// A byAuth is an MQTT 5 client that authenticates in AUTH packets: with the method SIGNET, an agent's link.
type byAuth struct {
	nc     net.Conn
	tls    *tls.Conn
	r      *bufio.Reader
	method string
	id     string
	begun  bool
}

var _ agent.Bound = (*byAuth)(nil)

func (s *served) byAuth(t *testing.T, broker, ca, method string) *byAuth {
	t.Helper()
	secure, nc := s.dial(t, broker, ca)
	return &byAuth{nc: nc, tls: secure, r: bufio.NewReader(nc), method: method}
}

// End names the TLS connection as the device sees it, whoever ends it.
func (l *byAuth) End() agent.End {
	state := l.tls.ConnectionState()
	return agent.End{Channel: channel.Name(&state)}
}

// RoundTrip says one message, in the CONNECT or an AUTH.
func (l *byAuth) RoundTrip(_ context.Context, data []byte) ([]byte, error) {
	var all bytes.Buffer // in one piece
	properties := &packets.Properties{AuthMethod: l.method, AuthData: data}
	var err error
	if l.begun {
		_, err = (&packets.Auth{ReasonCode: packets.AuthContinueAuthentication, Properties: properties}).WriteTo(&all)
	} else {
		l.begun = true
		_, err = (&packets.Connect{ProtocolName: "MQTT", ProtocolVersion: 5, CleanStart: true, KeepAlive: 30, ClientID: l.id, Properties: properties}).WriteTo(&all)
	}
	if err != nil {
		return nil, err
	}
	if _, err := l.nc.Write(all.Bytes()); err != nil {
		return nil, err
	}
	p, err := packets.ReadPacket(l.r)
	if err != nil {
		return nil, err
	}
	switch c := p.Content.(type) {
	case *packets.Auth:
		return c.Properties.AuthData, nil
	case *packets.Connack:
		if c.ReasonCode == 0 {
			return c.Properties.AuthData, nil
		}
		return nil, fmt.Errorf("CONNACK %#x", c.ReasonCode)
	}
	return nil, fmt.Errorf("%v", p)
}

// bySignet reports whether the device is connected by the exchange in AUTH packets.
func (d *device) bySignet(t *testing.T, s *served, broker, ca string) bool {
	t.Helper()
	_, err := d.Authenticate(t.Context(), s.byAuth(t, broker, ca, protocol.AuthMethod), agent.Ask{})
	return err == nil
}

// byACE reports whether the device is connected in RFC 9431's way, by a proof over what its TLS connection exports
// and by one over nonces.
func (d *device) byACE(t *testing.T, s *served, broker, ca string) (exported, nonces bool) {
	t.Helper()
	connect := func(id string, proves bool) (*byAuth, []byte, error) {
		l := s.byAuth(t, broker, ca, ace.Method)
		l.id = id
		o := ace.Opening{Token: d.token}
		if proves {
			state := l.tls.ConnectionState()
			o.Proof = d.prove(t, channel.Challenge(&state))
		}
		data, err := o.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.RoundTrip(t.Context(), data)
		return l, got, err
	}
	_, got, err := connect(d.id+"/1", true)
	exported = err == nil && len(got) == 0
	l, nonce, err := connect(d.id+"/2", false)
	if err != nil || len(nonce) != ace.NonceLen {
		return exported, false
	}
	var r ace.Response
	_, _ = rand.Read(r.Nonce[:])
	r.Proof = d.prove(t, r.Input([ace.NonceLen]byte(nonce)))
	_, err = l.RoundTrip(t.Context(), r.Append(nil))
	return exported, err == nil
}

func (d *device) prove(t *testing.T, input []byte) []byte {
	t.Helper()
	proof, err := d.key.Prove(input)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

package mqttfront

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ace"
	"github.com/signetd/signet/protocol/ident"
)

// Methods are the methods of MQTT 5's enhanced authentication that the Front knows, for
// mqttd.Config.
func (f *Front) Methods() map[string]mqttd.Method {
	return map[string]mqttd.Method{
		protocol.AuthMethod: func(c mqttd.Connect) mqttd.Exchange { return &exchanged{f, c} },
		ace.Method:          func(c mqttd.Connect) mqttd.Exchange { return &possession{front: f, connect: c} },
	}
}

var errPassword = errors.New("a password beside an authentication method: one proof is enough")

// channelOf is the connection that a client is on.
func channelOf(c *mqttd.Connect) access.Channel {
	return access.Channel{Name: c.Channel, Vouched: c.Vouched}
}

// named gives the device that a client says it is, by its user name; zero if it says nothing.
func named(c *mqttd.Connect) (id ident.Device, err error) {
	if c.UserName == "" {
		return id, nil
	}
	name, _, _ := strings.Cut(c.UserName, "/")
	id, err = ident.ParseDevice(name)
	if err == nil && c.UserName != name && c.UserName != c.ClientID {
		err = fmt.Errorf("%.80q is neither a device nor the client id", c.UserName)
	}
	if err != nil {
		err = fmt.Errorf("%w: user name: %w", errRefused, err)
	}
	return id, err
}

// exchanged is the method SIGNET: the exchange itself, a message in each packet. Nothing of it
// is kept between two of them: what must be travels with the device, sealed.
type exchanged struct {
	front   *Front
	connect mqttd.Connect
}

// Next answers one message. A client that says nothing at first is asked for its opening message,
// which may be longer than what a CONNECT has room for.
func (x *exchanged) Next(ctx context.Context, data []byte) (mqttd.Answer, error) {
	c := &x.connect
	id, err := named(c)
	switch {
	case err != nil:
		return mqttd.Answer{}, err
	case len(c.Password) > 0:
		return mqttd.Answer{}, errPassword
	case len(data) == 0:
		return mqttd.Answer{}, nil
	}
	r := x.front.exchange.Respond(ctx, exchange.Caller{Channel: channelOf(c), Remote: intake.Address(c.Remote), Owner: c.Device, OnlyHere: true}, data)
	a := mqttd.Answer{Data: r.Message}
	switch {
	case r.Refused != nil && *r.Refused == protocol.CodeWrongAnswer: // it may answer again
	case r.Refused != nil && *r.Refused == protocol.CodeBusy:
		return a, fmt.Errorf("%w: %w", mqttd.ErrBusy, *r.Refused)
	case r.Refused != nil:
		return a, fmt.Errorf("%w: %w", errRefused, *r.Refused)
	case r.Admitted != nil && !r.Admitted.Here:
		return mqttd.Answer{}, fmt.Errorf("%w: another connection than the one that the device named", errRefused)
	case r.Admitted != nil && !id.IsZero() && id != r.Admitted.Standing.Device:
		return mqttd.Answer{}, fmt.Errorf("%w: %s is not the user name's device", errRefused, r.Admitted.Standing.Device)
	case r.Admitted != nil:
		a.Done, a.Standing = true, mqttd.Standing(r.Admitted.Standing)
	}
	return a, nil
}

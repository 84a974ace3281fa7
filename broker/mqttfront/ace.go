package mqttfront

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ace"
	"github.com/signetd/signet/protocol/channel"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// Why a client of RFC 9431 is refused, beside what package access says.
var (
	errUnbound = errors.New("a proof over nonces is bound to no connection: prove what the TLS connection exports (RFC 9431, section 2.2.4.2.1), or have the operator set mqtt.ace_challenge")
	errTwice   = errors.New("a proof over what the TLS connection exports, which has been used on this connection (RFC 9431, section 4)")
	errUnnamed = errors.New("the client id names no device, and there is no user name that does: the token alone does not tell")
)

// holder gives the device that a client of RFC 9431 says it is. The profile has no place for
// that: it is the client id, which must then be of the protocol's grammar, or the user name.
func holder(c *mqttd.Connect) (ident.Device, error) {
	if !c.Device.IsZero() {
		return c.Device, nil
	}
	if c.UserName != "" && !ace.IsUserName(c.UserName) {
		return named(c)
	}
	id, err := topic.ParseClientID(c.ClientID)
	if err != nil || id.Device().IsZero() {
		return ident.Device{}, fmt.Errorf("%w: %w", errRefused, errUnnamed)
	}
	return id.Device(), nil
}

// exported admits a client by its proof over what its TLS connection exports: whoever passes it on
// is on another connection.
func (f *Front) exported(ctx context.Context, c *mqttd.Connect, token, proof []byte) (mqttd.Standing, error) {
	id, err := holder(c)
	if err != nil {
		return mqttd.Standing{}, err
	}
	challenge := channel.Challenge(c.TLS)
	if challenge == nil {
		return mqttd.Standing{}, fmt.Errorf("%w: %s: %w", errRefused, id, access.ErrChannel)
	}
	return f.held(ctx, access.Holder{Device: id, Token: token, Input: challenge, Proof: proof})
}

// held admits whoever holds a token.
func (f *Front) held(ctx context.Context, h access.Holder) (mqttd.Standing, error) {
	st, err := f.access.AdmitHolder(ctx, h)
	if err != nil {
		return mqttd.Standing{}, fmt.Errorf("%w: %s: %w", errRefused, h.Device, err)
	}
	return mqttd.Standing(st), nil
}

// A possession is the method of RFC 9431: a token, and a proof over what the connection exports or over two nonces.
type possession struct {
	front   *Front
	connect mqttd.Connect

	token  []byte // that a proof was asked of; nil: nothing was asked yet
	device ident.Device
	nonce  [ace.NonceLen]byte
}

// Next takes the token, or the answer to the nonce.
func (x *possession) Next(ctx context.Context, data []byte) (mqttd.Answer, error) {
	c := &x.connect
	if len(c.Password) > 0 {
		return mqttd.Answer{}, errPassword
	}
	if x.token != nil {
		st, err := x.answered(ctx, data)
		return mqttd.Answer{Done: true, Standing: st}, err
	}
	o, err := ace.ParseOpening(data)
	switch {
	case err != nil:
		return mqttd.Answer{}, fmt.Errorf("%w: %w", errRefused, err)
	case len(o.Token) > protocol.MaxConnect: // it is kept until the answer comes
		return mqttd.Answer{}, fmt.Errorf("%w: a token of %d bytes, at most %d", errRefused, len(o.Token), protocol.MaxConnect)
	case o.Proof == nil:
		return x.ask(o.Token)
	case !c.Device.IsZero():
		return mqttd.Answer{}, fmt.Errorf("%w: %s: %w", errRefused, c.Device, errTwice)
	}
	st, err := x.front.exported(ctx, c, o.Token, o.Proof)
	return mqttd.Answer{Done: true, Standing: st}, err
}

// ask asks for a proof over a nonce. On a connection that is a device's already the answer can only
// be that device's, and by the same connection. Else whoever the device takes for the broker could pass
// it on, and have a connection as the device: that counts only where the operator says so, and over TLS.
func (x *possession) ask(token []byte) (mqttd.Answer, error) {
	c := &x.connect
	if c.Device.IsZero() && (!x.front.unbound || c.TLS == nil && !c.Vouched) {
		return mqttd.Answer{}, fmt.Errorf("%w: %w", errRefused, errUnbound)
	}
	id, err := holder(c)
	if err != nil {
		return mqttd.Answer{}, err
	}
	x.device = id
	_, _ = rand.Read(x.nonce[:]) // never fails
	x.token = token
	return mqttd.Answer{Data: x.nonce[:]}, nil
}

// answered admits a client that answers the nonce, which is good for one answer.
func (x *possession) answered(ctx context.Context, data []byte) (mqttd.Standing, error) {
	r, err := ace.ParseResponse(data)
	if err != nil {
		return mqttd.Standing{}, fmt.Errorf("%w: %w", errRefused, err)
	}
	return x.front.held(ctx, access.Holder{Device: x.device, Token: x.token, Input: r.Input(x.nonce), Proof: r.Proof})
}

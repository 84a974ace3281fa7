// Package mqttfront joins the embedded MQTT server to the exchange: it admits
// connections by access token, passes requests on, upgrades the connection of a
// device that authenticated, and ends those of a device that may no more.
//
// It imports mqttd, exchange, verify and the domain. It decides nothing about
// proofs or tokens itself.
package mqttfront

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/topic"
	"github.com/signetd/signet/protocol/verify"
)

// Directory finds devices.
type Directory interface {
	Device(ctx context.Context, id ident.Device) (broker.Device, error)
}

// A Front is a mqttd.Gate and the Responder behind it.
type Front struct {
	exchange *exchange.Responder
	dir      Directory
	keys     *mint.Keys
	now      func() time.Time
	log      *slog.Logger
	server   *mqttd.Server
}

// New makes a Front and the server it stands behind. cfg's Gate and Respond are the Front's.
func New(cfg mqttd.Config, x *exchange.Responder, dir Directory, keys *mint.Keys, now func() time.Time) (*Front, *mqttd.Server, error) {
	f := &Front{exchange: x, dir: dir, keys: keys, now: now, log: cfg.Log}
	cfg.Gate, cfg.Respond = f, f.respond
	s, err := mqttd.New(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("MQTT server: %w", err)
	}
	f.server = s
	return f, s, nil
}

var errRefused = errors.New("connection refused")

// Admit lets in the anonymous, who may only talk to the exchange, and devices whose
// password is a valid access token of theirs.
func (f *Front) Admit(ctx context.Context, c mqttd.Connect) (mqttd.Session, error) {
	if c.UserName == "" && len(c.Password) == 0 {
		return mqttd.Session{}, nil
	}
	id, err := ident.ParseDevice(c.UserName)
	if err != nil {
		return mqttd.Session{}, fmt.Errorf("%w: user name: %w", errRefused, err)
	}
	claims, err := f.verify(ctx, id.Pool, c.Password)
	if err != nil {
		return mqttd.Session{}, fmt.Errorf("%w: %s: %w", errRefused, id, err)
	}
	d, err := f.dir.Device(ctx, id)
	if err != nil {
		return mqttd.Session{}, fmt.Errorf("%w: %s: %w", errRefused, id, err)
	}
	if d.Status != broker.StatusActive || d.Subject != claims.Subject {
		return mqttd.Session{}, fmt.Errorf("%w: %s is %s, or the token is another device's", errRefused, id, d.Status)
	}
	if !claims.IssuedAt.IsZero() && !claims.IssuedAt.After(d.SessionsAfter) {
		return mqttd.Session{}, fmt.Errorf("%w: %s: the session was ended", errRefused, id)
	}
	return mqttd.Session{Device: id, Grant: topic.DefaultGrant(id), Expires: claims.Expires}, nil
}

func (f *Front) verify(ctx context.Context, pool ident.Pool, password []byte) (*token.Claims, error) {
	ring, err := f.keys.Ring(ctx, pool)
	if err != nil {
		return nil, err
	}
	set, err := verify.NewKeySet(ring.Verifiers...)
	if err != nil {
		return nil, err
	}
	v, err := verify.New(verify.Config{
		Issuer: ring.Issuer, Audience: pool.String(), Keys: set, Now: f.now,
		Algorithms: []token.Alg{token.ES256, token.EdDSA, token.RS256},
	})
	if err != nil {
		return nil, err
	}
	return v.Verify(ctx, password)
}

// respond answers one request and, when it was granted, makes the connection the device's.
func (f *Front) respond(ctx context.Context, clientID string, direct bool, request []byte) ([]byte, func()) {
	r := f.exchange.Respond(ctx, exchange.Caller{Direct: direct}, request)
	if r.Admitted == nil {
		return r.Message, nil
	}
	return r.Message, func() { f.upgrade(ctx, clientID, r.Admitted) }
}

func (f *Front) upgrade(ctx context.Context, clientID string, a *exchange.Admission) {
	s := mqttd.Session{Device: a.Device, Grant: topic.DefaultGrant(a.Device), Expires: a.Expires}
	if err := f.server.Upgrade(clientID, s); err != nil {
		f.log.InfoContext(ctx, "connection not upgraded", "device", a.Device.String(), "err", err)
	}
}

// DeviceChanged tells a device's connections, and ends them when it may no more.
func (f *Front) DeviceChanged(ctx context.Context, id ident.Device, status broker.Status) {
	name := protocol.EventRenew
	if status != broker.StatusActive {
		name = protocol.EventDisabled
	}
	raw, err := protocol.Encode(&protocol.Event{Name: name})
	if err != nil {
		f.log.ErrorContext(ctx, "encode event", "err", err)
		return
	}
	f.server.PushDevice(id, raw)
	f.server.End(id, mqttd.ReasonAdministrative)
}

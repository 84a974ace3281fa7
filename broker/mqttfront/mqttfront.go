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
	"strings"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/topic"
	"github.com/signetd/signet/protocol/verify"
)

// Reads finds devices and what their logins left behind.
type Reads interface {
	Device(ctx context.Context, id ident.Device) (broker.Device, error)
	Session(ctx context.Context, id ident.UUID) (broker.Session, error)
}

// A Front is a mqttd.Gate and the Responder behind it.
type Front struct {
	exchange *exchange.Responder
	dir      Reads
	keys     *keyring.Keys
	now      func() time.Time
	log      *slog.Logger
	server   *mqttd.Server

	changing sync.Mutex // orders reading a changed device and judging by it
}

// New makes a Front and the server it stands behind. cfg's Gate and Respond are the Front's.
func New(cfg mqttd.Config, x *exchange.Responder, dir Reads, keys *keyring.Keys, now func() time.Time) (*Front, *mqttd.Server, error) {
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
func (f *Front) Admit(ctx context.Context, c mqttd.Connect) (mqttd.Standing, error) {
	if c.UserName == "" && len(c.Password) == 0 {
		return mqttd.Standing{}, nil
	}
	name, _, _ := strings.Cut(c.UserName, "/") // it may be the client id, whose suffix mqttd compares
	id, err := ident.ParseDevice(name)
	if err != nil {
		return mqttd.Standing{}, fmt.Errorf("%w: user name: %w", errRefused, err)
	}
	claims, err := f.verify(ctx, id.Pool, c.Password)
	if err != nil {
		return mqttd.Standing{}, fmt.Errorf("%w: %s: %w", errRefused, id, err)
	}
	d, err := f.dir.Device(ctx, id)
	if err != nil {
		return mqttd.Standing{}, fmt.Errorf("%w: %s: %w", errRefused, id, err)
	}
	began, err := f.began(ctx, id, claims)
	if err != nil {
		return mqttd.Standing{}, fmt.Errorf("%w: %s: %w", errRefused, id, err)
	}
	sess, ok := judge(&d, mqttd.Standing{Device: id, Subject: claims.Subject, Began: began, Expires: claims.Expires})
	if !ok {
		return mqttd.Standing{}, fmt.Errorf("%w: %s is %s, its session was ended, or the token is another device's", errRefused, id, d.Status)
	}
	return sess, nil
}

var errEnded = errors.New("the session was ended")

// began is when the session of a token began: exact when the token names its
// session, otherwise the earliest that it can have been.
func (f *Front) began(ctx context.Context, id ident.Device, c *token.Claims) (time.Time, error) {
	if !c.OriginID.IsZero() {
		s, err := f.dir.Session(ctx, c.OriginID)
		switch {
		case err == nil && (s.Device != id || s.Revoked):
			return time.Time{}, errEnded
		case err == nil:
			return s.Created, nil
		case !errors.Is(err, broker.ErrNotFound): // its row may go before its last token
			return time.Time{}, err
		}
	}
	if !c.IssuedAt.IsZero() {
		return c.IssuedAt, nil
	}
	return broker.EarliestIssue(c.Expires), nil
}

// judge is the only decision on a device's session: what it comes to while d is
// what the directory says, and false when it is over.
func judge(d *broker.Device, s mqttd.Standing) (mqttd.Standing, bool) {
	if d.Status != broker.StatusActive || d.Subject != s.Subject || !s.Began.After(d.SessionsAfter) {
		return mqttd.Standing{}, false
	}
	s.Grant = topic.DefaultGrant(d.ID)
	return s, true
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

// respond answers one request and, when it was granted and the device itself is at
// the connection's other end, makes the connection the device's before the device
// hears of it: what it sends next may count on it.
func (f *Front) respond(ctx context.Context, q mqttd.Request) ([]byte, func()) {
	r := f.exchange.Respond(ctx, exchange.Caller{Channel: q.Channel, Remote: q.Remote.String()}, q.Payload)
	if a := r.Admitted; a != nil {
		if a.KeyReplaced {
			f.DeviceChanged(ctx, a.Device, broker.StatusActive)
		}
		if a.Here {
			f.upgrade(ctx, q.ClientID, a)
		} else {
			f.log.DebugContext(ctx, "connection not upgraded: not the one that the device named", "device", a.Device.String())
		}
	}
	return r.Message, nil
}

func (f *Front) upgrade(ctx context.Context, clientID string, a *exchange.Admission) {
	s := mqttd.Standing{Device: a.Device, Subject: a.Subject, Began: a.Began, Expires: a.Expires, Grant: topic.DefaultGrant(a.Device)}
	if err := f.server.Upgrade(clientID, s); err != nil {
		f.log.InfoContext(ctx, "connection not upgraded", "device", a.Device.String(), "err", err)
	}
}

// DeviceChanged brings a device's connections in line with what is stored of it:
// it tells and ends those that it may have no more, and goes on with the others
// under today's grant. When the store can't be read, it ends them all.
func (f *Front) DeviceChanged(ctx context.Context, id ident.Device, status broker.Status) {
	ctx = context.WithoutCancel(ctx) // the change is made, whoever asked for it has gone or not
	f.changing.Lock()
	defer f.changing.Unlock()
	d, err := f.dir.Device(ctx, id)
	if err != nil && !errors.Is(err, broker.ErrNotFound) {
		f.log.ErrorContext(ctx, "changed device not readable, ending its connections", "device", id.String(), "err", err)
	}
	if err != nil || status != broker.StatusActive || d.Status != broker.StatusActive {
		f.server.PushDevice(id, f.event(ctx, protocol.EventDisabled))
		f.server.End(id, mqttd.ReasonAdministrative)
		return
	}
	f.server.Review(id, func(s mqttd.Standing) (mqttd.Standing, bool) { return judge(&d, s) },
		mqttd.ReasonAdministrative, f.event(ctx, protocol.EventRenew))
}

func (f *Front) event(ctx context.Context, name string) []byte {
	raw, err := protocol.Encode(&protocol.Event{Name: name})
	if err != nil {
		f.log.ErrorContext(ctx, "encode event", "err", err)
	}
	return raw
}

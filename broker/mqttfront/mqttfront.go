// Package mqttfront joins the embedded MQTT server to the exchange: it admits connections
// by what they prove, passes requests on, upgrades the connection of a device that has just
// authenticated, and ends the connections of a device that may not have them any more.
//
// It decides nothing about proofs, tokens or sessions itself: the exchange and package
// access do.
package mqttfront

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ace"
	"github.com/signetd/signet/protocol/ident"
)

// A Responder answers devices' messages: exchange.Responder.
type Responder interface {
	Respond(ctx context.Context, from exchange.Caller, request []byte) exchange.Reply
	Busy(request []byte, retry time.Duration) (reply []byte)
}

// A Server is what the Front needs of the MQTT server: mqttd.Server, whose methods say
// what each does.
type Server interface {
	Upgrade(clientID string, s mqttd.Standing) error
	Review(d ident.Device, judge mqttd.Judge, r mqttd.Reason, farewell []byte) (ended int)
	ReviewPool(p ident.Pool, judge mqttd.Judge, r mqttd.Reason, farewell []byte) (ended int)
	End(d ident.Device, r mqttd.Reason)
	EndPool(p ident.Pool, r mqttd.Reason, farewell []byte)
	Knows(d ident.Device) bool
	PushDevice(d ident.Device, payload []byte) (listening int)
}

// A Front is the mqttd.Gate of a server; its Respond is the server's mqttd.Responder. Once
// attached it is safe for concurrent use.
type Front struct {
	exchange Responder
	access   *access.Rule
	log      *slog.Logger
	told     *tally.Log // of what devices can bring about
	server   Server
	unbound  bool // see TakeUnbound

	disabled, renew []byte // events, encoded
}

// New makes a Front. Attach must be called before its server serves.
func New(x Responder, rule *access.Rule, log *slog.Logger) *Front {
	f := &Front{exchange: x, access: rule, log: log, told: tally.New(log)}
	f.disabled, f.renew = f.event(protocol.EventDisabled), f.event(protocol.EventRenew)
	return f
}

// Attach names the server that f is the Gate of.
func (f *Front) Attach(s Server) { f.server = s }

// TakeUnbound has f admit clients of RFC 9431 by a proof over nonces (section 2.2.4.2.2 there), which is bound to no TLS
// connection: whoever a device takes for the broker can pass it on, and is connected as the device for as
// long as its access token lives. To be called before the server serves.
func (f *Front) TakeUnbound() { f.unbound = true }

// parting is how long connections of a session live on that the device itself has ended,
// by a newer one or by a refresh token that was used before.
const parting = 2 * time.Second

var errRefused = errors.New("connection refused")

// Admit lets in anonymous clients, who may talk to the exchange only, and devices, if
// their password is what package access asks for.
func (f *Front) Admit(ctx context.Context, c mqttd.Connect) (mqttd.Standing, error) {
	if c.UserName == "" && len(c.Password) == 0 {
		return mqttd.Standing{}, nil
	}
	if ace.IsUserName(c.UserName) {
		token, err := ace.ParseUserName(c.UserName)
		if err != nil {
			return mqttd.Standing{}, fmt.Errorf("%w: %w", errRefused, err)
		}
		return f.exported(ctx, &c, token, c.Password)
	}
	id, err := named(&c)
	if err == nil && id.IsZero() {
		err = fmt.Errorf("%w: a password and no user name", errRefused)
	}
	if err != nil {
		return mqttd.Standing{}, err
	}
	st, err := f.access.Admit(ctx, access.Connect{Device: id, ClientID: c.ClientID, Password: c.Password, Channel: channelOf(&c)})
	if err != nil {
		return mqttd.Standing{}, fmt.Errorf("%w: %s: %w", errRefused, id, err)
	}
	return mqttd.Standing(st), nil
}

// Recall gives what a device may do whose session waits without a connection, after a restart.
func (f *Front) Recall(ctx context.Context, d ident.Device) (mqttd.Standing, error) {
	st, err := f.access.Recall(ctx, d)
	return mqttd.Standing(st), err
}

// Respond answers one request. When that is a grant, and the device itself is at the other
// end of the connection, the connection becomes the device's before the answer is sent, so
// that the device may use its new rights at once.
func (f *Front) Respond(ctx context.Context, q mqttd.Request) []byte {
	r := f.exchange.Respond(ctx, exchange.Caller{
		Channel: access.Channel{Name: q.Channel, Vouched: q.Vouched}, Remote: intake.Address(q.Remote), Owner: q.Device,
	}, q.Payload)
	if a := r.Admitted; a != nil {
		if a.Here {
			f.upgrade(ctx, q.ClientID, a.Standing)
		} else {
			f.told.Note(ctx, slog.LevelDebug, "elsewhere", "connection not upgraded: not the one that the device named", "device", a.Standing.Device.String())
		}
	}
	return r.Message
}

// Busy gives the reply to a request that the server does not pass on now.
func (f *Front) Busy(q mqttd.Request, retry time.Duration) []byte {
	return f.exchange.Busy(q.Payload, retry)
}

// upgrade gives the connection the standing that was just granted. If the device was
// changed since the request came in, the server reviews it like any other connection.
func (f *Front) upgrade(ctx context.Context, clientID string, st access.Standing) {
	if err := f.server.Upgrade(clientID, mqttd.Standing(st)); err != nil {
		f.told.Note(ctx, slog.LevelInfo, "upgrade", "connection not upgraded", "device", st.Device.String(), "err", err)
	}
}

// Recorded is told of each record of the journal, in order. It reviews the connections of a
// device that was changed or deleted or had a session ended, and those of a pool after what
// package access says takes something from them, and ends those of a pool that is gone.
func (f *Front) Recorded(ctx context.Context, r *broker.Record) {
	switch {
	case r.Kind == broker.RecordPool && r.What == broker.WhatDelete:
		f.server.EndPool(r.Pool, mqttd.ReasonAdministrative, f.disabled)
	case r.Kind == broker.RecordSession && r.What == broker.WhatRevoke && r.By.Actor.IsDevice():
		// Its own newer login ended it, most likely on a connection of the older session:
		// the grant must reach the device before that connection ends.
		if id, session := r.Device(), r.Session; f.server.Knows(id) {
			time.AfterFunc(parting, func() {
				f.server.Review(id, judged(access.EndOf(session)), mqttd.ReasonAdministrative, f.renew)
			})
		}
	case r.Kind == broker.RecordDevice && r.What == broker.WhatDelete:
		// Not by what is stored now: another device may have the name already.
		if id := r.Device(); f.server.Knows(id) {
			f.end(id)
		}
	case r.Kind == broker.RecordDevice && r.What != broker.WhatCreate, r.Kind == broker.RecordSession && r.What == broker.WhatRevoke:
		if id := r.Device(); f.server.Knows(id) {
			f.review(ctx, id, r.Session)
		}
	default:
		if judge, any := f.access.ReviewPool(ctx, r); any {
			f.server.ReviewPool(r.Pool, judged(judge), mqttd.ReasonAdministrative, f.renew)
		}
	}
}

// judged is what package access decides, for the server.
func judged(by access.Judge) mqttd.Judge {
	return func(s mqttd.Standing) (mqttd.Standing, bool) {
		now, ok := by(access.Standing(s))
		return mqttd.Standing(now), ok
	}
}

// review judges a device's connections anew by what is stored of the device now. session is
// the one that changed, zero if none did. Connections that the device may no longer have are
// ended with a reason; the others get the permissions of today. If the store cannot be
// read, all are ended.
func (f *Front) review(ctx context.Context, id ident.Device, session ident.UUID) {
	ctx = context.WithoutCancel(ctx) // the change is made, even if whoever asked for it is gone
	judge, active, err := f.access.Review(ctx, id, session)
	switch {
	case err != nil:
		f.log.ErrorContext(ctx, "changed device not readable, ending its connections", "device", id.String(), "err", err)
		nobody := func(mqttd.Standing) (mqttd.Standing, bool) { return mqttd.Standing{}, false }
		f.server.Review(id, nobody, mqttd.ReasonAdministrative, f.disabled)
	case active:
		f.server.Review(id, judged(judge), mqttd.ReasonAdministrative, f.renew)
	default:
		f.end(id)
	}
}

// end ends all that a device has, which is disabled or gone.
func (f *Front) end(id ident.Device) {
	f.server.PushDevice(id, f.disabled)
	f.server.End(id, mqttd.ReasonAdministrative)
}

func (f *Front) event(name string) []byte {
	raw, err := protocol.Encode(&protocol.Event{Name: name})
	if err != nil {
		f.log.Error("encode event", "err", err)
	}
	return raw
}

package exchange

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// A Handler answers one message. A wrapper is a Handler that calls the next one: it sees
// each message before and its Outcome after.
type Handler interface {
	Handle(ctx context.Context, from Caller, m protocol.Message) Outcome
}

// A HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, from Caller, m protocol.Message) Outcome

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, from Caller, m protocol.Message) Outcome {
	return f(ctx, from, m)
}

// Caller is what the transport knows of who sent a message. Which device it is about, the
// message claims and its proof shows.
type Caller struct {
	// Channel is the TLS connection that the message came on.
	Channel access.Channel
	// Remote is the address at the other end of the connection; zero for a caller in this
	// process.
	Remote netip.AddrPort
	// Owner is the device that has proved before that the connection is its own; zero: none
	// has. It says whose the connection is, and nothing of this message.
	Owner ident.Device
	// OnlyHere: what the message asks for is the connection itself, so that nothing is begun
	// unless the device says it on this very connection, which its opening message names.
	OnlyHere bool
}

// host is the address in text; "" if there is none.
func (c Caller) host() string {
	at := c.Remote.Addr()
	if !at.IsValid() {
		return ""
	}
	return at.Unmap().WithZone("").String()
}

// An Outcome is the result of one message: for the device, and for those who run the
// broker.
type Outcome struct {
	Reply    protocol.Message // what the device is sent; nil: nothing
	Admitted *Admission       // set with a grant, nil otherwise
	// Claimed is the device that the message says it is from, zero if it does not say.
	// It is proven only if Admitted is set.
	Claimed ident.Device
	// Err is why the message was refused, nil if it was not. It never goes to the
	// device, which is sent Code alone.
	Err  error
	Code protocol.Code
	// Ended is the session that this message ended, because its refresh token had been
	// replaced before; then Err is set, too. Zero with all other messages.
	Ended ident.UUID
	// KeyReplaced is the enrollment token by which this message gave the device Claimed
	// another key, also when the device has to wait for approval; "" with all others.
	KeyReplaced string
	// Cloned is set when this message was a login that showed that two copies of the key of
	// the device Claimed are in use.
	Cloned *Clone
}

// A Clone is what a login showed of another copy of its device's key.
type Clone struct {
	Other       ident.UUID // the session that the other copy began last
	OtherFrom   string     // the address that it did so from; "": it is not known
	Quarantined bool       // the login got no session, and the device is quarantined
}

// An Admission says what a successful login or refresh allows.
type Admission struct {
	Standing access.Standing
	// Here: the device itself is at the other end of the connection that the message
	// came on, so the connection may go on with Standing. False when somebody passed the
	// device's messages on.
	Here bool
	// Enrolled: the login was an enrollment. Refreshed: this was a refresh, not a login.
	Enrolled, Refreshed bool
	KeyReplaced         string // as the Outcome's
	Cloned              *Clone // as the Outcome's
	// Newer is what the device has of this broker that the store does not know of, in
	// words (mint.Minted). "": nothing.
	Newer string
}

// Reply is an Outcome as it goes to the transport.
type Reply struct {
	Message  []byte         // encoded; nil: nothing is sent
	Admitted *Admission     // set with a grant, nil otherwise
	Refused  *protocol.Code // why the message was refused; nil: it was not
}

// An Unread is told of bytes that cannot be decoded as a message, and of a reply that
// cannot be encoded.
type Unread func(ctx context.Context, from Caller, err error)

// A Responder decodes messages, has a Handler answer them, and encodes the replies. It is
// safe for concurrent use.
type Responder struct {
	next   Handler
	unread Unread
}

// NewResponder makes a Responder; unread may be nil.
func NewResponder(next Handler, unread Unread) *Responder {
	if unread == nil {
		unread = func(context.Context, Caller, error) {}
	}
	return &Responder{next: next, unread: unread}
}

// Respond answers one message. A refusal is a reply like any other.
func (r *Responder) Respond(ctx context.Context, from Caller, request []byte) Reply {
	m, err := protocol.Decode(request)
	if err != nil {
		r.unread(ctx, from, err)
		return undecodable(err)
	}
	out := r.next.Handle(ctx, from, m)
	reply := Reply{Admitted: out.Admitted}
	if out.Err != nil {
		reply.Refused = &out.Code
	}
	if out.Reply == nil {
		return reply
	}
	if reply.Message, err = protocol.Encode(out.Reply); err != nil {
		r.unread(ctx, from, err)
		return refused(protocol.CodeInternal)
	}
	return reply
}

// Busy is the reply to a message that is not looked at, because the broker has too much to
// do: to come again after retry. It is nil if the message does not say which call it is of.
func (r *Responder) Busy(request []byte, retry time.Duration) (reply []byte) {
	m, err := protocol.Decode(request)
	if err != nil {
		return undecodable(err).Message
	}
	reply, err = protocol.Encode(protocol.Refuse(m.Call(), protocol.ProblemDetail{Code: protocol.CodeBusy, RetryAfter: seconds(retry)}))
	if err != nil {
		return nil
	}
	return reply
}

// undecodable makes the reply to bytes that are no message: a refusal if they say which
// call they belong to, otherwise nothing.
func undecodable(err error) Reply {
	var d *protocol.DecodeError
	if !errors.As(err, &d) {
		return refused(protocol.CodeMalformed)
	}
	reply := refused(d.Code)
	if d.ID == (protocol.CallID{}) {
		return reply
	}
	if raw, err := protocol.Encode(protocol.Refuse(d.ID, protocol.ProblemDetail{Code: d.Code})); err == nil {
		reply.Message = raw
	}
	return reply
}

func refused(code protocol.Code) Reply { return Reply{Refused: &code} }

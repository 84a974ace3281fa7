package exchange

import (
	"context"
	"crypto/subtle"
	"errors"

	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// A Handler answers one message. Whoever wraps one sees all that a message comes to.
type Handler interface {
	Handle(ctx context.Context, from Caller, m protocol.Message) Outcome
}

// A HandlerFunc is a Handler.
type HandlerFunc func(ctx context.Context, from Caller, m protocol.Message) Outcome

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, from Caller, m protocol.Message) Outcome {
	return f(ctx, from, m)
}

// Caller is what the transport knows of who sent a message. It names no device:
// that is the message's to claim and the proof's to bind.
type Caller struct {
	// Channel names the message's TLS connection, which ends in this process
	// (package channel); nil when there is none.
	Channel []byte
	// Remote is the address at the connection's other end; empty for one in this process.
	Remote string
}

// isDevice reports whether the connection is the one on which the device says it said
// w (protocol.Request.Channel). Otherwise someone else passes w on: a broker in
// between, or a thief.
func (c Caller) isDevice(w *protocol.Request) bool {
	return len(c.Channel) == protocol.ChannelLen && subtle.ConstantTimeCompare(c.Channel, w.Channel) == 1
}

// An Outcome is what a message comes to.
type Outcome struct {
	Reply    protocol.Message // what the device hears; nil: nothing
	Admitted *Admission       // whom a grant lets in; nil with anything else
	// Claimed is the device that the message says it is from, zero if it doesn't say.
	// Nothing of that is proven, unless the device is Admitted.
	Claimed ident.Device
	// Err is why the message was refused, for those who run the broker; nil if it was
	// not. Code is what the device hears of that.
	Err  error
	Code protocol.Code
	// Ended is the session that this message ended, because it came with a refresh
	// token that had been replaced; zero with all others. Err is set, too.
	Ended ident.UUID
}

// An Admission is the outcome of a successful authentication.
type Admission struct {
	Standing access.Standing
	// Here: the device itself is at the other end of the connection that asked, which
	// may go on with that standing. Not so when its messages were passed on.
	Here bool
	// Enrolled: this was an enrolment. Refreshed: this was no authentication, but the
	// refresh of one.
	Enrolled, Refreshed bool
}

// Reply is an answer as it is sent, and whom it admitted, if it is a grant.
type Reply struct {
	Message  []byte // nil: there is nobody to answer
	Admitted *Admission
}

// An Unread hears of bytes that are no message: why, and what their sender hears,
// if they say which call to answer.
type Unread func(ctx context.Context, from Caller, err error)

// A Responder answers devices: a Handler behind the codec. It is safe for concurrent use.
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

// Respond answers one message. A refusal is a reply.
func (r *Responder) Respond(ctx context.Context, from Caller, request []byte) Reply {
	m, err := protocol.Decode(request)
	if err != nil {
		r.unread(ctx, from, err)
		return undecodable(err)
	}
	out := r.next.Handle(ctx, from, m)
	if out.Reply == nil {
		return Reply{Admitted: out.Admitted}
	}
	raw, err := protocol.Encode(out.Reply)
	if err != nil {
		r.unread(ctx, from, err)
		return Reply{}
	}
	return Reply{Message: raw, Admitted: out.Admitted}
}

// undecodable answers only bytes that say which call to answer.
func undecodable(err error) Reply {
	var d *protocol.DecodeError
	if !errors.As(err, &d) || d.ID == (protocol.CallID{}) {
		return Reply{}
	}
	raw, err := protocol.Encode(protocol.Refuse(d.ID, protocol.ProblemDetail{Code: d.Code}))
	if err != nil {
		return Reply{}
	}
	return Reply{Message: raw}
}

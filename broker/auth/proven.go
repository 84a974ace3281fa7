package auth

import (
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// Proven is the evidence that a device has just answered all its challenges, or proved its
// refresh. Only this package can make one; the zero value proves nothing.
type Proven struct {
	exchange   ident.UUID
	request    *protocol.Request
	transcript protocol.Transcript
	device     *broker.Device
	confirms   token.Confirmation
	at         time.Time
	call       protocol.CallID
	enrollment *broker.Enrollment
	client     *broker.Client
	results    []Result
	seen       uint64
	seenSum    uint64
	clones     broker.Clones
}

// Valid reports whether p was made by Flows.
func (p *Proven) Valid() bool { return p != nil && !p.exchange.IsZero() }

// Exchange is the exchange's id. A login is recorded at most once for each.
func (p *Proven) Exchange() ident.UUID { return p.exchange }

// Request is what the device asked for.
func (p *Proven) Request() *protocol.Request { return p.request }

// Transcript is the hash of the whole exchange, the last answer included.
func (p *Proven) Transcript() protocol.Transcript { return p.transcript }

// Device is the device as it was when its answer was checked.
func (p *Proven) Device() *broker.Device {
	if p.device == nil {
		return new(broker.Device) // of the zero Proven
	}
	return p.device
}

// Confirmation is how tokens name the key that the device proved (cnf, RFC 7800).
func (p *Proven) Confirmation() token.Confirmation { return p.confirms }

// At is when the last answer came. Tokens are dated by it.
func (p *Proven) At() time.Time { return p.at }

// Call is the id of the device's call, for the journal and the log.
func (p *Proven) Call() protocol.CallID { return p.call }

// Seen is the journal's last record when the exchange began, before its first challenge was
// made: what is recorded as later, the device may not have known of.
func (p *Proven) Seen() uint64 { return p.seen }

// SeenSum is what that record came to: broker.Login.SeenSum.
func (p *Proven) SeenSum() uint64 { return p.seenSum }

// Clones is what the pool does when two copies of a device's key are in use.
func (p *Proven) Clones() broker.Clones { return p.clones }

// Enrollment is what an enrollment must write, nil for an ordinary authentication.
func (p *Proven) Enrollment() *broker.Enrollment { return p.enrollment }

// Client is the client that the device named, as it was when its answer was checked.
func (p *Proven) Client() *broker.Client { return p.client }

// Results are those of all challenges, in order, each with its method, the strength of its
// proof, its claims and the hook that judged it; none for a refresh. Not each need be OK:
// a define hook may let a wrong answer to a custom challenge pass.
func (p *Proven) Results() []Result { return p.results }

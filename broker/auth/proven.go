package auth

import (
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// Proven is the evidence that a device answered its challenges, in this exchange,
// now. Only this package makes one; its zero value proves nothing.
type Proven struct {
	exchange   ident.UUID
	request    protocol.Request
	transcript protocol.Transcript
	device     broker.Device
	by         broker.Authenticator
	confirms   token.Confirmation
	at         time.Time
	call       protocol.CallID
	enrolment  *broker.Enrolment
	client     broker.Client
	results    []Result
}

// Valid reports whether p was made by an Authenticator.
func (p *Proven) Valid() bool { return p != nil && !p.exchange.IsZero() }

// Exchange is the exchange's id, which succeeds once.
func (p *Proven) Exchange() ident.UUID { return p.exchange }

// Request is what the device asked for.
func (p *Proven) Request() *protocol.Request { return &p.request }

// Transcript covers all that was said, the last answer included.
func (p *Proven) Transcript() protocol.Transcript { return p.transcript }

// Device is the device as it was when its answer was checked.
func (p *Proven) Device() *broker.Device { return &p.device }

// Confirmation binds a token to what the device proved itself with.
func (p *Proven) Confirmation() token.Confirmation { return p.confirms }

// At is when; it dates the tokens.
func (p *Proven) At() time.Time { return p.at }

// Call is the logical call of the device.
func (p *Proven) Call() protocol.CallID { return p.call }

// Enrolment is what an enrolment must write, nil for an ordinary authentication.
func (p *Proven) Enrolment() *broker.Enrolment { return p.enrolment }

// Client is the client that it asked as, as it was then.
func (p *Proven) Client() *broker.Client { return &p.client }

// Results are those of all challenges, in order; none for a refresh. A custom one
// need not be OK: a hook that decides flows may let a wrong answer pass.
func (p *Proven) Results() []Result { return p.results }

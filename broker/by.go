package broker

import (
	"strings"

	"github.com/signetd/signet/protocol/ident"
)

// By says who writes, by which request, and why. Every writing call of a store takes
// one, and the journal keeps it with the record of what was written.
type By struct {
	Actor   Actor
	Request string // names the request in log and answer: an API request's id, a device's call in hex; may be empty
	Reason  string // in the actor's words; may be empty
}

// An Actor is who did something, in one text that sorts by kind: "operator:ada",
// "device:demo:lamp-1", "local", "signetd".
type Actor string

// Actors that are nobody in particular.
const (
	// ActorBroker is the broker itself: housekeeping, and what it makes at its first start.
	ActorBroker Actor = "signetd"
	// ActorLocal is whoever may run commands as the broker's own user on its machine.
	ActorLocal Actor = "local"
)

// OperatorActor is the operator of that name.
func OperatorActor(name string) Actor { return Actor("operator:" + name) }

const devicePrefix = "device:"

// DeviceActor is a device that proved itself.
func DeviceActor(id ident.Device) Actor { return Actor(devicePrefix + id.String()) }

// Among reports whether a is which, or one of that kind: operator:ada is among "operator",
// and device:demo:lamp-1 among "device" and "device:demo".
func (a Actor) Among(which Actor) bool {
	rest, ok := strings.CutPrefix(string(a), string(which))
	return ok && (rest == "" || rest[0] == ':')
}

// IsDevice reports whether a is a device.
func (a Actor) IsDevice() bool { return strings.HasPrefix(string(a), devicePrefix) }

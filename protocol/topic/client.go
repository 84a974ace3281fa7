package topic

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/signetd/signet/protocol/ident"
)

// Root is the first level of every topic of the protocol itself. No grant
// reaches below it: each client has its own three topics there and no others.
const Root = "signet"

const (
	prefix       = Root + "/v1/"
	request      = "/rq"
	reply        = "/rs"
	anon         = "anon-"
	anonDigits   = 32
	maxSuffixLen = 64 // bytes; the longest client id's topics still fit MaxLen
)

// A ClientID is an MQTT client id that Signet admits: "anon-" and 32 lower-case
// hex digits before authentication; "{pool}:{name}", optionally with "/" and a
// suffix of 1 to 64 characters [A-Za-z0-9_:-], after it.
type ClientID struct {
	s      string
	device ident.Device
}

// ParseClientID accepts exactly that grammar.
func ParseClientID(s string) (ClientID, error) {
	if digits, ok := strings.CutPrefix(s, anon); ok && !strings.Contains(s, ":") {
		if len(digits) != anonDigits || strings.Trim(digits, "0123456789abcdef") != "" {
			return ClientID{}, fmt.Errorf("%w: client id: want %q and %d hex digits", ErrInvalid, anon, anonDigits)
		}
		return ClientID{s: s}, nil
	}
	name, suffix, ok := strings.Cut(s, "/")
	d, err := ident.ParseDevice(name)
	if err != nil {
		return ClientID{}, fmt.Errorf("%w: client id: %w", ErrInvalid, err)
	}
	if ok {
		if err := CheckSuffix(suffix); err != nil {
			return ClientID{}, err
		}
	}
	return ClientID{s, d}, nil
}

// CheckSuffix reports whether a device's client id may end in "/" and s: ErrInvalid.
func CheckSuffix(s string) error {
	// A suffix is made of what names are made of.
	if _, err := ident.ParseName(s); err != nil || len(s) > maxSuffixLen {
		return fmt.Errorf("%w: client id suffix %.80q: want 1 to %d of A-Z, a-z, 0-9, _, : or -", ErrInvalid, s, maxSuffixLen)
	}
	return nil
}

// Anonymous is the client id of a connection that has shown no credential. number
// must be random, so that no two meet.
func Anonymous(number [anonDigits / 2]byte) ClientID {
	return ClientID{s: anon + hex.EncodeToString(number[:])}
}

func (c ClientID) String() string { return c.s }

// Device gives the device that the client id names; zero when it is anonymous.
func (c ClientID) Device() ident.Device { return c.device }

// Request is the topic that the client publishes its requests to.
func (c ClientID) Request() Name { return c.name(request) }

// Reply is the topic that its answers come on.
func (c ClientID) Reply() Name { return c.name(reply) }

// ReplyTo is the Reply of the client whose Request n is; zero if n ends otherwise.
func ReplyTo(n Name) Name {
	client, ok := strings.CutSuffix(n.s, request)
	if !ok {
		return Name{}
	}
	return Name{client + reply}
}

// Event is the topic that it is told things on without asking.
func (c ClientID) Event() Name { return c.name("/ev") }

func (c ClientID) name(kind string) Name {
	if c.s == "" {
		return Name{}
	}
	return Name{prefix + c.s + kind}
}

// IsReserved reports whether f names or reaches into the protocol's own topics
// by its first level. A leading wildcard doesn't: what it matches is decided at delivery.
func IsReserved(f Filter) bool {
	first, _, _ := strings.Cut(f.s, "/")
	return first == Root
}

// A Permissions is what an authenticated connection may touch. The zero Permissions allows nothing.
type Permissions struct {
	Publish   []Filter // may publish to what one of these matches
	Subscribe []Filter // may subscribe to what one of these covers
	Retain    bool     // may publish retained messages
}

// Own is what a device may touch while no role says otherwise:
// everything at and below devices/{pool}/{name}. The zero Device gets nothing.
func Own(d ident.Device) Permissions {
	if d.IsZero() {
		return Permissions{}
	}
	own := []Filter{{"devices/" + d.Path() + "/#"}}
	return Permissions{Publish: own, Subscribe: own, Retain: true}
}

// AllowsPublish reports whether a message may be published to n.
func (g Permissions) AllowsPublish(n Name) bool { return anyCovers(g.Publish, n.Filter()) }

// AllowsSubscribe reports whether one filter of the grant covers f. Two filters
// that cover it only together don't count: that is stricter, and plain to explain.
func (g Permissions) AllowsSubscribe(f Filter) bool { return anyCovers(g.Subscribe, f) }

func anyCovers(grant []Filter, f Filter) bool {
	for _, g := range grant {
		if g.Covers(f) {
			return true
		}
	}
	return false
}

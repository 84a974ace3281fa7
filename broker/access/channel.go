package access

import (
	"crypto/subtle"

	"github.com/signetd/signet/protocol"
)

// A Channel is what a door knows of the TLS connection that something came on.
type Channel struct {
	// Name is the connection's channel binding (package channel) if its TLS ends in
	// this process; else nil.
	Name []byte
	// Vouched: a balancer of the operator's own ended the client's TLS, and the operator
	// has said that it may (package balancer). Name is then that of the balancer's own
	// connection, if it made one with TLS.
	Vouched bool
}

// Is reports whether what came on the connection was said there by the device itself,
// which calls its TLS connection named. Otherwise somebody else passes it on: an MQTT
// broker in between, or a thief. Behind a balancer that is vouched for nothing can be
// compared, and what the device calls a connection of its own counts as that.
func (c Channel) Is(named []byte) bool {
	return c.Vouched && len(named) == protocol.ChannelLen || c.EndsHere(named)
}

// EndsHere is Is for what nobody in between may read, be he the operator's own.
func (c Channel) EndsHere(named []byte) bool {
	return len(c.Name) == protocol.ChannelLen && subtle.ConstantTimeCompare(c.Name, named) == 1
}

// Known reports whether Is can be true of any name.
func (c Channel) Known() bool { return c.Vouched || len(c.Name) == protocol.ChannelLen }

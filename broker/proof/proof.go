// Package proof has the challenges that a broker knows, one file for each: what is asked,
// and how the answer is checked. Package auth runs them and decides what follows.
//
// A method keeps nothing between question and answer, and never tells more about an
// unknown device than about one whose proof is wrong. It touches no transport, and opens
// no secret except the one that an answer is checked with.
package proof

import (
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol/challenge"
)

// New makes Flows that knows the methods in c and all of this package's. The
// keys that unknown devices are checked with are derived from c.SessionKey.
func New(c auth.Config) (*auth.Flows, error) {
	d, err := newDecoys(c.SessionKey)
	if err != nil {
		return nil, err
	}
	c.Methods = append([]auth.Method{newKey(d), newPSK(d, c.Secrets), &totp{secrets: c.Secrets}}, c.Methods...)
	if c.Hooks != nil {
		c.Custom = custom{c.Hooks}
	}
	return auth.New(c)
}

// Makers gives what makes the authenticators that operators may ask for, by kind.
func Makers() map[string]broker.Maker {
	return map[string]broker.Maker{challenge.TOTP: makeGenerator}
}

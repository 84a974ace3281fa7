// Package proof has the challenges that a broker knows, a file each: what is asked,
// and how the answer is checked. Package auth runs them, and decides what follows.
//
// A method keeps nothing between question and answer, and never says more of an
// unknown device than of one whose proof is wrong. It touches no transport, and opens
// no secret but the one that an answer is checked with.
package proof

import (
	"context"
	"errors"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
)

// New makes an Authenticator that knows all of this package's methods beside those
// in c. Its session key also makes the keys that unknown devices are checked with.
func New(c auth.Config) (*auth.Authenticator, error) {
	d, err := newDecoys(c.SessionKey)
	if err != nil {
		return nil, err
	}
	c.Methods = append([]auth.Method{&key{decoys: d}, &psk{decoys: d, secrets: c.Secrets}, &totp{secrets: c.Secrets}}, c.Methods...)
	if c.Hooks != nil {
		c.Custom = custom{c.Hooks}
	}
	return auth.New(c)
}

// check is the Check of a possession: the answer's proof is over all that was said.
func check(ctx context.Context, p auth.Possession, t *auth.Turn, m *protocol.Answer) (auth.Result, error) {
	d, err := t.Device(ctx)
	if err != nil {
		return auth.Result{}, err
	}
	by, err := p.Prover(d, t.Claimed(), protocol.ProofInput(p.Name(), t.Transcript()), m.Proof)
	if err != nil {
		return auth.Result{}, err
	}
	return auth.Result{Name: p.Name(), OK: true, AMR: auth.AMRPossession, By: by}, nil
}

// prover finds the authenticator of that kind, among d's, that verify takes a proof
// for. Without any it refuses after a decoy was checked.
func prover(d *broker.Device, kind string, verify func(*broker.Authenticator) error, decoy func() error) (*broker.Authenticator, error) {
	checked := false
	if d != nil {
		for i := range d.Authenticators {
			by := &d.Authenticators[i]
			if by.Kind != kind {
				continue
			}
			checked = true
			err := verify(by)
			if err == nil {
				return by, nil
			}
			if !errors.Is(err, token.ErrSignature) {
				return nil, err
			}
		}
	}
	if !checked {
		return nil, decoy()
	}
	return nil, auth.ErrProof
}

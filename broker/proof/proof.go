// Package proof has the challenges that a broker knows, one file for each: what is asked,
// and how the answer is checked. Package auth runs them and decides what follows.
//
// A method keeps nothing between question and answer, and never tells more about an
// unknown device than about one whose proof is wrong. It touches no transport, and opens
// no secret except the one that an answer is checked with.
package proof

import (
	"context"
	"errors"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
)

// New makes an Authenticator that knows the methods in c and all of this package's. The
// keys that unknown devices are checked with are derived from c.SessionKey.
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

// check is Check for every possession: the proof must be over the whole exchange so far.
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

// prover finds the first authenticator of d, of that kind, for which verify succeeds.
// If d has none of that kind, or is nil, it runs decoy instead, which takes as long.
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
